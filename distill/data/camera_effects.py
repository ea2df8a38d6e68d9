"""What cameras and weather do to an image: exposure, white balance, haze, glare, blur, noise and JPEG.

Every effect leaves the order of the hues alone: red does not become yellow, nor yellow green.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.data.sample import Image

GAMMA = (
    0.5,
    2.0,
)  # exponents of the exposure: one stop up, one stop down in linear light is about 0.7 and 1.4
BALANCE = 0.15  # largest relative gain of the red and of the blue channel
HAZE = 0.5  # largest share of the airlight in a pixel
GLARE = 0.8  # largest brightness of a glare, as a fraction of white
BLUR_PX = (0.4, 1.5)  # standard deviation of the blur
STREAK_PX = (3, 8)  # length of motion blur
NOISE = (2.0, 14.0)  # standard deviation of the sensor noise, grey levels
QUALITY = (25, 80)  # of the JPEG encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraEffects:
    """The ``[augment.camera]`` table: how likely each effect is in a sample, from 0 to 1.

    Attributes:
        exposure: Over- or underexposure by a gamma curve.
        white_balance: Gains of the red and the blue channel.
        haze: Mixing with a grey airlight.
        glare: A bright, soft spot.
        blur: Defocus, or motion along a line.
        noise: Sensor noise, stronger in dark pixels.
        jpeg: Compression with a quality of 25 to 80.
    """

    exposure: float = 0.0
    white_balance: float = 0.0
    haze: float = 0.0
    glare: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0

    @property
    def any(self) -> bool:
        """Whether an effect can occur."""
        return any(getattr(self, field.name) > 0 for field in fields(self))


def through_camera(image_bgr: Image, effects: CameraEffects, rng: np.random.Generator) -> Image:
    """Apply the effects in the order of light: air, lens, sensor, encoder.

    Args:
        image_bgr: uint8 ``[H, W, 3]``.
        effects: Probabilities.
        rng: Source of randomness. The number of draws depends on the outcomes.
    """
    if rng.random() < effects.haze:
        image_bgr = _haze(image_bgr, rng)
    if rng.random() < effects.glare:
        image_bgr = _glare(image_bgr, rng)
    if rng.random() < effects.blur:
        image_bgr = _blur(image_bgr, rng)
    if rng.random() < effects.exposure:
        image_bgr = _exposure(image_bgr, rng)
    if rng.random() < effects.white_balance:
        image_bgr = _white_balance(image_bgr, rng)
    if rng.random() < effects.noise:
        image_bgr = _noise(image_bgr, rng)
    if rng.random() < effects.jpeg:
        image_bgr = _jpeg(image_bgr, rng)
    return image_bgr


def _haze(image: Image, rng: np.random.Generator) -> Image:
    share, airlight = rng.uniform(0.1, HAZE), rng.uniform(130, 235)
    return np.asarray(cv2.convertScaleAbs(image, alpha=1 - share, beta=share * airlight), np.uint8)


def _glare(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    radius = rng.uniform(0.05, 0.4) * max(height, width)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    # The spot is smooth: a coarse grid of it, enlarged, costs a sixty-fourth.
    rows, columns = np.mgrid[0:height:8, 0:width:8].astype(np.float32)
    coarse = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / np.float32(2 * radius**2))
    spot = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    tint = np.array([rng.uniform(0.75, 1.0), 0.95, 1.0], np.float32)  # white to warm
    light = spot[..., None] * (tint * np.float32(255 * rng.uniform(0.2, GLARE)))
    return np.asarray(cv2.add(image, light.astype(np.uint8)), np.uint8)


def _blur(image: Image, rng: np.random.Generator) -> Image:
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(*BLUR_PX)), np.uint8)
    length, angle = int(rng.integers(*STREAK_PX)), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle = (length - 1) / 2
    dx, dy = middle * np.cos(angle), middle * np.sin(angle)
    ends = ((round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy)))
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _exposure(image: Image, rng: np.random.Generator) -> Image:
    gamma = float(np.exp(rng.uniform(*np.log(GAMMA))))
    return np.asarray(cv2.LUT(image, _table(255 * (np.arange(256) / 255) ** gamma)), np.uint8)


def _white_balance(image: Image, rng: np.random.Generator) -> Image:
    levels = np.arange(256)
    blue, red = 1 + rng.uniform(-BALANCE, BALANCE, 2)
    table = np.stack([_table(levels * gain) for gain in (blue, 1.0, red)], axis=-1)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _noise(image: Image, rng: np.random.Generator) -> Image:
    # Half of it is chroma-free, as after a camera's own denoising.
    height, width = image.shape[:2]
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((height, width, channels), np.float32) * np.float32(rng.uniform(*NOISE))
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def _jpeg(image: Image, rng: np.random.Generator) -> Image:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*QUALITY))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _table(levels: NDArray[np.float64]) -> Image:
    return np.asarray(np.clip(np.round(levels), 0, 255), np.uint8)
