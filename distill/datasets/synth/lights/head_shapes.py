"""The outlines of a signal head, as polygons in its own coordinates.

x is right and y down, a vertical housing is 1 wide and a horizontal one 1 tall, its middle is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.lights.heads import HeadStyle

Shape = NDArray[np.float64]  # [N, 2]
DEPTH = 0.55  # of the housing, in housing widths
RING = np.stack([f(np.linspace(0, 2 * np.pi, 28, endpoint=False)) for f in (np.cos, np.sin)], 1)
SQUARE = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
SEGMENTS = {  # lit segments a..g of the ten digits, bit 0 is a
    "0": 0x3F,
    "1": 0x06,
    "2": 0x5B,
    "3": 0x4F,
    "4": 0x66,
    "5": 0x6D,
    "6": 0x7D,
    "7": 0x07,
    "8": 0x7F,
    "9": 0x6F,
    " ": 0x00,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The shape of one head.

    Attributes:
        style: Of the head.
        count: Number of lamps.
        yaw: Turned away to the left (negative) or right, degrees.
        facing: ``front``, ``side`` or ``back``.
    """

    style: HeadStyle
    count: int
    yaw: float
    facing: str

    @property
    def squeeze(self) -> float:
        """How much narrower a turned front appears."""
        return 1.0 if self.facing == "back" else float(np.cos(np.deg2rad(self.yaw)))

    @property
    def visor_shift(self) -> Shape:
        """Where a visor's rim appears relative to its lens: towards the turn, and up as it is above us."""
        return np.array([np.sin(np.deg2rad(self.yaw)), -0.3]) * self.style.visor * 0.62

    def centre(self, index: int) -> Shape:
        """Middle of a lens of a head that is not turned."""
        along = (index - (self.count - 1) / 2) * self.style.pitch
        return np.array([along, 0.0]) if self.style.horizontal else np.array([0.0, along])

    def body(self) -> Shape:
        """The housing, not turned."""
        return _rounded(self._half(), self.style.corner)

    def plate(self) -> Shape:
        """The backplate, not turned."""
        return _rounded(self._half() + self.style.plate, min(self.style.corner + 0.05, 0.2))

    def wall(self) -> Shape | None:
        """The side wall that a turned head shows."""
        if abs(self.yaw) < 4:
            return None
        back = -np.sin(np.deg2rad(self.yaw)) * DEPTH * 0.7
        body = self.body() * (self.squeeze, 1)
        return hull(np.concatenate([body, shifted(body, back, 0)]))

    def visor_rim(self, index: int) -> Shape:
        """The rim of a visor where it meets the housing."""
        radius = np.array([self.style.lens * self.squeeze, self.style.lens])
        rim = self.centre(index) * (self.squeeze, 1) + RING * radius * 1.1
        return np.asarray(rim[RING[:, 1] <= 0.25] if self.style.visor_open else rim)

    def side_visor(self, index: int) -> Shape:
        """A visor in profile."""
        style, out = self.style, 1.0 if self.yaw >= 0 else -1.0
        r, reach = style.lens, max(style.visor, 0.15)
        edge = DEPTH / 2 * (self._length() if style.horizontal else 1)
        profile = np.array(
            [
                [out * edge, -r],
                [out * (edge + reach), -r * 0.9],
                [out * (edge + reach * 0.5), r * 0.9],
                [out * edge, r],
            ]
        )
        return np.asarray(self.centre(index) * (DEPTH, 1) + profile)

    def all(self) -> list[Shape]:
        """Polygons whose union is the visible outline of the head."""
        lamps = range(self.count)
        if self.facing == "side":
            return [self.body() * (DEPTH, 1), *(self.side_visor(i) for i in lamps)]
        shapes = [self.body() * (self.squeeze, 1)]
        if self.style.plate > 0:
            shapes.append(self.plate() * (self.squeeze, 1))
        if self.facing == "back":
            return shapes
        wall = self.wall()
        if wall is not None:
            shapes.append(wall)
        if self.style.visor > 0:
            for i in lamps:
                shapes += [self.visor_rim(i), self.visor_rim(i) + self.visor_shift]
        return shapes

    def _length(self) -> float:
        return self.style.pitch * (self.count - 1) + 1.0

    def _half(self) -> Shape:
        half = np.array([0.5, self._length() / 2])
        return half[::-1].copy() if self.style.horizontal else half


def symbol(name: str) -> list[Shape]:
    """The lit parts of a symbol in a lens of radius 1."""
    if name == "man":
        body = np.array([[-0.3, -0.35], [0.3, -0.35], [0.25, 0.2], [0.22, 0.85], [-0.22, 0.85], [-0.25, 0.2]])
        return [body, shifted(RING * 0.22, 0, -0.62)]
    if name in {"left", "right", "up"}:
        half = np.array([[0.68, -0.12], [0.42, 0.1], [0.17, -0.18], [0.17, 0.85]])
        arrow = np.concatenate([[[0, -0.85]], half, half[::-1] * (-1, 1)])
        if name == "up":
            return [arrow]
        left = np.stack([arrow[:, 1], -arrow[:, 0]], 1)
        return [left if name == "left" else -left]
    shapes = []
    for digit, at in zip(name, (-0.42, 0.42), strict=True):
        lit = (s for bit, s in enumerate(_seven_segments()) if SEGMENTS[digit] >> bit & 1)
        shapes += [shifted(segment * (0.3, 0.62), at, 0) for segment in lit]
    return shapes


def shifted(shape: Shape, x: float, y: float) -> Shape:
    """A polygon moved by (x, y)."""
    return np.asarray(shape + np.array([x, y]))


def hull(points: Shape) -> Shape:
    """The convex hull of points ``[N, 2]``."""
    return np.asarray(cv2.convexHull(points.astype(np.float32)), np.float64).reshape(-1, 2)


def common(a: Shape, b: Shape) -> Shape:
    """The common part of two convex polygons; of length 0 where they do not meet."""
    _, shape = cv2.intersectConvexConvex(a.astype(np.float32), b.astype(np.float32))
    return np.zeros((0, 2)) if shape is None else np.asarray(shape, np.float64).reshape(-1, 2)


def _rounded(half: Shape, corner: float) -> Shape:
    corner = min(corner, float(half.min()))
    quarter = np.linspace(0, np.pi / 2, 5)
    points = []
    for i, (sx, sy) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angle = quarter + i * np.pi / 2
        at = (half - corner) * (sx, sy)
        points.append(at + corner * np.stack([np.cos(angle), np.sin(angle)], 1))
    return np.concatenate(points)


def _seven_segments() -> list[Shape]:
    t = 0.16
    flat = np.array([[-1.0, -t], [1.0, -t], [1.0, t], [-1.0, t]])
    tall = np.array([[-2 * t, -0.5], [2 * t, -0.5], [2 * t, 0.5], [-2 * t, 0.5]])
    places = (
        (flat, 0, -1),
        (tall, 1, -0.5),
        (tall, 1, 0.5),
        (flat, 0, 1),
        (tall, -1, 0.5),
        (tall, -1, -0.5),
        (flat, 0, 0),
    )
    return [shifted(shape, x, y) for shape, x, y in places]
