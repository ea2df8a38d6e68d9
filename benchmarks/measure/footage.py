"""Frames for benchmarks: a source that is repeated endlessly, or a drawn street scene."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.errors import UsageError
from runtime.frames import Frame, open_source
from runtime.metrics.evaluate import spread
from runtime.sources.images import ImageFiles

PATTERN = "pattern"
PATTERN_HW = (720, 1280)
PATTERN_FRAMES = 16
MAX_FILES = 128  # of a folder; each is opened once before the measurement, to learn its size


class Footage:
    """An endless sequence of frames.

    Of a folder, up to ``MAX_FILES`` images are taken in an order that is spread over the folder and over the
    image sizes, see ``spread_over``. It is the same in each run.

    Args:
        source: An image, a folder or a video; None for the drawn street.

    Attributes:
        name: The source, or ``pattern``.

    Raises:
        DataError: The source cannot be read.
        UsageError: The source is a camera.
    """

    def __init__(self, source: str | None) -> None:
        """Open the source once, so that a wrong one is refused before a model is loaded."""
        self.name = source or PATTERN
        self._files: list[Path] = []
        self._content: str | None = None
        self._held: int | None = PATTERN_FRAMES
        if source is not None:
            opened = open_source(source)
            opened.close()
            if opened.is_live:
                raise UsageError(
                    f"{source} is a live source, whose frame rate limits a measurement",
                    hint="use a video file, an image or a folder of images",
                )
            found = opened.paths if isinstance(opened, ImageFiles) else [Path(source)]
            self._content, self._held = _digest(found), opened.total
            if isinstance(opened, ImageFiles):
                files = spread([*found], MAX_FILES)
                self._files = spread_over({path: _rough_hw(path) for path in files})
        self._frames = self._endless()
        self._sizes: set[tuple[int, int]] = set()
        self._names: set[tuple[str, int]] = set()

    def restart(self) -> None:
        """Continue with the first frame, so that the next model gets the frames of the one before."""
        self._frames.close()
        self._frames = self._endless()

    def again(self) -> Footage:
        """The same frames from the first on, for another camera; ``describe`` of both tells of all frames."""
        other = copy(self)
        other._frames = other._endless()
        return other

    def take(self, count: int) -> list[Frame]:
        """The next frames, each with its decoding time."""
        frames = [next(self._frames) for _ in range(count)]
        for frame in frames:
            self._sizes.add((frame.image_bgr.shape[0], frame.image_bgr.shape[1]))
            self._names.add((frame.name, frame.index))
        return frames

    def describe(self) -> dict[str, Any]:
        """The frames taken so far.

        Returns:
            ``source``; ``frames``, the number of different ones; ``sizes_hw``; ``of``, the number that the
            source has, None if it does not say; ``content``, a hash of the names and lengths of its files,
            None for the drawn street.
        """
        sizes = [list(hw) for hw in sorted(self._sizes)]
        taken = {"source": self.name, "frames": len(self._names), "sizes_hw": sizes}
        return {**taken, "of": self._held, "content": self._content}

    def _endless(self) -> Generator[Frame]:
        while True:
            if self.name == PATTERN:
                yield from _pattern()
            elif self._files:
                yield from ImageFiles(self._files).frames()
            else:
                yield from _once(self.name)


def spread_over(sizes: Mapping[Path, tuple[int, int]]) -> list[Path]:
    """An order of images of which each beginning is spread over their list and their sizes.

    The images of one size are taken in the order of the van der Corput sequence: the first, then the middle,
    the quarters, and so on. Sizes are mixed in proportion to their images; each size comes once at first.

    Args:
        sizes: Height and width by image, in the order of the names.
    """
    groups: dict[tuple[int, int], list[Path]] = {}
    for path, hw in sizes.items():
        groups.setdefault(hw, []).append(path)
    places = []
    for number, group in enumerate(groups.values()):
        order = sorted(range(len(group)), key=lambda i: _reversed_bits(i, len(group)))
        places += [(k / len(group), number, group[i]) for k, i in enumerate(order)]
    return [path for _, _, path in sorted(places)]


def _reversed_bits(index: int, count: int) -> int:
    """The bits of an index below ``count`` in reverse."""
    width = max(1, (count - 1).bit_length())
    return int(f"{index:0{width}b}"[::-1], 2)


def _rough_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image in units of eight pixels, quickly; (0, 0) if it cannot be decoded."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:  # its frame is an error of its own
        return 0, 0
    image = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8) if data.size else None
    return (0, 0) if image is None else (image.shape[0], image.shape[1])


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the names and lengths of files; content would have to be read."""
    text = "".join(f"{path.name} {path.stat().st_size}\n" for path in files)
    return hashlib.sha256(text.encode()).hexdigest()


def _once(text: str) -> Iterator[Frame]:
    source = open_source(text)
    try:
        yield from source.frames()
    finally:
        source.close()


def _pattern() -> Iterator[Frame]:
    """The drawn street, which moves from frame to frame; encoded as JPEG, so that decoding is measured."""
    for index in range(PATTERN_FRAMES):
        jpeg = _street_jpeg(index)
        start = perf_counter()
        image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
        captured_s = perf_counter()
        yield Frame(
            image_bgr=image,
            index=index,
            captured_s=captured_s,
            name=PATTERN,
            decode_ms=(captured_s - start) * 1e3,
        )


@cache
def _street_jpeg(index: int) -> NDArray[np.uint8]:
    """The drawn street, encoded; kept, because drawing takes longer than some networks."""
    return np.asarray(cv2.imencode(".jpg", draw_street(index))[1], np.uint8)


def draw_street(index: int) -> NDArray[np.uint8]:
    """A street scene of boxes, poles and lamps with texture, deterministic: uint8 BGR ``[720, 1280, 3]``."""
    height, width = PATTERN_HW
    rng = np.random.default_rng(7)
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2] = np.linspace((200, 160, 120), (230, 215, 200), height // 2)[:, None]
    image[height // 2 :] = (70, 72, 74)
    for _ in range(14):
        x, w, h = int(rng.integers(-60, width)), int(rng.integers(60, 180)), int(rng.integers(120, 330))
        shade = tuple(int(v) for v in rng.integers(60, 190, 3))
        x += (index * 4) % 64
        cv2.rectangle(image, (x, height // 2 - h), (x + w, height // 2 + 10), shade, -1)
        for y in range(height // 2 - h + 12, height // 2 - 20, 34):
            cv2.rectangle(image, (x + 10, y), (x + w - 10, y + 14), (40, 45, 50), -1)
    for lane in range(6):
        y = height // 2 + 30 + lane * lane * 9
        cv2.rectangle(image, (width // 2 - 6 - lane, y), (width // 2 + 6 + lane, y + 12), (210, 215, 215), -1)
    for k, colour in enumerate([(60, 60, 235), (80, 200, 250), (110, 210, 60)]):
        x, y = 260 + 330 * k + index * 3, 170 + 30 * k
        cv2.rectangle(image, (x - 3, y), (x + 3, height // 2 + 20), (50, 50, 50), -1)
        cv2.rectangle(image, (x - 14, y - 36), (x + 14, y + 36), (25, 25, 25), -1)
        cv2.circle(image, (x, y - 22 + 22 * k), 9, colour, -1, cv2.LINE_AA)
    grain = rng.integers(0, 12, (height, width, 1), dtype=np.uint8)
    return np.asarray(cv2.add(image, np.repeat(grain, 3, axis=2)), np.uint8)
