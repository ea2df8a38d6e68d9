"""Sky: a gradient, clouds, the glare of the sun, the glow of a town."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.textures import textures

COARSE = 4  # the sky is smooth: it is made this many times smaller than the image


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """A sky.

    Attributes:
        clouds: Index of the cloud texture.
        offset: Where in the texture the image starts, fractions.
        zoom: Share of the texture that the image's width shows.
        edge: How hard the clouds' edges are.
        light: Lightness of clouds relative to the sky.
    """

    clouds: int
    offset: tuple[float, float]
    zoom: float
    edge: float
    light: float

    @classmethod
    def sample(cls, rng: np.random.Generator, lighting: Lighting) -> Sky:
        """Choose the clouds."""
        return cls(
            clouds=int(rng.integers(len(textures().clouds))),
            offset=(rng.uniform(0, 0.4), rng.uniform(0, 0.4)),
            zoom=rng.uniform(0.25, 0.6),
            edge=rng.uniform(1.2, 5),
            light=rng.uniform(0.72, 1.12) if lighting.weather != "clear" else rng.uniform(1.0, 1.35),
        )

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Fill the whole image."""
        w, h = max(canvas.width // COARSE, 8), max(canvas.height // COARSE, 8)
        rows = (np.arange(h, dtype=np.float32) + 0.5) * COARSE
        span = max(camera.horizon, canvas.height * 0.4)
        fall = np.clip(rows / span, 0, 1)[:, None, None] ** 1.3
        top, low = np.asarray(lighting.sky_top, np.float32), np.asarray(lighting.sky_low, np.float32)
        sky = np.broadcast_to(top * (1 - fall) + low * fall, (h, w, 3)).copy()
        sky += self._clouds(w, h, lighting) * sky
        if lighting.sun_xy is not None:
            sky += self._sun(w, h, lighting.sun_xy)
        cv2.resize(
            np.clip(sky, 0, 255).astype(np.uint8),
            (canvas.width, canvas.height),
            dst=canvas.image,
            interpolation=cv2.INTER_LINEAR,
        )

    def _clouds(self, w: int, h: int, lighting: Lighting) -> NDArray[np.float32]:
        texture = textures().clouds[self.clouds]
        side = texture.shape[0]
        x0, y0 = int(self.offset[0] * side), int(self.offset[1] * side)
        crop = texture[y0 : y0 + int(side * self.zoom * 0.6) + 2, x0 : x0 + int(side * self.zoom) + 2]
        noise = cv2.resize(crop, (w, h), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        cover = np.clip((noise - 0.75 + 0.6 * lighting.cloud) * self.edge, 0, 1)
        inner = (noise - 0.5) * 0.5
        return np.asarray(cover * (self.light - 1 + inner * lighting.cloud), np.float32)[..., None]

    @staticmethod
    def _sun(w: int, h: int, at: tuple[float, float]) -> NDArray[np.float32]:
        x = (np.arange(w, dtype=np.float32) / w - at[0])[None] * 1.8
        y = (np.arange(h, dtype=np.float32) / h - at[1])[:, None]
        glare = 1 / (1 + ((x * x + y * y) / 0.006))
        return np.asarray(glare[..., None] * np.array([150, 190, 230], np.float32), np.float32)
