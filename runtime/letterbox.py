"""Pre-processing: from a frame to the network's input, and boxes back to the frame.

Validation, calibration and the runtime all use ``prepare``, so that they see the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """A uniform scale and a centred border.

    Attributes:
        scale: Input pixels per source pixel.
        pad_xy: Width of the border left of and above the image, input pixels.
    """

    scale: float
    pad_xy: tuple[float, float]

    @classmethod
    def fit(cls, source_hw: tuple[int, int], input_hw: tuple[int, int]) -> Letterbox:
        """The largest scale at which the source fits into the input; it may be above 1.

        Source: ultralytics/yolov5 ``letterbox`` with ``auto=False``: an odd border is one pixel
        wider at the right and at the bottom.
        """
        scale = min(input_hw[0] / source_hw[0], input_hw[1] / source_hw[1])
        height, width = _scaled(source_hw, scale)
        return cls(scale=scale, pad_xy=(_before(input_hw[1] - width), _before(input_hw[0] - height)))

    def to_input(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes ``[N, 4]`` from source pixels to input pixels."""
        return np.asarray(xyxy * np.float32(self.scale) + self._shift, np.float32)

    def to_source(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes ``[N, 4]`` from input pixels to source pixels. Inverse of ``to_input``."""
        return np.asarray((xyxy - self._shift) / np.float32(self.scale), np.float32)

    @property
    def _shift(self) -> NDArray[np.float32]:
        return np.array(self.pad_xy * 2, np.float32)


def scale_to_fit(
    image_bgr: NDArray[np.uint8], input_hw: tuple[int, int]
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Scale an image as ``letterbox`` does, without the border.

    Args:
        image_bgr: uint8 ``[H, W, 3]``.
        input_hw: Height and width of the network's input, pixels.

    Returns:
        The scaled image, uint8 ``[h, w, 3]`` with ``h <= input_hw[0]`` and ``w <= input_hw[1]``, and the
        geometry of the letterbox that it belongs to. An image that has its size already is not copied.
    """
    source_hw = (image_bgr.shape[0], image_bgr.shape[1])
    fit = Letterbox.fit(source_hw, input_hw)
    height, width = _scaled(source_hw, fit.scale)
    if (height, width) != source_hw:
        image_bgr = _resize(image_bgr, (height, width))
    return image_bgr, fit


def letterbox(image_bgr: NDArray[np.uint8], spec: ModelSpec) -> tuple[NDArray[np.uint8], Letterbox]:
    """Scale an image into the network's input size and fill the border.

    Args:
        image_bgr: uint8 ``[H, W, 3]``.
        spec: Input size and grey level of the border.

    Returns:
        The padded image, BGR, uint8 ``[*spec.input_hw, 3]``, and its transform. An image that has its size
        already is not copied.
    """
    source_hw = (image_bgr.shape[0], image_bgr.shape[1])
    fit = Letterbox.fit(source_hw, spec.input_hw)
    height, width = _scaled(source_hw, fit.scale)
    if source_hw == spec.input_hw:
        return image_bgr, fit
    padded = np.empty((*spec.input_hw, 3), np.uint8)
    left, top = int(fit.pad_xy[0]), int(fit.pad_xy[1])
    padded[:top] = padded[top + height :] = spec.pad_value
    padded[:, :left] = padded[:, left + width :] = spec.pad_value
    inside = padded[top : top + height, left : left + width]
    if (height, width) == source_hw:
        inside[:] = image_bgr
    else:  # straight into its place
        _resize(image_bgr, (height, width), inside)
    return padded, fit


def to_tensor(
    padded_bgr: NDArray[np.uint8],
    spec: ModelSpec,
    *,
    out: NDArray[Any] | None = None,
    planes: Sequence[NDArray[np.uint8]] | None = None,
) -> NDArray[Any]:
    """Convert a padded image to the network's input: channel order, scale, layout.

    Args:
        padded_bgr: uint8 ``[h, w, 3]``.
        spec: Channel order and scale, and whether scaling is part of the model file.
        out: An array of the shape of the result to write into, of its dtype or float16; None for a new one.
        planes: Three arrays uint8 ``[h, w]`` for the channels; None for new ones.

    Returns:
        float32 ``[1, 3, h, w]``, or uint8 ``[1, h, w, 3]`` if ``spec.pixels`` is ``uint8``; C-contiguous.
    """
    height, width = padded_bgr.shape[:2]
    if spec.pixels == "uint8":
        whole = np.empty((1, height, width, 3), np.uint8) if out is None else out
        if spec.pixel_order == "rgb":
            cv2.cvtColor(padded_bgr, cv2.COLOR_BGR2RGB, dst=whole[0])
        else:
            whole[0] = padded_bgr
        return whole
    tensor = np.empty((1, 3, height, width), np.float32) if out is None else out
    split = cv2.split(padded_bgr, planes)
    for place, plane in zip(tensor[0], reversed(split) if spec.pixel_order == "rgb" else split, strict=True):
        np.copyto(place, plane)  # and then scaled in place: faster than to convert and scale at once
        np.multiply(place, np.float32(spec.scale), out=place)
    return tensor


def prepare(image_bgr: NDArray[np.uint8], spec: ModelSpec) -> tuple[NDArray[Any], Letterbox]:
    """Apply ``letterbox``, then ``to_tensor``."""
    padded, fit = letterbox(image_bgr, spec)
    return to_tensor(padded, spec), fit


class InputBuffer:
    """``prepare`` for the batches of one model, into memory that is used again. Not for two threads at once.

    The border of a row of the batch is written once, as long as images have the same size.

    Args:
        spec: Input size and format.
        dtype: dtype of the network's input.
    """

    def __init__(self, spec: ModelSpec, dtype: str) -> None:
        self._spec = spec
        self._inside = np.empty((*spec.input_hw, 3), np.uint8)
        self._planes = np.empty((3, spec.input_hw[0] * spec.input_hw[1]), np.uint8)
        self._batch = np.empty((0, *spec.input_shape[1:]), dtype)
        #: Size of the scaled image in each row of the batch; None where the border is not that of an image.
        self._sizes: list[tuple[int, int] | None] = []

    def fill(
        self, images_bgr: Sequence[NDArray[np.uint8]], rows: int
    ) -> tuple[NDArray[Any], list[Letterbox]]:
        """Prepare some images.

        Args:
            images_bgr: At least one image, uint8 ``[H, W, 3]`` each, of any sizes.
            rows: Rows of the batch, at least one for each image; the last image fills the others.

        Returns:
            The batch ``[rows, ...]``, which the next call changes, and the transform of each image.
        """
        if len(self._batch) < rows:
            self._batch = np.empty((rows, *self._batch.shape[1:]), self._batch.dtype)
            self._sizes = [None] * rows
        fits = [self._row(at, image_bgr) for at, image_bgr in enumerate(images_bgr)]
        last = len(images_bgr) - 1
        self._batch[last + 1 : rows] = self._batch[last]
        self._sizes[last + 1 : rows] = [self._sizes[last]] * (rows - last - 1)
        return self._batch[:rows], fits

    def _row(self, at: int, image_bgr: NDArray[np.uint8]) -> Letterbox:
        """Write an image into a row of the batch, and the border if it is not there."""
        spec = self._spec
        source_hw = (image_bgr.shape[0], image_bgr.shape[1])
        fit = Letterbox.fit(source_hw, spec.input_hw)
        height, width = _scaled(source_hw, fit.scale)
        if (height, width) != source_hw:
            image_bgr = _resize(image_bgr, (height, width), self._inside[:height, :width])
        row = self._batch[at : at + 1]
        if self._sizes[at] != (height, width):
            border = np.full((1, 1, 3), spec.pad_value, np.uint8)
            row[:] = to_tensor(border, spec)  # one pixel, repeated
            self._sizes[at] = (height, width)
        left, top = int(fit.pad_xy[0]), int(fit.pad_xy[1])
        rows, columns = slice(top, top + height), slice(left, left + width)
        place = row[:, rows, columns] if spec.pixels == "uint8" else row[:, :, rows, columns]
        planes = [plane[: height * width].reshape(height, width) for plane in self._planes]
        to_tensor(image_bgr, spec, out=place, planes=planes)
        return fit


def _resize(
    image_bgr: NDArray[np.uint8], size_hw: tuple[int, int], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Bilinear interpolation to a height and width, into an array of that size if one is given.

    At a third of the size, as of 1920 x 1080 in 640 x 640, every sample lies on the centre of a pixel, and so
    it does at each odd divisor. To take those pixels gives the same values in less than half the time.
    """
    sides = zip(image_bgr.shape[:2], size_hw, strict=True)
    on_centres = all(side % wanted == 0 and side // wanted % 2 == 1 for side, wanted in sides)
    way = cv2.INTER_NEAREST_EXACT if on_centres else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_bgr, size_hw[::-1], dst=out, interpolation=way), np.uint8)


def _scaled(source_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width after scaling, at least one pixel each."""
    return max(1, round(source_hw[0] * scale)), max(1, round(source_hw[1] * scale))


def _before(border: int) -> int:
    """The part of a border that is left of or above the image."""
    return round(border / 2 - 0.1)
