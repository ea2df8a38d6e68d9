"""Street furniture: beams, wires, signs, lanterns, cones. Many resemble signals: they are hard negatives."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Bgr, Canvas, LightSource
from distill.datasets.synth.lighting import Lighting

POST_COLOURS: tuple[Bgr, ...] = (
    (150, 152, 152),
    (95, 98, 98),
    (60, 62, 60),
    (40, 60, 45),
    (40, 160, 200),
    (200, 205, 205),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beam:
    """A post, an arm or a wire.

    Attributes:
        points: Polyline in the street, m; float ``[n, 3]``.
        thick: m.
        colour: BGR.
    """

    points: NDArray[np.float64]
    thick: float
    colour: Bgr

    @property
    def z(self) -> float:
        """Depth of its far end, m."""
        return float(self.points[:, 2].max())

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Stroke it, cut at the near plane."""
        depth = camera.depth(float(self.points[:, 2].mean()))
        if depth < 0.5:
            return
        ahead = self.points[self.points[:, 2] > camera.eye[2] + 1.0]
        if len(ahead) < 2:
            return
        width = self.thick * camera.scale(float(ahead[:, 2].mean()))[0]
        at = camera.project(ahead)
        canvas.line(at, lighting.shade(self.colour, depth), width)
        if width > 5:
            canvas.line(
                at - np.array([0.22 * width, 0]), lighting.shade(self.colour, depth, 1.3), width * 0.3
            )


def post(x: float, z: float, height: float, *, thick: float, colour: Bgr, lean: float = 0.0) -> Beam:
    """An upright post."""
    points = np.array([[x, 0, z], [x + lean * height, height, z]])
    return Beam(points=points, thick=thick, colour=colour)


def wire(a: tuple[float, float, float], b: tuple[float, float, float], sag: float, thick: float) -> Beam:
    """A hanging wire."""
    t = np.linspace(0, 1, 14)[:, None]
    points = np.array(a) * (1 - t) + np.array(b) * t
    points[:, 1] -= 4 * sag * (t * (1 - t))[:, 0]
    return Beam(points=points, thick=thick, colour=(35, 35, 35))


def railing(rng: np.random.Generator, x: float, z0: float, z1: float) -> list[Beam]:
    """A fence along the kerb."""
    height, colour = rng.uniform(0.8, 1.2), POST_COLOURS[int(rng.integers(len(POST_COLOURS)))]
    stops = np.arange(z0, z1, rng.uniform(1.2, 2.5))
    beams = [post(x, float(z), height, thick=0.05, colour=colour) for z in stops]
    for a, b in pairwise(stops):
        for level in (0.25 * height, height):
            points = np.array([[x, level, a], [x, level, b]])
            beams.append(Beam(points=points, thick=0.05, colour=colour))
    return beams


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A flat sign or lantern that faces the camera.

    Attributes:
        x: Middle, m.
        y: Middle, m.
        z: Depth, m.
        size: Diameter or width, m.
        kind: ``ring``, ``disc``, ``octagon``, ``diamond``, ``triangle``, ``plate``, ``lantern`` or ``box``.
        colour: BGR.
        inner: BGR of its inside or its writing.
        ratio: Height to width of a plate or box.
        marks: Strokes of writing: x, y, half width in shares of the size.
        glow: Emitted light: 0 none, 1 like a lamp.
    """

    x: float
    y: float
    z: float
    size: float
    kind: str
    colour: Bgr
    inner: Bgr
    ratio: float
    marks: tuple[tuple[float, float, float], ...]
    glow: float

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint it."""
        if camera.depth(self.z) < 1.5:
            return
        sx, sy = camera.scale(self.z)
        rx, ry = self.size * sx / 2, self.size * sy / 2
        cx, cy = camera.at(self.x, self.y, self.z)
        depth = camera.depth(self.z)
        lit = self.glow * (0.35 + 0.65 * lighting.dark)

        def tone(colour: Bgr) -> Bgr:
            b, g, r = lighting.shade(colour, depth)
            return b + (colour[0] - b) * lit, g + (colour[1] - g) * lit, r + (colour[2] - r) * lit

        shape = _shape(self.kind, self.ratio) * (rx, ry) + (cx, cy)
        canvas.polygon(shape, tone(self.colour))
        if self.kind in {"ring", "diamond", "triangle", "plate"}:
            share = {"ring": 0.74, "diamond": 0.9, "triangle": 0.7, "plate": 0.94}[self.kind]
            border = self.inner if self.kind in {"ring", "triangle"} else self.colour
            if self.kind in {"diamond", "plate"}:
                canvas.polygon(shape, tone(self.inner))
            canvas.polygon((shape - (cx, cy)) * share + (cx, cy), tone(border))
        if rx > 3:
            ink = (25.0, 25.0, 25.0) if self.kind in {"ring", "triangle", "diamond"} else self.inner
            for x, y, half in self.marks:
                tall = ry * (self.ratio if self.kind == "plate" else 1)
                stroke = np.array([[x - half, y], [x + half, y]]) * (rx, tall) + np.array([cx, cy])
                canvas.line(stroke, tone(ink), max(1.0, 0.14 * rx))
        if self.glow > 0 and lighting.dark > 0.1:
            canvas.add_light(LightSource(cx, cy, rx * 3.5, self.colour, 0.7 * self.glow * lighting.dark))


def _shape(kind: str, ratio: float) -> NDArray[np.float64]:
    if kind in {"ring", "disc", "lantern"}:
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        return np.stack([np.cos(angle), np.sin(angle) * (0.85 if kind == "lantern" else 1)], 1)
    if kind == "octagon":
        angle = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 8
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    if kind == "diamond":
        return np.array([[0, -1.0], [1, 0], [0, 1], [-1, 0]])
    if kind == "triangle":
        return np.array([[0, -0.9], [1, 0.8], [-1, 0.8]])
    return np.array([[-1.0, -ratio], [1, -ratio], [1, ratio], [-1, ratio]])


def sign(rng: np.random.Generator, x: float, y: float, z: float) -> Sign:
    """Choose a sign."""
    kinds = ("ring", "disc", "octagon", "diamond", "triangle", "plate", "lantern", "box")
    kind = str(rng.choice(kinds, p=(0.2, 0.1, 0.05, 0.12, 0.06, 0.3, 0.05, 0.12)))
    red, white, blue, yellow = (
        (35.0, 35.0, 200.0),
        (225.0, 228.0, 228.0),
        (160.0, 80.0, 25.0),
        (30.0, 190.0, 225.0),
    )
    colour, inner = {
        "ring": (red, white),
        "disc": (blue if rng.random() < 0.6 else red, white),
        "octagon": (red, white),
        "diamond": ((40.0, 130.0, 240.0) if rng.random() < 0.4 else yellow, (30.0, 30.0, 30.0)),
        "triangle": (red, white if rng.random() < 0.6 else yellow),
        "plate": (
            ((white, blue, (70.0, 110.0, 20.0), yellow, (30.0, 30.0, 30.0))[int(rng.integers(5))]),
            white,
        ),
        "lantern": (red if rng.random() < 0.7 else yellow, yellow),
        "box": ((float(rng.uniform(20, 130)),) * 3, (60.0, 60.0, 60.0)),
    }[kind]
    if kind == "plate" and colour == white:
        inner = (30.0, 30.0, 30.0)
    marks = tuple(
        (rng.uniform(-0.4, 0.4), float(y_mark), rng.uniform(0.1, 0.5))
        for y_mark in np.linspace(-0.45, 0.45, int(rng.integers(1, 4)))
    )
    return Sign(
        x=x,
        y=y,
        z=z,
        size=rng.uniform(0.25, 0.5) if kind in {"box", "lantern"} else rng.uniform(0.5, 1.0),
        kind=kind,
        colour=(float(colour[0]), float(colour[1]), float(colour[2])),
        inner=inner,
        ratio=rng.uniform(0.4, 2.6) if kind == "box" else rng.uniform(0.3, 1.4),
        marks=marks if kind not in {"box", "lantern"} else (),
        glow=1.0 if kind == "lantern" else (0.9 if kind == "plate" and rng.random() < 0.12 else 0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BareLamp:
    """A lamp without a housing: street lamp, window, distant headlight.

    Attributes:
        x: m.
        y: m.
        z: m.
        size: Diameter, m.
        colour: BGR.
        by_day: BGR of its glass when it is off.
    """

    x: float
    y: float
    z: float
    size: float
    colour: Bgr
    by_day: Bgr

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint the glass, and add its light in the dark."""
        if not camera.sees(self.z):
            return
        cx, cy = camera.at(self.x, self.y, self.z)
        radius = max(0.8, self.size * camera.scale(self.z)[0] / 2)
        if lighting.dark < 0.25:
            canvas.disc(cx, cy, radius * 1.5, lighting.shade(self.by_day, camera.depth(self.z)), radius * 0.5)
            return
        white = tuple(min(255.0, c + 90 * lighting.dark) for c in self.colour)
        canvas.disc(cx, cy, radius, (white[0], white[1], white[2]))
        ground = camera.at(self.x, 0, self.z)[1]
        canvas.add_light(
            LightSource(cx, cy, radius * (4 + 5 * lighting.dark), self.colour, 0.9 * lighting.dark, ground)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cone:
    """A traffic cone or an orange barrier board.

    Attributes:
        x: m.
        z: m.
        height: m.
        board: Whether it is a board.
    """

    x: float
    z: float
    height: float
    board: bool

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint it."""
        if camera.depth(self.z) < 2:
            return
        sx, sy = camera.scale(self.z)
        cx, ground = camera.at(self.x, 0, self.z)
        w, h = self.height * sx, self.height * sy
        depth = camera.depth(self.z)
        orange = lighting.shade((30, 95, 240), depth)
        if self.board:
            for k in range(5):
                x0 = cx + (k - 2.5) * 0.4 * w
                shape = np.array([[0, -0.7], [0.4, -0.7], [0.4, -0.4], [0, -0.4]]) * (w, h) + (x0, ground)
                canvas.polygon(shape, orange if k % 2 else lighting.shade((220, 220, 220), depth))
            return
        canvas.polygon(
            np.array([[-0.25, 0], [-0.04, -1], [0.04, -1], [0.25, 0]]) * (w, h) + (cx, ground), orange
        )
        band = np.array([[-0.15, -0.42], [-0.1, -0.64], [0.1, -0.64], [0.15, -0.42]]) * (w, h) + (cx, ground)
        canvas.polygon(band, lighting.shade((225, 225, 225), depth))


def street_lamp(rng: np.random.Generator, side: int, x: float, z: float) -> list[Beam | BareLamp]:
    """A lamp post whose arm reaches over the road."""
    height, reach = rng.uniform(6, 10), rng.uniform(0.8, 2.5)
    colour = POST_COLOURS[int(rng.integers(len(POST_COLOURS)))]
    tip = x - side * reach
    points = np.array([[x, 0, z], [x, height * 0.9, z], [(x + tip) / 2, height, z], [tip, height, z]])
    warm = rng.random() < 0.6
    light = (110.0, 190.0, 255.0) if warm else (245.0, 245.0, 235.0)
    glow = BareLamp(x=tip, y=height - 0.1, z=z - 0.02, size=0.4, colour=light, by_day=(140, 145, 145))
    return [Beam(points=points, thick=0.14, colour=colour), glow]
