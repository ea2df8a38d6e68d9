"""Augmentation: crops of images with zoom, flip, colour changes and mosaic. NumPy and OpenCV, no torch.

Images have the scale of deployment (letterboxed to the model's input size, without the border), and a
training sample is a crop of them, smaller than that input. So a light that is 6 pixels high on the device is
6 pixels high in training, and the cost of a step depends on the crop only. Pixels outside the image have the
grey level of the letterbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

import cv2
import numpy as np

from distill.data.camera_effects import CameraEffects, through_camera
from distill.data.mixup import MixUp, blend
from distill.data.paste import Paste, paste_objects
from distill.data.sample import Image, Sample, quarter_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """How samples vary. Probabilities are in [0, 1].

    Attributes:
        mosaic: Probability that a sample is four windows of four images.
        focus: Probability that a window is placed to hold a random object of its image.
        zoom: Smallest and largest scale of a window against deployment, drawn log-uniformly.
        unscaled: Probability that a window keeps the deployment scale and its pixels as they are.
        flip: Probability of a left-right flip.
        hue: Largest shift of the hue, as a fraction of the colour circle, in [0, 1].
        saturation: Largest relative change of the saturation, in [0, 1].
        value: Largest relative change of the brightness, in [0, 1].
        visible: A box that keeps less than this fraction of its area in the window is dropped, and its
            visible part is painted grey. Without its lit lamp a light would have another class, and without
            a label it would be trained as background.
        min_px: A box whose longer side is below this many pixels is dropped.
        turn: Probability that a sample is turned by 90 degrees, left or right: vertical signal heads become
            horizontal.
        mixup: Another sample, blended with a sample.
        paste: Objects of other images, pasted into a sample.
        camera: Effects of camera and weather.
    """

    mosaic: float = 0.5
    focus: float = 0.7
    zoom: tuple[float, float] = (0.6, 1.7)
    unscaled: float = 0.25
    flip: float = 0.5
    hue: float = 0.01
    saturation: float = 0.5
    value: float = 0.4
    visible: float = 0.7
    min_px: float = 3.0
    turn: float = 0.0
    mixup: MixUp = field(default_factory=MixUp)
    paste: Paste = field(default_factory=Paste)
    camera: CameraEffects = field(default_factory=CameraEffects)


@dataclass(frozen=True, slots=True, kw_only=True)
class LateAugment(Augment):
    """The ``[augment_late]`` table: how samples vary in the last epochs, e.g. without mosaic.

    In a recipe, a key that the table lacks has its value of ``[augment]``.

    Attributes:
        at: First epoch, from 0, whose samples vary like this; 0 for never.
    """

    at: int = 0


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of one sample: a pure function of its arguments."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch, index])))


def compose(
    images: Sequence[Sample],
    index: int,
    hw: tuple[int, int],
    augment: Augment,
    *,
    rng: np.random.Generator,
    pad: int,
    among: range | None = None,
) -> Sample:
    """Make one training sample.

    Args:
        images: All training images.
        index: The first image of the sample.
        hw: Height and width of the sample, pixels.
        augment: How samples vary.
        rng: Source of randomness.
        pad: Grey level outside of the images.
        among: Images of which mosaic, MixUp and copy-paste draw more; None for all of them.
    """
    among = among or range(len(images))
    # Effects that are off draw no random numbers, so that older runs repeat to the bit.
    turn = bool(augment.turn) and rng.random() < augment.turn
    hw = hw[::-1] if turn else hw
    window = partial(_window_of, images, hw=hw, augment=augment, rng=rng, pad=pad, among=among)
    sample = window(index)
    if augment.mixup.share and rng.random() < augment.mixup.share:
        other = int(rng.integers(among.start, among.stop))
        weight = float(rng.beta(augment.mixup.alpha, augment.mixup.alpha))
        sample = blend(sample, window(other), weight)
    if turn:
        sample = quarter_turn(sample, clockwise=bool(rng.random() < 0.5))
    if augment.paste.share and rng.random() < augment.paste.share:
        sample = paste_objects(sample, images, among, augment.paste, rng)
    image = _recolour(sample.image_bgr, augment, rng)
    if augment.camera.any:
        image = through_camera(image, augment.camera, rng)
    return Sample(image, sample.class_id, sample.xyxy)


def _window_of(
    images: Sequence[Sample],
    index: int,
    *,
    hw: tuple[int, int],
    augment: Augment,
    rng: np.random.Generator,
    pad: int,
    among: range,
) -> Sample:
    """A mosaic with an image, or a window of that image alone."""
    if rng.random() < augment.mosaic:
        others = rng.integers(among.start, among.stop, 3)
        return _mosaic([images[i] for i in (index, *map(int, others))], hw, augment, rng, pad)
    return cut(images[index], hw, augment, rng, pad)


def cut(sample: Sample, hw: tuple[int, int], augment: Augment, rng: np.random.Generator, pad: int) -> Sample:
    """A window of ``hw`` pixels out of one image, zoomed and perhaps flipped."""
    low, high = augment.zoom
    keep_pixels = rng.random() < augment.unscaled
    zoom = 1.0 if keep_pixels else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    x0, y0 = _window(sample, (hw[0] / zoom, hw[1] / zoom), augment.focus, rng)
    if keep_pixels:
        x0, y0 = round(x0), round(y0)  # a fractional offset would blur
    flip = rng.random() < augment.flip
    image = _warp(sample.image_bgr, (x0, y0), zoom, flip=flip, hw=hw, pad=pad)
    xyxy = (sample.xyxy - np.array([x0, y0, x0, y0], np.float32)) * np.float32(zoom)
    if flip:
        xyxy = np.stack((hw[1] - xyxy[:, 2], xyxy[:, 1], hw[1] - xyxy[:, 0], xyxy[:, 3]), axis=1)
    return _clip(Sample(image, sample.class_id, xyxy), augment, pad)


def _window(
    sample: Sample, side: tuple[float, float], focus: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Left and top of a window of height and width ``side``, in pixels of the image."""
    height, width = sample.image_bgr.shape[:2]
    box = None
    if rng.random() < focus and len(sample.xyxy):
        box = sample.xyxy[rng.integers(len(sample.xyxy))]
    left = _start(width, side[1], None if box is None else (box[0], box[2]), rng)
    top = _start(height, side[0], None if box is None else (box[1], box[3]), rng)
    return left, top


def _start(length: int, side: float, span: tuple[float, float] | None, rng: np.random.Generator) -> float:
    """Start of a window of ``side`` on an axis of ``length``: inside it if it fits, around any span."""
    low, high = min(0.0, length - side), max(0.0, length - side)
    if span is not None:
        # Either the span lies in the window, or, where it is longer, the window in the span.
        # Python floats: in float32, rounding could swap the two ends.
        first, last = sorted((float(span[1]) - side, float(span[0])))
        low, high = min(max(low, first), high), max(min(high, last), low)
    return float(rng.uniform(low, high))


def _warp(
    image: Image, start: tuple[float, float], zoom: float, *, flip: bool, hw: tuple[int, int], pad: int
) -> Image:
    """Cut, zoom and flip in one interpolation."""
    # OpenCV counts from pixel centres, boxes from pixel edges: shift by half a pixel and back.
    matrix = np.array(
        [[zoom, 0, (0.5 - start[0]) * zoom - 0.5], [0, zoom, (0.5 - start[1]) * zoom - 0.5]], np.float64
    )
    if flip:
        matrix[0] = [-zoom, 0, hw[1] - 1 - matrix[0, 2]]
    warped = cv2.warpAffine(
        image,
        matrix,
        (hw[1], hw[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(pad,) * 3,
    )
    return np.asarray(warped, np.uint8)


def _clip(sample: Sample, augment: Augment, pad: int) -> Sample:
    """Clip the boxes at the border of the image; drop those with too little visible, and paint over them."""
    height, width = sample.image_bgr.shape[:2]
    clipped = np.clip(sample.xyxy, 0, np.array([width, height, width, height], np.float32))
    before = np.prod(sample.xyxy[:, 2:] - sample.xyxy[:, :2], axis=1)
    sides = clipped[:, 2:] - clipped[:, :2]
    seen = np.prod(sides, axis=1) >= augment.visible * before
    for x0, y0, x1, y1 in clipped[~seen]:
        sample.image_bgr[int(y0) : ceil(y1), int(x0) : ceil(x1)] = pad
    keep = seen & (sides.max(axis=1, initial=0) >= augment.min_px) & (sides.min(axis=1, initial=np.inf) > 0)
    return Sample(sample.image_bgr, sample.class_id[keep], clipped[keep])


def _mosaic(
    samples: Sequence[Sample], hw: tuple[int, int], augment: Augment, rng: np.random.Generator, pad: int
) -> Sample:
    """Four windows around a random point, one of each image."""
    height, width = hw
    y, x = (int(side * rng.uniform(0.35, 0.65)) for side in hw)
    canvas = np.empty((height, width, 3), np.uint8)
    class_ids, boxes = [], []
    corners = ((0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width))
    for sample, (top, left, bottom, right) in zip(samples, corners, strict=True):
        tile = cut(sample, (bottom - top, right - left), augment, rng, pad)
        canvas[top:bottom, left:right] = tile.image_bgr
        class_ids.append(tile.class_id)
        boxes.append(tile.xyxy + np.array([left, top, left, top], np.float32))
    return Sample(canvas, np.concatenate(class_ids), np.concatenate(boxes))


def _recolour(image_bgr: Image, augment: Augment, rng: np.random.Generator) -> Image:
    """Shift the hue, scale saturation and brightness. Only a small shift: hue separates red from yellow."""
    hue = rng.uniform(-augment.hue, augment.hue) * 180  # OpenCV keeps 360 degrees in 180 steps
    saturation = 1 + rng.uniform(-augment.saturation, augment.saturation)
    value = 1 + rng.uniform(-augment.value, augment.value)
    levels = np.arange(256, dtype=np.float32)
    table = np.stack(
        ((levels + round(hue)) % 180, np.clip(levels * saturation, 0, 255), np.clip(levels * value, 0, 255)),
        axis=1,
    ).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2HSV), table[None])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
