"""Tiled inference: a detector runs on overlapping crops of a frame, enlarged, and on the whole frame.

A light that is 6 pixels wide in a frame of 1280 x 720 is 3 wide in an input of 640 x 384, and 5 in one of
2 x 2 tiles. Each tile costs one run of the network. The grid is given as a number of tiles and not as a tile
size in pixels, so that the cost does not depend on the size of the frame.

Source: Akyon et al., Slicing Aided Hyper Inference (SAHI), ICIP 2022, https://arxiv.org/abs/2202.06934.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.progress import say
from edgestill.spec import ModelSpec
from runtime.decode import LIMIT
from runtime.detector import Detector, TimedDetector
from runtime.letterbox import Letterbox
from runtime.stopwatch import Stopwatch
from runtime.tile_merge import TileResult, Window, merge

MOST = 16  # tiles a row or column; more is taken for a typing error
LEAST_GAIN = 1.2  # below this enlargement tiles cost their time for almost no gain in resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """A grid of overlapping tiles of one size.

    Attributes:
        columns: Tiles side by side.
        rows: Tiles above each other.
        overlap: Fraction of its side that a tile shares with the next. Objects smaller than that are complete
            in one of them.
    """

    columns: int = 1
    rows: int = 1
    overlap: float = 0.2

    def __post_init__(self) -> None:
        if not (1 <= self.columns <= MOST and 1 <= self.rows <= MOST):
            raise UsageError(f"a grid of {self} tiles", hint=f"1 to {MOST} columns, and as many rows")
        if not 0 <= self.overlap <= 0.5:
            raise UsageError(f"tiles that share {self.overlap:g} of their side", hint="from 0 to 0.5")

    @classmethod
    def parse(cls, text: str, overlap: float) -> Tiling:
        """Parse ``COLUMNSxROWS``: ``2x1`` is two tiles side by side.

        Raises:
            UsageError: The text is not two numbers, or a number is out of range.
        """
        columns, _, rows = text.lower().partition("x")
        if not (columns.isdecimal() and rows.isdecimal()):
            raise UsageError(
                f"--tile {text} is not COLUMNSxROWS", hint="e.g. --tile 2x1 for two tiles side by side"
            )
        return cls(columns=int(columns), rows=int(rows), overlap=overlap)

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}"

    @property
    def is_whole(self) -> bool:
        """Whether the only tile is the whole frame."""
        return self.columns == self.rows == 1

    @property
    def span_hw(self) -> tuple[float, float]:
        """Height and width of a frame, in heights and widths of a tile."""
        return _span(self.rows, self.overlap), _span(self.columns, self.overlap)

    def stretched(self, input_hw: tuple[int, int], step: int = 32) -> tuple[int, int]:
        """The input size at which a whole frame is scaled as its tiles are at ``input_hw``.

        Args:
            input_hw: Height and width of the network's input, multiples of ``step``.
            step: Largest stride of the network; the result is a multiple of it.
        """
        (height, width), (tall, wide) = input_hw, self.span_hw
        return round(height * tall / step) * step, round(width * wide / step) * step

    def gain(self, frame_hw: tuple[int, int], input_hw: tuple[int, int]) -> float:
        """The scale of an object in the input of a tile, relative to the input of the whole frame."""
        x0, y0, x1, y1 = self.windows(frame_hw)[0]
        return Letterbox.fit((y1 - y0, x1 - x0), input_hw).scale / Letterbox.fit(frame_hw, input_hw).scale

    def windows(self, frame_hw: tuple[int, int]) -> list[Window]:
        """Corners x0, y0, x1, y1 of the tiles of a frame of that height and width, pixels, row by row."""
        tall, wide = self.span_hw
        across = _intervals(frame_hw[1], self.columns, wide)
        return [(x0, y0, x1, y1) for y0, y1 in _intervals(frame_hw[0], self.rows, tall) for x0, x1 in across]


class TiledDetector:
    """A detector that runs on the tiles of a frame and on the whole frame, and merges the detections.

    The whole frame is for objects larger than the overlap of the tiles: on 115 street images AP50 of lights
    wider than 32 pixels was 28 with it and 13 without.

    Attributes:
        spec: Input size, classes and pre-processing of the model.
    """

    def __init__(self, detector: Detector, tiling: Tiling) -> None:
        self.spec: ModelSpec = detector.spec
        self._detector, self._tiling = detector, tiling
        self._has_warned = tiling.is_whole

    @property
    def gpu_ms(self) -> float | None:
        """Milliseconds on a GPU since the detector was opened, of all tiles; None if it does not measure."""
        found: float | None = getattr(self._detector, "gpu_ms", None)
        return found

    @property
    def transfers_ms(self) -> tuple[float, float] | None:
        """Milliseconds of copies to a GPU and back since the detector was opened; None as for ``gpu_ms``."""
        found: tuple[float, float] | None = getattr(self._detector, "transfers_ms", None)
        return found

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Detections in an image, uint8 ``[H, W, 3]`` BGR, in its pixels."""
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Detections in an image, and milliseconds by stage; see ``timed_batch``."""
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Detections in each of several images, and the time of all together.

        Returns:
            The detections in each image, and milliseconds by stage of the wrapped detector, summed over all
            tiles; merging is part of ``postprocess``. The time of a detector that is not timed is all in
            ``inference``.
        """
        windows = [self._windows((image.shape[0], image.shape[1])) for image in images_bgr]
        crops = [
            image[y0:y1, x0:x1]
            for image, of_image in zip(images_bgr, windows, strict=True)
            for x0, y0, x1, y1 in of_image
        ]
        found, watch = self._detect(crops)
        if self._tiling.is_whole:
            return found, watch.stages_ms
        with watch.stage("postprocess"):
            by_crop = iter(found)
            merged = [
                merge(
                    [TileResult(window=window, found=next(by_crop)) for window in of_image],
                    (image.shape[0], image.shape[1]),
                    LIMIT,
                )
                for image, of_image in zip(images_bgr, windows, strict=True)
            ]
        return merged, watch.stages_ms

    def _windows(self, frame_hw: tuple[int, int]) -> list[Window]:
        """The tiles of a frame and, unless the only tile is the frame, the whole frame."""
        if not self._has_warned:
            self._warn(frame_hw)
        whole = (0, 0, frame_hw[1], frame_hw[0])
        return self._tiling.windows(frame_hw) + ([] if self._tiling.is_whole else [whole])

    def _warn(self, frame_hw: tuple[int, int]) -> None:
        """Warn once if the tiles have the wrong shape: then they are hardly enlarged in the input."""
        gain = self._tiling.gain(frame_hw, self.spec.input_hw)
        if gain < LEAST_GAIN:
            height, width = self.spec.input_hw
            say(
                f"{self._tiling} tiles of a frame of {frame_hw[1]} x {frame_hw[0]} are only {gain:.2f} times "
                f"as large in an input of {width} x {height} as in the whole frame: use a grid whose tiles "
                "have the shape of the input, e.g. 2x2 for frames that have it"
            )
            self._has_warned = True

    def _detect(self, crops: Sequence[NDArray[np.uint8]]) -> tuple[list[Detections], Stopwatch]:
        """The detections in each crop, in its own pixels."""
        watch = Stopwatch()
        if isinstance(self._detector, TimedDetector):
            found, stages_ms = self._detector.timed_batch(crops)
            for stage, ms in stages_ms.items():
                watch.add(stage, ms)
            return found, watch
        with watch.stage("inference"):
            return [self._detector(crop) for crop in crops], watch


def _span(count: int, overlap: float) -> float:
    """Length of a row of tiles, in tiles."""
    return count - (count - 1) * overlap


def _intervals(length: int, count: int, span: float) -> list[tuple[int, int]]:
    """Start and end of the tiles on an axis of ``length`` pixels; they reach from 0 to ``length``."""
    side = min(ceil(length / span), length)
    begins = [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]
    return [(begin, begin + side) for begin in begins]
