"""One rendered image and its labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.closeups import closeup, staged
from distill.datasets.synth.labels import visible
from distill.datasets.synth.lighting import Lighting, sample_lighting
from distill.datasets.synth.lights.heads import OFF
from distill.datasets.synth.sensor import Sensor
from distill.datasets.synth.streets import street
from distill.datasets.synth.textures import Pixels
from distill.datasets.synth.weather import lens_drops, overlay_text, rain_streaks, windscreen

KINDS = {"street": 0.56, "bare street": 0.07, "closeup": 0.27, "staged": 0.10}
DEFAULT_SIZE = (1280, 720)
MAX_SIDE = 8192  # pixels; a scene is drawn in memory
DEFAULT_DETAIL_PX = 40.0  # detail that the camera resolves in an image without signal heads


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """A rendered image.

    Attributes:
        image_bgr: uint8 ``[H, W, 3]``.
        class_id: Index into ``heads.CLASSES``; int64 ``[N]``.
        xyxy: Corners of the visible signal heads, px; float32 ``[N, 4]``.
        tags: Kind of scene, time of day, weather.
        number: Of each head, the same in all frames of a clip; int64 ``[N]``. None for a still image.
    """

    image_bgr: Pixels
    class_id: NDArray[np.int64]
    xyxy: NDArray[np.float32]
    tags: tuple[str, str, str]
    number: NDArray[np.int64] | None = None


def render(seed: int, index: int, size_wh: tuple[int, int] = DEFAULT_SIZE) -> Scene:
    """Render image ``index`` of the series ``seed``: a pure function of its arguments.

    Args:
        seed: Of the series; not negative.
        index: Number of the image; not negative.
        size_wh: Width and height, px.
    """
    rng = np.random.default_rng((seed, index))
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    lighting = sample_lighting(rng)
    if kind == "closeup":
        layout = closeup(rng, size_wh, lighting)
    elif kind == "staged":
        layout = staged(rng, size_wh, lighting)
    else:
        layout = street(rng, size_wh, lighting, signals=kind == "street")
    canvas = Canvas(np.empty((size_wh[1], size_wh[0], 3), np.uint8))
    layout.draw(canvas)
    _add_foreground(rng, canvas, lighting)
    class_id, xyxy = visible(canvas)
    sensor = Sensor.sample(rng, lighting, _smallest_detail_px(class_id, xyxy) * 1280 / size_wh[0])
    image = sensor.capture(canvas.image)
    return Scene(image_bgr=image, class_id=class_id, xyxy=xyxy, tags=(kind, lighting.time, lighting.weather))


def _smallest_detail_px(class_id: NDArray[np.int64], xyxy: NDArray[np.float32]) -> float:
    """Size of the detail that the camera must resolve, px. An unlit head is recognised by its lenses only."""
    if not len(xyxy):
        return DEFAULT_DETAIL_PX
    side = (xyxy[:, 2:] - xyxy[:, :2]).max(1)
    return float((side * np.where(class_id == OFF, 0.6, 1.0)).min())


def _add_foreground(rng: np.random.Generator, canvas: Canvas, lighting: Lighting) -> None:
    """Add weather and glass in front of the camera; what they hide is not labelled."""
    if lighting.weather == "rain":
        rain_streaks(rng, canvas, lighting)
        if rng.random() < 0.6:
            lens_drops(rng, canvas)
    if rng.random() < 0.2:
        windscreen(rng, canvas)
    if rng.random() < 0.08:
        overlay_text(rng, canvas)
