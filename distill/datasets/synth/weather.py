"""Effects between the street and the sensor: rain, drops on the lens, reflections of the windscreen."""

from __future__ import annotations

import cv2
import numpy as np

from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.lighting import Lighting


def rain_streaks(rng: np.random.Generator, canvas: Canvas, lighting: Lighting) -> None:
    """Thin falling lines, lighter than what is behind."""
    count = int(rng.integers(60, 400))
    layer = np.zeros((canvas.height // 2, canvas.width // 2), np.uint8)
    slant = rng.normal(0, 0.15)
    length = rng.uniform(0.015, 0.06) * canvas.height / 2
    starts = rng.random((count, 2)) * (layer.shape[1], layer.shape[0])
    for x, y in starts:
        end = (int(x + slant * length), int(y + length))
        cv2.line(layer, (int(x), int(y)), end, 255, 1, cv2.LINE_AA)
    level = rng.uniform(12, 45) * (1 - 0.6 * lighting.dark) / 255
    full = cv2.resize(layer, (canvas.width, canvas.height), interpolation=cv2.INTER_LINEAR)
    cv2.scaleAdd(cv2.cvtColor(full, cv2.COLOR_GRAY2BGR), level, canvas.image, dst=canvas.image)


def lens_drops(rng: np.random.Generator, canvas: Canvas) -> None:
    """Drops on the lens: small discs with the scene blurred and upside down."""
    for _ in range(int(rng.integers(4, 26))):
        radius = int(rng.uniform(0.006, 0.03) * canvas.width) + 2
        x = int(rng.integers(radius, canvas.width - radius))
        y = int(rng.integers(radius, canvas.height - radius))
        part = canvas.image[y - radius : y + radius, x - radius : x + radius]
        small = cv2.resize(part, (4, 4), interpolation=cv2.INTER_AREA)[::-1]
        soft = cv2.resize(
            np.ascontiguousarray(small), (2 * radius, 2 * radius), interpolation=cv2.INTER_CUBIC
        )
        mask = np.zeros((2 * radius, 2 * radius), np.uint8)
        cv2.ellipse(
            mask,
            (radius, radius),
            (radius - 1, int(radius * rng.uniform(0.6, 0.98))),
            0,
            0,
            360,
            190,
            -1,
            cv2.LINE_AA,
        )
        canvas.blend(np.asarray(soft, np.uint8), cv2.GaussianBlur(mask, (5, 5), 0), x - radius, y - radius)


def windscreen(rng: np.random.Generator, canvas: Canvas) -> None:
    """A faint reflection of the dashboard, a veil of light, or a dark bonnet at the bottom."""
    w, h = canvas.width, canvas.height
    if rng.random() < 0.5:
        points = rng.uniform((0, 0.55), (1, 1.1), (5, 2)) * (w, h)
        hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
        x, y, bw, bh = cv2.boundingRect(hull)
        x, y = max(x, 0), max(y, 0)
        bw, bh = min(bw, w - x), min(bh, h - y)
        if bw > 2 and bh > 2:
            mask = np.zeros((bh, bw), np.uint8)
            cv2.fillConvexPoly(mask, (hull - (x, y)).astype(np.int32), int(rng.integers(15, 70)), cv2.LINE_AA)
            colour = np.empty((bh, bw, 3), np.uint8)
            colour[:] = rng.uniform((20, 40, 60), (90, 130, 200))
            canvas.blend(colour, mask, x, y)
        return
    top = rng.uniform(0.86, 0.97)
    x = np.linspace(-0.05, 1.05, 12)
    curve = top + rng.uniform(0, 0.25) * (x - rng.uniform(0.3, 0.7)) ** 2 * 2
    points = np.concatenate([np.stack([x, curve], 1), [[1.05, 1.1], [-0.05, 1.1]]]) * (w, h)
    level = rng.uniform(8, 60)
    canvas.polygon(points, (level, level, level))


def overlay_text(rng: np.random.Generator, canvas: Canvas) -> None:
    """A dash cam's date and speed in a corner."""
    year, month, day, hour, minute = rng.integers((10, 1, 1, 0, 0), (30, 13, 29, 24, 60))
    text = f"20{year}/{month:02d}/{day:02d} {hour:02d}:{minute:02d}"
    size = rng.uniform(0.5, 1.1) * canvas.height / 720
    at = (int(rng.uniform(0.02, 0.6) * canvas.width), int(rng.choice((0.05, 0.97)) * canvas.height))
    colour = (255, 255, 255) if rng.random() < 0.7 else (0, 220, 255)
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 3)
    for x0, y0, x1, y1 in (candidate.box for candidate in canvas.label_candidates):
        if x1 > at[0] and x0 < at[0] + wide and y1 > at[1] - tall and y0 < at[1] + 4:
            return  # the letters would cover a light
    cv2.putText(canvas.image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas.image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
