"""The imaging pipeline of a camera: blur, resolution, colours, noise, sharpening, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.textures import Pixels, textures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sensor:
    """The parameters of a camera's imaging pipeline.

    Attributes:
        resolution: Effective resolution as a share of the image's, at most 1.
        defocus: Blur, standard deviation, px at 1280.
        motion: Motion blur x, y, px at 1280.
        target: Mean level that the automatic exposure aims at.
        adapt: Strength of the automatic exposure, 0 to 1.
        curve: Tone curve, colour temperature and exposure; uint8 ``[1, 256, 3]``.
        saturation: 1 keeps it.
        noise: Strength of the noise, 1 is a standard deviation of about 25.
        noise_at: Where the noise texture starts, fractions.
        vignette: Loss of light in the corners, 0 to 1.
        uneven: Depth of large patches of light and shade, 0 to 1.
        patches: Index of the texture of the patches.
        sharpen: Over-sharpening, 0 for none.
        recompress: JPEG quality of an earlier generation, or 0 for none.
    """

    resolution: float
    defocus: float
    motion: tuple[float, float]
    target: float
    adapt: float
    curve: NDArray[np.uint8]
    saturation: float
    noise: float
    noise_at: tuple[float, float]
    vignette: float
    uneven: float
    patches: int
    sharpen: float
    recompress: int

    @classmethod
    def sample(cls, rng: np.random.Generator, lighting: Lighting, smallest_px: float) -> Sensor:
        """Sample a camera and its settings for the lighting.

        Args:
            rng: Source of randomness.
            lighting: Of the scene.
            smallest_px: Height of the smallest labelled head, px at 1280. Blur, noise and resolution are
                limited so that it can still be recognised.
        """
        shaky = rng.random() < 0.22
        angle, length = rng.uniform(0, 2 * np.pi), rng.exponential(3.0) * (1 + lighting.dark)
        length = min(length, 0.3 * smallest_px)
        wanted = float(rng.choice((1.0, rng.uniform(0.5, 1), rng.uniform(0.28, 0.5)), p=(0.35, 0.35, 0.3)))
        defocus = abs(rng.normal(0, 0.8)) + (rng.exponential(1.2) if rng.random() < 0.15 else 0)
        noise = rng.exponential(0.09) + 0.07 * lighting.dark
        return cls(
            resolution=min(1.0, max(wanted, 9.0 / smallest_px)),
            defocus=min(defocus, 0.08 * smallest_px),
            motion=(length * np.cos(angle), length * np.sin(angle)) if shaky else (0.0, 0.0),
            target=rng.uniform(85, 150) * (1 - 0.62 * lighting.dark),
            adapt=rng.uniform(0.35, 0.95),
            curve=_curve(rng, lighting),
            saturation=rng.uniform(0.6, 1.3),
            noise=float(np.clip(noise, 0, min(0.5, 0.1 + 0.006 * smallest_px))),
            noise_at=(rng.random(), rng.random()),
            vignette=rng.uniform(0, 0.45) if rng.random() < 0.4 else 0.0,
            uneven=rng.uniform(0.1, 0.4) if rng.random() < 0.6 else 0.0,
            patches=int(rng.integers(len(textures().clouds))),
            sharpen=rng.uniform(0.4, 1.6) if rng.random() < 0.4 else 0.0,
            recompress=int(rng.integers(30 if smallest_px > 24 else 55, 85)) if rng.random() < 0.45 else 0,
        )

    def capture(self, image: Pixels) -> Pixels:
        """Apply the pipeline to the scene ``[H, W, 3]``; the result has the same size."""
        h, w = image.shape[:2]
        seen = image
        if self.resolution < 0.97:
            small = (max(16, round(w * self.resolution)), max(16, round(h * self.resolution)))
            seen = np.asarray(cv2.resize(seen, small, interpolation=cv2.INTER_AREA), np.uint8)
        unit = seen.shape[1] / 1280
        seen = self._blur(seen, unit)
        seen = np.asarray(cv2.LUT(seen, self._adapted(seen)), np.uint8)
        if abs(self.saturation - 1) > 0.05:
            grey = cv2.cvtColor(cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            seen = np.asarray(cv2.addWeighted(seen, self.saturation, grey, 1 - self.saturation, 0), np.uint8)
        if self.vignette > 0 or self.uneven > 0:
            seen = np.asarray(
                cv2.multiply(seen, self._corners(seen.shape[1], seen.shape[0]), scale=1 / 255), np.uint8
            )
        if self.noise > 0.02:
            speckle = self._speckle(seen.shape[1], seen.shape[0])
            seen = np.asarray(cv2.addWeighted(seen, 1.0, speckle, self.noise, -128 * self.noise), np.uint8)
        if self.sharpen > 0:
            soft = cv2.GaussianBlur(seen, (0, 0), max(0.8, 1.6 * unit))
            seen = np.asarray(cv2.addWeighted(seen, 1 + self.sharpen, soft, -self.sharpen, 0), np.uint8)
        if self.recompress:
            _, data = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, self.recompress])
            seen = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        if seen.shape[1] != w:
            seen = np.asarray(cv2.resize(seen, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
        return seen

    def _adapted(self, image: Pixels) -> NDArray[np.uint8]:
        """The tone curve with the automatic exposure for this image."""
        mean = max(float(image[::16, ::16].mean()), 1.0)
        gain = float(np.clip((self.target / mean) ** self.adapt, 0.6, 3.2))
        level = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
        return self.curve[:, level]

    def _blur(self, image: Pixels, unit: float) -> Pixels:
        sigma = self.defocus * unit
        if sigma > 0.35:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
        dx, dy = self.motion[0] * unit, self.motion[1] * unit
        reach = float(np.hypot(dx, dy))
        if reach > 1.2:
            side = int(np.ceil(reach)) | 1
            kernel = np.zeros((side, side), np.float32)
            middle = np.array([side // 2, side // 2])
            half = np.array([dx, dy]) / 2
            a, b = np.rint((middle - half) * 16).astype(int), np.rint((middle + half) * 16).astype(int)
            cv2.line(kernel, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), 1.0, 1, cv2.LINE_8, 4)
            image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
        return image

    def _corners(self, w: int, h: int) -> Pixels:
        x, y = np.linspace(-1, 1, 64)[None], np.linspace(-1, 1, 36)[:, None]
        light = 1 - self.vignette * np.clip((x * x + y * y) / 2, 0, 1) ** 1.3
        cloud = cv2.resize(textures().clouds[self.patches], (64, 36), interpolation=cv2.INTER_AREA)
        light = light * (1 - self.uneven * (1 - cloud.astype(np.float32) / 255))
        small = cv2.cvtColor((light * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)

    def _speckle(self, w: int, h: int) -> Pixels:
        tile = textures().speckle
        side = tile.shape[0]
        x, y = int(self.noise_at[0] * side), int(self.noise_at[1] * side)
        repeats = (-(-(h + y) // side), -(-(w + x) // side), 1)
        return np.tile(tile, repeats)[y : y + h, x : x + w]


def _curve(rng: np.random.Generator, lighting: Lighting) -> NDArray[np.uint8]:
    gamma = float(np.exp(rng.normal(0, 0.2)))
    exposure = float(np.exp(rng.normal(0.0, 0.18)))
    if lighting.time == "day" and rng.random() < 0.1:
        exposure *= rng.uniform(1.3, 1.9)
    lift = rng.uniform(0, 0.12) if rng.random() < 0.4 else 0.0
    level = np.linspace(0, 1, 256)[:, None]
    balance = np.exp(rng.normal(0, (0.06, 0.025, 0.05)))
    if rng.random() < 0.15:  # a camera with a cast
        balance = balance * np.exp(rng.normal((0, 0.05, 0), (0.08, 0.04, 0.08)))
    curve = np.clip(level * exposure * balance, 0, 1) ** gamma
    if rng.random() < 0.5:
        curve = curve + rng.uniform(0, 0.25) * (curve - 0.5) * curve * (1 - curve) * 4
    curve = lift + (1 - lift) * curve
    return np.clip(curve * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3)
