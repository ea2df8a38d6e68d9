"""Time of day and weather, and their effect on colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.canvas import Bgr
from distill.datasets.synth.textures import Pixels

TIMES = ("day", "dusk", "night")
WEATHERS = ("clear", "cloudy", "rain", "fog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lighting:
    """The lighting of a scene.

    Attributes:
        time: One of ``TIMES``.
        weather: One of ``WEATHERS``.
        ambient: BGR gains of surfaces; 1 leaves a colour as it is.
        sky_top: BGR overhead.
        sky_low: BGR at the horizon.
        cloud: How much of the sky is cloud, 0 to 1.
        haze: BGR that distance fades to.
        haze_m: Metres after which 63 % has faded.
        dark: Contrast of lamps to their surroundings, 0 at noon, 1 at night.
        wet: Reflectivity of the road, 0 to 1.
        sun_xy: Position of the sun, as fractions of the image, or None.
    """

    time: str
    weather: str
    ambient: Bgr
    sky_top: Bgr
    sky_low: Bgr
    cloud: float
    haze: Bgr
    haze_m: float
    dark: float
    wet: float
    sun_xy: tuple[float, float] | None

    def shade(self, colour: Bgr, depth: float, gain: float = 1.0) -> Bgr:
        """The colour of a surface ``depth`` m away; ``gain`` below 1 is shadow."""
        seen = float(np.exp(-max(depth, 0.0) / self.haze_m))
        b, g, r = (
            min(c * a * gain, 255.0) * seen + h * (1 - seen)
            for c, a, h in zip(colour, self.ambient, self.haze, strict=True)
        )
        return b, g, r

    def shade_image(self, bgr: Pixels, depth: float, gain: float = 1.0) -> Pixels:
        """The colours of a texture ``[h, w, 3]`` ``depth`` m away."""
        return np.asarray(cv2.LUT(bgr, self.table(depth, gain)), np.uint8)

    def table(self, depth: float, gain: float = 1.0) -> Pixels:
        """``shade`` as a lookup table for every level of every channel; uint8 ``[1, 256, 3]``."""
        # Depth in steps of about 10 %, which are not visible: tables can be cached.
        step = round(np.log(max(depth, 1.0)) / 0.1)
        return _table(self, step, round(gain, 2))


@lru_cache(maxsize=512)
def _table(lighting: Lighting, step: int, gain: float) -> NDArray[np.uint8]:
    seen = np.exp(-np.exp(step * 0.1) / lighting.haze_m)
    level = np.arange(256, dtype=np.float32)[:, None]
    lit = np.minimum(level * np.asarray(lighting.ambient, np.float32) * gain, 255)
    table = lit * seen + np.asarray(lighting.haze, np.float32) * (1 - seen)
    return np.asarray(np.clip(table, 0, 255), np.uint8).reshape(1, 256, 3)


def sample_lighting(rng: np.random.Generator) -> Lighting:
    """Sample a time of day and a weather, and the lighting that follows from them."""
    time = str(rng.choice(TIMES, p=(0.70, 0.12, 0.18)))
    weather = str(rng.choice(WEATHERS, p=(0.38, 0.43, 0.12, 0.07)))
    make = {"day": _day, "dusk": _dusk, "night": _night}[time]
    return make(rng, weather)


def _day(rng: np.random.Generator, weather: str) -> Lighting:
    grey = weather != "clear"
    level = rng.uniform(0.5, 1.15) if grey else rng.uniform(0.75, 1.35)
    warm = rng.normal(0, 0.035)
    ambient = (level * (1 - warm), level, level * (1 + warm))
    bright = rng.uniform(185, 255) if grey else rng.uniform(210, 255)
    blue = rng.uniform(0, 18) if grey else rng.uniform(15, 110)
    low = (bright, bright - 0.12 * blue, bright - 0.3 * blue - rng.uniform(0, 8))
    top = (bright, bright - 0.55 * blue - 8, bright - blue - rng.uniform(8, 25))
    haze_m = {"clear": 900.0, "cloudy": 500.0, "rain": 220.0, "fog": 70.0}[weather] * rng.uniform(0.6, 1.5)
    sun = (rng.uniform(0, 1), rng.uniform(0, 0.35)) if not grey and rng.random() < 0.35 else None
    return Lighting(
        time="day",
        weather=weather,
        ambient=ambient,
        sky_top=top,
        sky_low=low,
        cloud=rng.uniform(0.5, 1) if grey else rng.uniform(0, 0.6),
        haze=(low[0] * 0.9, low[1] * 0.9, low[2] * 0.9),
        haze_m=haze_m,
        dark=0.0,
        wet=rng.uniform(0.3, 0.8) if weather == "rain" else 0.0,
        sun_xy=sun,
    )


def _dusk(rng: np.random.Generator, weather: str) -> Lighting:
    level = rng.uniform(0.22, 0.6)
    warm = rng.normal(0.03, 0.07)
    ambient = (level * (1.05 - warm), level, level * (1 + warm))
    glow = rng.uniform(0, 1) if weather == "clear" else rng.uniform(0, 0.3)
    bright = rng.uniform(110, 220)
    low = (bright * (1 - 0.45 * glow), bright * (0.95 - 0.18 * glow), bright * (0.92 + 0.12 * glow))
    fall = rng.uniform(0.35, 0.75)
    top = (bright * fall, bright * fall * 0.85, bright * fall * 0.78)
    haze_m = {"clear": 700.0, "cloudy": 400.0, "rain": 180.0, "fog": 60.0}[weather] * rng.uniform(0.6, 1.5)
    return Lighting(
        time="dusk",
        weather=weather,
        ambient=ambient,
        sky_top=top,
        sky_low=low,
        cloud=rng.uniform(0.1, 0.9),
        haze=(low[0] * 0.7, low[1] * 0.7, low[2] * 0.7),
        haze_m=haze_m,
        dark=rng.uniform(0.25, 0.65),
        wet=rng.uniform(0.3, 0.9) if weather == "rain" else 0.0,
        sun_xy=(rng.uniform(0.1, 0.9), rng.uniform(0.25, 0.5)) if glow > 0.7 else None,
    )


def _night(rng: np.random.Generator, weather: str) -> Lighting:
    level = rng.uniform(0.05, 0.3)
    sodium = rng.uniform(0, 0.4)
    ambient = (level * (1 - sodium), level * (1 - 0.35 * sodium), level)
    sky = rng.uniform(4, 42)
    tint = rng.uniform(-0.25, 0.35)
    low = (sky * 1.4 * (1 - tint), sky * 1.3, sky * 1.35 * (1 + tint))
    top = (sky * 0.8, sky * 0.6, sky * 0.55)
    haze_m = {"clear": 500.0, "cloudy": 350.0, "rain": 160.0, "fog": 70.0}[weather] * rng.uniform(0.6, 1.5)
    return Lighting(
        time="night",
        weather=weather,
        ambient=ambient,
        sky_top=top,
        sky_low=low,
        cloud=rng.uniform(0, 0.5),
        haze=low,
        haze_m=haze_m,
        dark=rng.uniform(0.75, 1),
        wet=rng.uniform(0.4, 1) if weather == "rain" else 0.0,
        sun_xy=None,
    )
