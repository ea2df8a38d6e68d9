"""Styles of signal heads: housing, lamps, visors, backplate. Lengths are shares of the housing's width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.datasets.synth.canvas import Bgr
from distill.datasets.synth.lighting import Lighting

CLASSES = ("red", "yellow", "green", "off")
RED, YELLOW, GREEN, OFF = range(4)

LIT: dict[str, tuple[Bgr, ...]] = {
    "red": ((40, 40, 255), (30, 62, 255), (75, 55, 245), (45, 85, 255), (20, 20, 235), (110, 90, 255)),
    "yellow": ((0, 165, 255), (20, 180, 255), (50, 210, 255), (10, 140, 255), (40, 185, 250)),
    "green": (
        (200, 230, 40),
        (150, 255, 90),
        (215, 215, 30),
        (110, 225, 60),
        (245, 205, 60),
        (175, 240, 110),
    ),
    "white": ((245, 245, 240),),
}
# Colour of the centre of an overexposed lamp: it keeps a trace of its hue.
BURNT: dict[str, Bgr] = {
    "red": (150, 190, 255),
    "yellow": (190, 240, 255),
    "green": (255, 255, 215),
    "white": (255, 255, 255),
}
UNLIT: dict[str, Bgr] = {
    "red": (24, 23, 48),
    "yellow": (24, 42, 52),
    "green": (40, 43, 26),
    "white": (60, 60, 60),
}
HOUSINGS: tuple[Bgr, ...] = (
    (28, 28, 28),
    (45, 46, 45),
    (20, 22, 20),
    (38, 48, 38),
    (40, 62, 42),
    (30, 165, 205),
    (25, 140, 190),
    (95, 95, 95),
    (135, 138, 138),
    (60, 75, 85),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """One lens.

    Attributes:
        hue: Key of ``LIT``.
        lit: Whether it is lit.
        symbol: ``ball``, ``left``, ``right``, ``up``, ``man``, or two digits of a countdown.
    """

    hue: str
    lit: bool
    symbol: str = "ball"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStyle:
    """The style that the heads of one junction share.

    Attributes:
        horizontal: Whether lamps lie side by side.
        housing: BGR.
        corner: Radius of the housing's corners.
        lens: Radius of a lens.
        pitch: Distance of lens centres.
        visor: How far a visor stands out, 0 for none.
        visor_open: Whether the visor is a cap above the lens and not a whole tube.
        plate: Margin of the backplate around the housing, 0 for none.
        plate_border: Colour of its reflective border, or None.
        frame: Colour of a light rim around the housing itself, or None.
        unlit_grey: Lightness of unlit lenses that look grey, or 0 for dark, tinted lenses.
        led: Whether lit lenses show single diodes.
        sheen: Reflection of the sky on unlit lenses, 0 to 1.
        gain: Illumination of the front, 1 is that of other objects.
        power: Brightness of lit lamps by day, 1 saturates.
        white: How white the middle of a lit lamp is, 0 to 1.
        tone: Picks the lamp colours.
    """

    horizontal: bool
    housing: Bgr
    corner: float
    lens: float
    pitch: float
    visor: float
    visor_open: bool
    plate: float
    plate_border: Bgr | None
    frame: Bgr | None
    unlit_grey: float
    led: bool
    sheen: float
    gain: float
    power: float
    white: float
    tone: int


def sample_head_style(rng: np.random.Generator, lighting: Lighting) -> HeadStyle:
    """Sample the style of a junction's heads."""
    housing = HOUSINGS[
        int(rng.choice(len(HOUSINGS), p=(0.2, 0.16, 0.14, 0.1, 0.06, 0.08, 0.05, 0.07, 0.05, 0.09)))
    ]
    plated = rng.random() < 0.36
    lens = rng.uniform(0.27, 0.45)
    border: Bgr | None = None
    if plated and rng.random() < 0.5:
        border = (215, 220, 220) if rng.random() < 0.6 else (40, 200, 235)
    dim = lighting.dark < 0.2 and rng.random() < 0.16
    return HeadStyle(
        horizontal=bool(rng.random() < 0.11),
        housing=housing,
        corner=float(rng.choice((0.03, rng.uniform(0.05, 0.3), 0.5), p=(0.45, 0.45, 0.1))),
        lens=lens,
        pitch=max(2 * lens + rng.uniform(0.02, 0.08), rng.uniform(0.64, 0.98)),
        visor=rng.uniform(0.2, 0.9) if rng.random() < 0.8 else 0.0,
        visor_open=bool(rng.random() < 0.6),
        plate=rng.uniform(0.12, 0.5) if plated else 0.0,
        plate_border=border,
        frame=_grey(rng.uniform(130, 210)) if not plated and rng.random() < 0.2 else None,
        unlit_grey=rng.uniform(55, 165) if rng.random() < 0.3 else 0.0,
        led=bool(rng.random() < 0.5),
        sheen=rng.uniform(0, 0.5),
        gain=rng.uniform(0.35, 1.1),
        power=rng.uniform(0.42, 0.7) if dim else rng.uniform(0.8, 1.2),
        white=rng.uniform(0, 0.6) if lighting.dark < 0.5 else rng.uniform(0.3, 1.0),
        tone=int(rng.integers(1 << 20)),
    )


def _grey(level: float) -> Bgr:
    return level, level, level


def sample_lamps(rng: np.random.Generator, state: int) -> tuple[Lamp, ...]:
    """Sample the lamps of a head that shows ``state``, from the top (or the left) on.

    Red together with yellow is labelled red: the driver must still stop.
    """
    kind = str(
        rng.choice(("three", "two", "four", "arrow", "count", "one"), p=(0.66, 0.07, 0.05, 0.1, 0.1, 0.02))
    )
    lit = {RED: "red", YELLOW: "yellow", GREEN: "green", OFF: ""}[state]
    if kind == "one":
        hue = lit or str(rng.choice(("red", "yellow", "green")))
        return (Lamp(hue=hue, lit=bool(lit)),)
    if kind == "two" and state != YELLOW:
        return tuple(Lamp(hue=h, lit=h == lit) for h in ("red", "green"))
    symbol = str(rng.choice(("left", "right", "up"))) if kind == "arrow" else "ball"
    both = state == RED and kind == "three" and rng.random() < 0.06
    lamps = [Lamp(hue=h, lit=h == lit, symbol=symbol) for h in ("red", "yellow", "green")]
    if both:
        lamps[1] = Lamp(hue="yellow", lit=True)
    if kind == "count" and state != OFF:
        # The middle lamp counts down in the colour of the lit one.
        lamps[1] = Lamp(hue=lit, lit=True, symbol=f"{int(rng.integers(1, 99)):2d}")
    if kind == "four":
        turn = state == GREEN and rng.random() < 0.5
        lamps.append(Lamp(hue="green", lit=turn, symbol=str(rng.choice(("left", "right")))))
    return tuple(lamps)


def pedestrian_lamps(rng: np.random.Generator) -> tuple[Lamp, ...]:
    """Sample the lamps of a pedestrian signal, which is never labelled."""
    walk = rng.random() < 0.5
    return (Lamp(hue="red", lit=not walk, symbol="man"), Lamp(hue="green", lit=bool(walk), symbol="man"))
