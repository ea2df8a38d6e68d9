"""The ground: asphalt, kerbs, pavements, verges, markings, junctions, patches and shadows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.camera import NEAR_M, Camera
from distill.datasets.synth.canvas import Bgr, Canvas
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.textures import textures

Span = tuple[float, float]
FAR_M = 260.0  # markings end here
GRAIN_PER_M = 60.0  # texture pixels a metre of road


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """A straight street along z.

    Attributes:
        half_width: From the middle to the kerb, m.
        lanes: Lines between lanes, x in m.
        junctions: Start and end of each crossing street, z in m.
        asphalt: BGR.
        paving: BGR of pavement.
        verge: BGR beyond the pavement.
        paint: BGR of markings.
        centre: BGR of the middle line, or None for none.
        dash: Length of a dash and of a gap, m.
        zebra: Whether junctions have zebra crossings, else two lines.
        stains: x, z, radius (m) and darkness of patches.
        cracks: Polylines x, z on the ground, float ``[n, 2]`` each, m.
        shadows: x, z, radius of tree shadows, m.
        grain: Index of the grain texture.
        roughness: Strength of the grain.
    """

    half_width: float
    lanes: tuple[float, ...]
    junctions: tuple[tuple[float, float], ...]
    asphalt: Bgr
    paving: Bgr
    verge: Bgr
    paint: Bgr
    centre: Bgr | None
    dash: tuple[float, float]
    zebra: bool
    stains: tuple[tuple[float, float, float, float], ...]
    cracks: tuple[NDArray[np.float64], ...]
    shadows: tuple[tuple[float, float, float], ...]
    grain: int
    roughness: float

    @classmethod
    def sample(
        cls, rng: np.random.Generator, junctions: tuple[tuple[float, float], ...], length: float
    ) -> Road:
        """Choose a street with the given junctions, with details up to ``length`` m."""
        half = rng.uniform(3.5, 11)
        count = max(1, int(half / 3.3))
        lanes = tuple(s * half * k / count for k in range(1, count) for s in (-1, 1))
        level = rng.uniform(55, 140)
        tone = rng.normal(0, 4)
        pave = rng.uniform(90, 190)
        green = rng.random() < 0.5
        return cls(
            half_width=half,
            lanes=lanes,
            junctions=junctions,
            asphalt=(level + tone, level, level - tone),
            paving=(pave * rng.uniform(0.75, 1.02), pave * 0.97, pave),
            verge=(45, rng.uniform(80, 120), rng.uniform(60, 100)) if green else (110, 125, 135),
            paint=(200, 208, 210) if rng.random() < 0.8 else (150, 155, 155),
            centre=(60, 165, 205)
            if rng.random() < 0.5
            else ((200, 205, 205) if rng.random() < 0.6 else None),
            dash=(rng.uniform(2, 4), rng.uniform(3, 9)),
            zebra=bool(rng.random() < 0.55),
            stains=tuple(
                (
                    rng.uniform(-half, half),
                    rng.uniform(2, length),
                    rng.uniform(0.3, 2.5),
                    rng.uniform(0.75, 1.1),
                )
                for _ in range(int(rng.integers(0, 12)))
            ),
            cracks=tuple(_crack(rng, half) for _ in range(int(rng.integers(0, 6)))),
            shadows=tuple(
                (rng.choice((-1, 1)) * rng.uniform(0.4, 1.2) * half, rng.uniform(4, 60), rng.uniform(1, 4))
                for _ in range(int(rng.integers(0, 9)))
            ),
            grain=int(rng.integers(len(textures().grain))),
            roughness=rng.uniform(0.06, 0.38),
        )

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint everything below the horizon."""
        top = int(np.clip(np.ceil(camera.horizon), 0, canvas.height))
        if top >= canvas.height:
            return
        self._base(canvas, camera, lighting, top)
        near, far = camera.eye[2] + NEAR_M, camera.eye[2] + FAR_M
        edge = self.half_width
        for z0, z1 in _outside(self.junctions, near, far):
            for side in (-1, 1):
                paved = (side * edge, side * (edge + 3.5))
                self._slab(canvas, camera, lighting, (paved, (z0, z1)), self.paving)
                kerb = (side * edge, side * (edge + 0.2))
                self._slab(canvas, camera, lighting, (kerb, (z0, z1)), _light(self.paving))
        for x, z, radius, gain in self.stains:
            if camera.depth(z) > 2 and camera.depth(z) < FAR_M:
                self._blob(canvas, camera, lighting, (x, z, radius), gain)
        if lighting.time == "day" and lighting.weather == "clear":
            for x, z, radius in self.shadows:
                if camera.depth(z) > 2:
                    self._blob(canvas, camera, lighting, (x, z, radius), 0.5)
        for crack in self.cracks:
            if camera.depth(float(crack[:, 1].min())) > 1.5:
                ground = np.stack([crack[:, 0], np.zeros(len(crack)), crack[:, 1]], 1)
                colour = lighting.shade(self.asphalt, camera.depth(float(crack[0, 1])), 0.6)
                canvas.line(camera.project(ground), colour, 0.8)
        self._markings(canvas, camera, lighting, near, far)
        self._texture(canvas, camera, top)

    def _base(self, canvas: Canvas, camera: Camera, lighting: Lighting, top: int) -> None:
        rows = np.arange(top, canvas.height) + 0.5
        depth = camera.focal_xy[1] * camera.eye[1] / np.maximum(rows - camera.horizon, 0.3)
        for colour, whole in ((self.verge, True), (self.asphalt, False)):
            column = np.array([lighting.shade(colour, float(d)) for d in depth[::6]], np.float32)
            column = cv2.resize(column[:, None], (1, len(rows)), interpolation=cv2.INTER_LINEAR)
            band = np.clip(column, 0, 255).astype(np.uint8).reshape(-1, 1, 3)
            full = cv2.resize(band, (canvas.width, len(rows)), interpolation=cv2.INTER_NEAREST)
            if whole:
                canvas.image[top:] = full
                continue
            mask = np.zeros(canvas.image.shape[:2], np.uint8)
            spans = [((-self.half_width, self.half_width), (camera.eye[2] + NEAR_M, camera.eye[2] + 4000))]
            spans += [((-400, 400), j) for j in self.junctions if camera.depth(j[1]) > 1]
            for (x0, x1), (z0, z1) in spans:
                flat = camera.project([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]])
                at = np.rint(np.clip(flat, -1e5, 1e5) * 16).astype(np.int32)
                cv2.fillPoly(mask, [at], 255, cv2.LINE_8, 4)
            cv2.copyTo(full, mask[top:], canvas.image[top:])

    @staticmethod
    def _slab(
        canvas: Canvas, camera: Camera, lighting: Lighting, area: tuple[Span, Span], colour: Bgr
    ) -> None:
        (x0, x1), (z0, z1) = area
        # Cut in depth, so that haze grows along it.
        cuts = [z for z in (8.0, 20.0, 50.0, 120.0) if z0 < z + camera.eye[2] < z1]
        stops = [z0, *(c + camera.eye[2] for c in cuts), z1]
        for a, b in pairwise(stops):
            flat = camera.project([[x0, 0, a], [x1, 0, a], [x1, 0, b], [x0, 0, b]])
            canvas.polygon(flat, lighting.shade(colour, camera.depth((a + b) / 2)))

    def _blob(
        self, canvas: Canvas, camera: Camera, lighting: Lighting, at: tuple[float, float, float], gain: float
    ) -> None:
        x, z, radius = at
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        wobble = radius * (1 + 0.25 * np.sin(3 * angle + x) + 0.2 * np.cos(5 * angle + z))
        ground = np.stack([x + wobble * np.cos(angle), 0 * angle, z + 1.6 * wobble * np.sin(angle)], 1)
        canvas.polygon(camera.project(ground), lighting.shade(self.asphalt, camera.depth(z), gain))

    def _markings(self, canvas: Canvas, camera: Camera, lighting: Lighting, near: float, far: float) -> None:
        def bar(x0: float, x1: float, z0: float, z1: float, colour: Bgr) -> None:
            z0 = max(z0, near)
            if z1 > z0:
                flat = camera.project([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]])
                canvas.polygon(flat, lighting.shade(colour, camera.depth(z0)))

        pitch = sum(self.dash)
        for z0, z1 in _outside(self.junctions, near, min(far, near + 120)):
            if self.centre is not None:
                for x in (-0.15, 0.15):
                    bar(x - 0.06, x + 0.06, z0, z1, self.centre)
            for side in (-1, 1):
                x = side * (self.half_width - 0.35)
                bar(x - 0.07, x + 0.07, z0, z1, self.paint)
            start = np.floor(z0 / pitch) * pitch
            for z in np.arange(start, z1, pitch):
                for x in self.lanes:
                    bar(x - 0.08, x + 0.08, max(float(z), z0), min(float(z) + self.dash[0], z1), self.paint)
        for z0, z1 in self.junctions:
            for at in (z0 - 4.5, z1 + 1.0):
                if self.zebra:
                    for x in np.arange(-self.half_width + 0.4, self.half_width - 0.5, 1.1):
                        bar(float(x), float(x) + 0.55, at, at + 3.2, self.paint)
                else:
                    bar(-self.half_width, self.half_width, at, at + 0.3, self.paint)
                    bar(-self.half_width, self.half_width, at + 3, at + 3.3, self.paint)
            bar(0 if self.centre else -self.half_width, self.half_width, z0 - 6.5, z0 - 6.0, self.paint)

    def _texture(self, canvas: Canvas, camera: Camera, top: int) -> None:
        # Made at half size and only where the road is near: far away the grain averages out.
        start = max(top, int(camera.horizon + camera.focal_xy[1] * camera.eye[1] / 45))
        if start >= canvas.height - 4:
            return
        scale = 2
        w, h = canvas.width // scale, (canvas.height - start) // scale
        fx, fy = camera.focal_xy
        x_of = np.array([fy / fx * camera.eye[1] * scale, camera.eye[0] * scale, 0.0])
        x_of[2] = -camera.centre_x * fy / fx * camera.eye[1] + camera.eye[0] * (start - camera.horizon)
        matrix = np.array(
            [
                GRAIN_PER_M * x_of,
                [
                    0,
                    GRAIN_PER_M * camera.eye[2] * scale,
                    GRAIN_PER_M * (camera.eye[1] * fy + camera.eye[2] * (start - camera.horizon)),
                ],
                [0, scale, start - camera.horizon],
            ]
        )
        warp = cv2.warpPerspective(
            textures().grain[self.grain],
            matrix,
            (w, h),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        full = cv2.resize(warp, (canvas.width, canvas.height - start), interpolation=cv2.INTER_LINEAR)
        part = canvas.image[start:]
        grain = cv2.cvtColor(full, cv2.COLOR_GRAY2BGR)
        level = float(part[::8, ::8].mean()) / 128
        strength = self.roughness * min(level, 1.0)
        cv2.addWeighted(part, 1.0, grain, strength, -128 * strength, dst=part)


def _light(colour: Bgr) -> Bgr:
    return min(colour[0] * 1.2, 235), min(colour[1] * 1.2, 235), min(colour[2] * 1.2, 235)


def _crack(rng: np.random.Generator, half: float) -> NDArray[np.float64]:
    steps = rng.normal(0, (0.35, 0.5), (10, 2))
    start = np.array([rng.uniform(-half, half), rng.uniform(5, 25)])
    return np.asarray(start + np.cumsum(steps, 0), np.float64)


def _outside(
    junctions: tuple[tuple[float, float], ...], near: float, far: float
) -> list[tuple[float, float]]:
    """The stretches of [near, far] that lie in no junction."""
    stretches = []
    at = near
    for z0, z1 in sorted(junctions):
        if z1 <= at:
            continue
        if z0 > at:
            stretches.append((at, min(z0, far)))
        at = max(at, z1)
        if at >= far:
            break
    if at < far:
        stretches.append((at, far))
    return stretches
