"""Procedural textures, made once a process and used by every scene.

They depend on a constant seed only, so that image ``i`` is the same in every process. A scene selects, flips,
tints and scales them, which is many times faster than generating full-size noise for each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
TEXTURE_SEED = 20240611
SIDE = 256  # px of a square texture


@dataclass(frozen=True, slots=True, eq=False)
class Foliage:
    """A clump of leaves at several sizes: ``SIDE`` px and its halves.

    Attributes:
        values: Lightness of each leaf, uint8 ``[side, side]``, largest first.
        masks: 255 where there is a leaf, uint8 ``[side, side]``.
    """

    values: tuple[Pixels, ...]
    masks: tuple[Pixels, ...]

    def at_size(self, side: float) -> tuple[Pixels, Pixels]:
        """Lightness and mask of the smallest version that need not be enlarged to ``side`` px."""
        for value, mask in zip(self.values[::-1], self.masks[::-1], strict=True):
            if value.shape[0] >= side:
                return value, mask
        return self.values[0], self.masks[0]


@dataclass(frozen=True, slots=True, eq=False)
class TextureBank:
    """All textures.

    Attributes:
        clouds: Smooth noise, uint8 ``[SIDE, SIDE]`` each.
        grain: Rough noise around 128 that repeats without a seam, uint8 ``[2 SIDE, 2 SIDE]`` each.
        foliage: Clumps of leaves.
        clutter: Overlapping shapes of all sizes ("dead leaves"), whose statistics resemble photographs;
            uint8 ``[SIDE, SIDE, 3]`` each.
        speckle: Sensor noise around 128, uint8 ``[1024, 1024, 3]``.
        halo: A point light's bloom, 1 in the middle and 0 at the border; float32 ``[128, 128]``.
    """

    clouds: tuple[Pixels, ...]
    grain: tuple[Pixels, ...]
    foliage: tuple[Foliage, ...]
    clutter: tuple[Pixels, ...]
    speckle: Pixels
    halo: NDArray[np.float32]


@cache
def textures() -> TextureBank:
    """The textures of this process, made at the first call."""
    rng = np.random.default_rng(TEXTURE_SEED)
    return TextureBank(
        clouds=tuple(_to_pixels(fractal(rng, SIDE, first=3, octaves=6, gain=0.55)) for _ in range(6)),
        grain=tuple(_grain(rng, 2 * SIDE) for _ in range(4)),
        foliage=tuple(_foliage(rng) for _ in range(16)),
        clutter=tuple(_clutter(rng) for _ in range(14)),
        speckle=_speckle(rng, 1024),
        halo=_halo(128),
    )


def fractal(
    rng: np.random.Generator, side: int, *, first: int, octaves: int, gain: float
) -> NDArray[np.float32]:
    """Sum of noise of ever finer cells, in [0, 1].

    Args:
        rng: Source of randomness.
        side: Height and width, px.
        first: Cells across of the coarsest noise.
        octaves: How often the cells are halved.
        gain: Amplitude of an octave relative to the one before.

    Returns:
        float32 ``[side, side]``.
    """
    total = np.zeros((side, side), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cells = min(first << octave, side)
        noise = rng.random((cells, cells), np.float32)
        total += amplitude * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        amplitude *= gain
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / (high - low), np.float32)


def ramp(dark: tuple[float, ...], light: tuple[float, ...]) -> Pixels:
    """A colour table: 0 becomes ``dark``, 255 becomes ``light`` (BGR, 0 to 255); uint8 ``[1, 256, 3]``."""
    share = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    table = np.asarray(dark, np.float32) * (1 - share) + np.asarray(light, np.float32) * share
    return np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3)


def _to_pixels(value: NDArray[np.float32]) -> Pixels:
    return _clipped(value * 255)


def _clipped(value: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(value, 0, 255), np.uint8)


def _grain(rng: np.random.Generator, side: int) -> Pixels:
    fine = rng.normal(0, 1, (side, side)).astype(np.float32)
    total = 0.5 * fine
    for sigma, weight in ((1.5, 3.0), (6, 7.0), (25, 14.0)):
        # Wrapped borders: the road repeats this texture and a seam would be a line across it.
        padded = cv2.copyMakeBorder(fine, 80, 80, 80, 80, cv2.BORDER_WRAP)
        total = total + weight * cv2.GaussianBlur(padded, (0, 0), sigma)[80:-80, 80:-80]
    total /= float(total.std())
    return _clipped(128 + 40 * total)


def _foliage(rng: np.random.Generator) -> Foliage:
    clumps = int(rng.integers(6, 16))
    centres = np.clip(rng.normal(0, 0.15, (clumps, 2)), -0.3, 0.3) * SIDE + SIDE / 2
    reach = rng.uniform(0.08, 0.19, clumps) * SIDE
    # The inside is dark and nearly closed; single leaves are seen on it and at its edge.
    rough = fractal(rng, SIDE, first=12, octaves=5, gain=0.8)
    axis = np.arange(SIDE)
    near = np.hypot(axis[None, :, None] - centres[:, 0], axis[:, None, None] - centres[:, 1]) / reach
    inside = near.min(2) + 1.5 * (rough - 0.5) < rng.uniform(0.75, 1.1)
    mask = (inside * np.uint8(255)).astype(np.uint8)
    value = np.clip(rough * rough * 190, 0, 255).astype(np.uint8)
    size = rng.uniform(0.9, 2.3)
    for step in range(1300):
        which = int(rng.integers(clumps))
        offset = rng.normal(0, 0.55, 2) * reach[which]
        x, y = centres[which] + offset
        # Leaves near the top of their clump are lit, those below and painted first lie in its shadow.
        light = 95 - 75 * offset[1] / reach[which] + 60 * (step / 1100) - 25 + rng.normal(0, 24)
        axes = (max(1, int(size * rng.uniform(0.6, 2.4))), max(1, int(size * rng.uniform(0.5, 1.5))))
        at = (int(x), int(y))
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(value, at, axes, angle, 0, 360, float(np.clip(light, 0, 255)), -1, cv2.LINE_AA)
        cv2.ellipse(mask, at, axes, angle, 0, 360, 255, -1)
    # A leaf cut by the border of the stamp would show as a straight edge in the tree.
    middle = np.hypot(axis[None] - SIDE / 2, axis[:, None] - SIDE / 2) / SIDE
    mask[middle + 0.1 * (rough - 0.5) > 0.45] = 0
    values, masks = [value], [mask]
    while values[-1].shape[0] > 16:
        values.append(_halved(values[-1]))
        masks.append(_halved(masks[-1]))
    return Foliage(tuple(values), tuple(masks))


def _halved(image: Pixels) -> Pixels:
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _clutter(rng: np.random.Generator) -> Pixels:
    base = rng.uniform(40, 190)
    spread = rng.uniform(8, 40)
    image = np.full((SIDE, SIDE, 3), base, np.uint8)
    straight = rng.random() < 0.6
    for step in range(420):
        # Sizes fall as a power law; later, smaller shapes lie on top of larger ones.
        size = SIDE * 0.5 * (1 + step / 6) ** -0.75 * rng.uniform(0.5, 1.6) + 1.5
        x, y = rng.uniform(0, SIDE, 2)
        level = np.clip(rng.normal(base, 55), 5, 250)
        colour = np.clip(level + rng.normal(0, spread, 3), 0, 255)
        if rng.random() < 0.04:
            colour = rng.uniform(0, 255, 3)
        if straight:
            w, h = size * rng.uniform(0.2, 1, 2)
            points = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
            points = np.stack([x + size * np.cos(angles) / 2, y + size * np.sin(angles) / 2], 1)
        cv2.fillPoly(image, [points.astype(np.int32)], [float(c) for c in colour], cv2.LINE_AA)
    shade = fractal(rng, SIDE, first=4, octaves=6, gain=0.7)[..., None] * 70 - 35
    return _clipped(image + shade)


def _speckle(rng: np.random.Generator, side: int) -> Pixels:
    luma = rng.normal(0, 22, (side, side, 1))
    chroma = rng.normal(0, 11, (side, side, 3))
    noise = (luma + chroma).astype(np.float32)
    noise = 0.6 * noise + 1.1 * cv2.GaussianBlur(noise, (0, 0), 0.9)
    return _clipped(128 + noise)


def _halo(side: int) -> NDArray[np.float32]:
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    radius = np.sqrt(axis[:, None] ** 2 + axis[None] ** 2)
    glow = 1 / (1 + (radius / 0.16) ** 2.2)
    edge = np.clip((1 - radius) / 0.6, 0, 1)
    return np.asarray(glow * edge, np.float32)
