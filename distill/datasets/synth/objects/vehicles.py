"""Cars, vans, buses and two-wheelers. Their lamps are hard negatives for a traffic light detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Bgr, Canvas, LightSource
from distill.datasets.synth.lighting import Lighting

PAINTS: tuple[Bgr, ...] = (
    (235, 238, 238),
    (200, 205, 205),
    (120, 122, 124),
    (45, 45, 48),
    (25, 25, 25),
    (60, 40, 150),
    (30, 30, 190),
    (140, 70, 30),
    (20, 150, 210),
    (70, 110, 60),
    (40, 90, 200),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vehicle:
    """A vehicle from behind, from ahead, or from the side.

    Attributes:
        x: Middle, m.
        z: Nearest end, m.
        width: m.
        height: m.
        length: m.
        paint: BGR.
        side: ``rear``, ``front`` or ``flank``.
        boxy: 0 for a saloon, 1 for a bus or lorry.
        lamps: Whether its lamps are on.
        brakes: Whether it brakes.
        lamp_shape: Width and height of a tail lamp, shares of the vehicle.
        amber: Whether an indicator is on.
    """

    x: float
    z: float
    width: float
    height: float
    length: float
    paint: Bgr
    side: str
    boxy: float
    lamps: bool
    brakes: bool
    lamp_shape: tuple[float, float]
    amber: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, x: float, z: float, side: str, lighting: Lighting) -> Vehicle:
        """Sample a vehicle at (x, z)."""
        large = rng.random() < 0.14
        return cls(
            x=x,
            z=z,
            width=rng.uniform(2.2, 2.6) if large else rng.uniform(1.65, 1.95),
            height=rng.uniform(2.4, 3.6) if large else rng.uniform(1.4, 1.95),
            length=rng.uniform(6, 12) if large else rng.uniform(3.8, 4.9),
            paint=PAINTS[int(rng.integers(len(PAINTS)))],
            side=side,
            boxy=1.0 if large else rng.uniform(0, 0.7),
            lamps=bool(rng.random() < (0.95 if lighting.dark > 0.4 else 0.15)),
            brakes=bool(rng.random() < 0.5),
            lamp_shape=(rng.uniform(0.08, 0.22), rng.uniform(0.07, 0.25)),
            amber=bool(rng.random() < 0.15),
        )

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint it standing on the ground."""
        if camera.depth(self.z) < 2.5:
            return
        pen = _Pen(canvas, camera, lighting, self)
        if self.side == "flank":
            _flank(pen)
        else:
            _ends(pen)


class _Pen:
    """Draws in shares of the vehicle's outline: x from -0.5 to 0.5, y from 0 (ground) to 1 (roof)."""

    def __init__(self, canvas: Canvas, camera: Camera, lighting: Lighting, car: Vehicle) -> None:
        self.canvas, self.lighting, self.car = canvas, lighting, car
        self.depth = camera.depth(car.z)
        sx, sy = camera.scale(car.z)
        across = car.length if car.side == "flank" else car.width
        self.w, self.h = across * sx, car.height * sy
        self.cx, self.ground = camera.at(car.x, 0, car.z)

    def shape(self, points: list[tuple[float, float]], colour: Bgr, gain: float = 1.0) -> None:
        at = np.array(points) * (self.w, -self.h) + np.array([self.cx, self.ground])
        self.canvas.polygon(at, self.lighting.shade(colour, self.depth, gain))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Bgr, *, gain: float = 1.0) -> None:
        self.shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, gain)

    def lamp(self, x: float, y: float, w: float, h: float, colour: Bgr, *, power: float) -> None:
        """A lamp of half size (w, h); ``power`` 0 is off."""
        unlit = (colour[0] * 0.45, colour[1] * 0.45, colour[2] * 0.6)
        if power <= 0:
            self.box(x - w, y - h, x + w, y + h, unlit)
            return
        lit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (w * self.w, h * self.h)
        at = lit + np.array([self.cx + x * self.w, self.ground - y * self.h])
        b, g, r = (min(c * power + 20, 255.0) for c in colour)
        self.canvas.polygon(at, (b, g, r))
        b, g, r = (min(255.0, c * power + 110 * self.lighting.dark) for c in colour)
        self.canvas.polygon((at + at.mean(0)) / 2, (b, g, r))
        radius = max(w * self.w, h * self.h) * (2.2 + 4 * self.lighting.dark)
        x_px, y_px = float(at[:, 0].mean()), float(at[:, 1].mean())
        strength = power * (0.15 + 0.7 * self.lighting.dark)
        self.canvas.add_light(
            LightSource(
                x_px, y_px, radius, colour, strength, self.ground if self.lighting.dark > 0.2 else None
            )
        )


def _ends(pen: _Pen) -> None:
    car = pen.car
    waist = 0.55 + 0.05 * car.boxy
    shoulder = 0.5 - 0.09 * (1 - car.boxy)
    pen.shape([(-0.52, 0.0), (0.52, 0.0), (0.48, 0.1), (-0.48, 0.1)], (20, 20, 20), 0.7)
    for x in (-0.46, 0.3):
        pen.box(x, 0.0, x + 0.16, 0.3, (25, 25, 25))
    pen.shape(
        [
            (-0.5, 0.13),
            (0.5, 0.13),
            (0.5, waist),
            (shoulder, 0.97),
            (0.3, 1.0),
            (-0.3, 1.0),
            (-shoulder, 0.97),
            (-0.5, waist),
        ],
        car.paint,
    )
    low = waist + 0.02
    pen.shape(
        [(-0.44, low), (0.44, low), (shoulder - 0.06, 0.92), (-shoulder + 0.06, 0.92)],
        (75, 68, 60) if car.side == "front" else (55, 50, 46),
    )
    pen.box(-0.5, 0.13, 0.5, 0.26, car.paint, gain=0.6)
    pen.box(-0.13, 0.3, 0.13, 0.38, (210, 215, 215) if car.side == "rear" else (60, 60, 60))
    w, h = car.lamp_shape
    y = waist - 0.06 - h / 2
    for x in (-0.47 + w / 2, 0.47 - w / 2):
        if car.side == "rear":
            power = (1.0 if car.brakes else 0.6) if car.lamps or car.brakes else 0.0
            pen.lamp(x, y, w / 2, h / 2, (40, 40, 235), power=power)
        else:
            pen.lamp(x, 0.42, w / 2, h / 2.5, (215, 235, 255), power=1.0 if car.lamps else 0.0)
    if car.side == "rear" and car.brakes:
        pen.lamp(0, 0.93, 0.09, 0.012, (40, 40, 235), power=0.9)
    if car.amber:
        pen.lamp(0.47 - w / 2, y - h * 0.6, w / 3, h / 6, (20, 150, 255), power=1.0)


def _flank(pen: _Pen) -> None:
    car = pen.car
    pen.box(-0.48, 0.0, 0.48, 0.12, (18, 18, 18), gain=0.7)
    if car.boxy > 0.9:
        pen.box(-0.5, 0.12, 0.5, 1.0, car.paint)
        pen.box(-0.47, 0.55, 0.47, 0.85, (60, 55, 50))
    else:
        pen.shape(
            [
                (-0.5, 0.15),
                (0.5, 0.15),
                (0.5, 0.5),
                (0.3, 0.58),
                (0.14, 1.0),
                (-0.25, 1.0),
                (-0.4, 0.6),
                (-0.5, 0.52),
            ],
            car.paint,
        )
        pen.shape([(-0.34, 0.62), (0.22, 0.62), (0.12, 0.93), (-0.23, 0.93)], (60, 55, 50))
        pen.box(-0.06, 0.6, -0.04, 0.95, car.paint)
    for x in (-0.32, 0.3):
        cx, cy = pen.cx + x * pen.w, pen.ground - 0.16 * pen.h
        radius = 0.17 * pen.h
        pen.canvas.disc(cx, cy, radius, pen.lighting.shade((22, 22, 22), pen.depth))
        pen.canvas.disc(cx, cy, radius * 0.5, pen.lighting.shade((130, 130, 130), pen.depth))
    pen.lamp(-0.485, 0.45, 0.015, 0.04, (40, 40, 235), power=0.8 if car.lamps or car.brakes else 0.0)
    pen.lamp(0.485, 0.42, 0.015, 0.04, (215, 235, 255), power=0.9 if car.lamps else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Someone on foot or on a two-wheeler.

    Attributes:
        x: Middle, m.
        z: Depth, m.
        height: m.
        coat: BGR.
        legs: BGR.
        helmet: BGR; a round, often red blob at head height.
        rides: Whether on a motorcycle seen from behind.
        lamp: Whether its tail lamp is on.
    """

    x: float
    z: float
    height: float
    coat: Bgr
    legs: Bgr
    helmet: Bgr
    rides: bool
    lamp: bool

    @classmethod
    def sample(cls, rng: np.random.Generator, x: float, z: float) -> Person:
        """Sample a person at (x, z)."""
        coat, helmet = (rng.uniform(15, 200, 3) * rng.choice((0.4, 1.0), 3) for _ in range(2))
        rides = bool(rng.random() < 0.4)
        return cls(
            x=x,
            z=z,
            height=rng.uniform(1.5, 1.9),
            coat=(float(coat[0]), float(coat[1]), float(coat[2])),
            legs=(60, 50, 45),
            helmet=(float(helmet[0]), float(helmet[1]), float(helmet[2])) if rides else (90, 110, 140),
            rides=rides,
            lamp=bool(rng.random() < 0.6),
        )

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint the figure standing on the ground."""
        if camera.depth(self.z) < 2.5:
            return
        sx, sy = camera.scale(self.z)
        cx, ground = camera.at(self.x, 0, self.z)
        w, h = self.height * sx, self.height * sy
        depth = camera.depth(self.z)

        def part(points: list[tuple[float, float]], colour: Bgr) -> None:
            canvas.polygon(np.array(points) * (w, -h) + (cx, ground), lighting.shade(colour, depth))

        part(
            [(-0.11, 0.0), (-0.03, 0.0), (0.0, 0.4), (0.03, 0.0), (0.11, 0.0), (0.1, 0.52), (-0.1, 0.52)],
            self.legs,
        )
        part(
            [(-0.11, 0.45), (0.11, 0.45), (0.15, 0.76), (0.06, 0.84), (-0.06, 0.84), (-0.15, 0.76)], self.coat
        )
        canvas.disc(cx, ground - 0.92 * h, 0.065 * w, lighting.shade(self.helmet, depth), 0.075 * h)
        if self.rides:
            part([(-0.07, 0.0), (0.07, 0.0), (0.09, 0.45), (-0.09, 0.45)], (30, 30, 30))
            power = 0.9 if self.lamp else 0.4
            lit = (40 * power, 40 * power, 235 * power)
            canvas.disc(cx, ground - 0.38 * h, 0.04 * w, lit, 0.025 * h)
            if self.lamp:
                reach = 0.09 * w * (1 + 2 * lighting.dark)
                canvas.add_light(
                    LightSource(
                        cx, ground - 0.38 * h, reach, (40, 40, 235), 0.2 + 0.6 * lighting.dark, ground
                    )
                )
