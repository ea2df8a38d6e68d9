"""Signal heads at a junction: on posts, mast arms, gantries and wires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.datasets.synth.canvas import Bgr
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.lights.head_paint import SignalHead
from distill.datasets.synth.lights.heads import (
    GREEN,
    OFF,
    RED,
    YELLOW,
    HeadStyle,
    pedestrian_lamps,
    sample_head_style,
    sample_lamps,
)
from distill.datasets.synth.objects.furniture import POST_COLOURS, Beam, post, sign, wire
from distill.datasets.synth.objects.scene_object import SceneObject

STATE_SHARES = {RED: 0.29, YELLOW: 0.23, GREEN: 0.27, OFF: 0.21}  # yellow and off are rarer in the street
MOUNTS = ("mast", "post", "gantry", "wire")


def sample_state(rng: np.random.Generator, lighting: Lighting) -> int:
    """Sample a state with ``STATE_SHARES``; a head that is off is not visible at night."""
    state = int(rng.choice(list(STATE_SHARES), p=list(STATE_SHARES.values())))
    return int(rng.choice((RED, YELLOW, GREEN))) if state == OFF and lighting.dark > 0.7 else state


class SignalGroup:
    """The signals of one approach, while they are sampled: one style, mostly one state."""

    def __init__(
        self, rng: np.random.Generator, lighting: Lighting, style: HeadStyle, size: float, state: int
    ) -> None:
        self.rng, self.lighting, self.style, self.size, self.state = rng, lighting, style, size, state
        self.objects: list[SceneObject] = []
        self.colour: Bgr = POST_COLOURS[int(rng.integers(len(POST_COLOURS)))]
        self.tilt_spread = float(rng.choice((0.6, 3.0, 8.0), p=(0.6, 0.3, 0.1)))
        self.yaw = float(rng.normal(0, 6))

    def head(self, x: float, y: float, z: float, *, yaw: float = 0.0) -> SignalHead:
        """Add a head with its centre at (x, y)."""
        rng = self.rng
        state = self.state if rng.random() < 0.86 else sample_state(rng, self.lighting)
        style = (
            self.style
            if rng.random() < 0.85
            else replace(sample_head_style(rng, self.lighting), horizontal=self.style.horizontal)
        )
        head = SignalHead(
            x=x,
            y=y,
            z=z,
            size=self.size * rng.uniform(0.92, 1.08),
            style=style,
            lamps=sample_lamps(rng, state),
            class_id=state,
            yaw=float(np.clip(self.yaw + yaw + rng.normal(0, 4), -62, 62)),
            tilt=float(rng.normal(0, self.tilt_spread)),
        )
        self.objects.append(head)
        return head

    def other(self, x: float, y: float, z: float) -> None:
        """Add a head that must not be labelled: turned away, or for pedestrians."""
        rng = self.rng
        kind = str(rng.choice(("side", "back", "man"), p=(0.4, 0.3, 0.3)))
        state = sample_state(rng, self.lighting)
        self.objects.append(
            SignalHead(
                x=x,
                y=y,
                z=z,
                size=self.size * (0.85 if kind == "man" else 1.0),
                style=replace(self.style, horizontal=False) if kind == "man" else self.style,
                lamps=pedestrian_lamps(rng) if kind == "man" else sample_lamps(rng, state),
                class_id=None,
                facing="front" if kind == "man" else kind,
                yaw=rng.choice((-1, 1)) * rng.uniform(5, 30),
                tilt=float(rng.normal(0, self.tilt_spread)),
            )
        )

    def beam(self, points: Sequence[Sequence[float]], thick: float) -> None:
        """Add a post or an arm behind the heads."""
        self.objects.append(Beam(points=np.array(points, np.float64), thick=thick, colour=self.colour))

    def mast(self, side: int, half: float, z: float) -> None:
        """Add a post at the kerb with an arm over the road, with heads."""
        rng = self.rng
        x, top = side * (half + rng.uniform(0.5, 2)), rng.uniform(4.8, 6.6)
        tip = side * rng.uniform(-0.35, 0.6) * half
        rise = rng.uniform(-0.2, 0.8)
        self.beam([[x, 0, z + 0.12], [x, top + 0.3, z + 0.12]], rng.uniform(0.14, 0.28))
        self.beam(
            [[x, top - rise, z + 0.1], [(x + tip) / 2, top, z + 0.1], [tip, top, z + 0.1]],
            rng.uniform(0.08, 0.18),
        )
        places = np.linspace(0.02, rng.uniform(0.3, 0.7), int(rng.integers(1, 4)))
        drop = float(rng.choice((0.0, 0.75)))
        for share in places:
            at = tip + (x - tip) * float(share)
            self.head(at, top - drop * self.size * 2, z)
        if rng.random() < 0.5:
            at = tip + (x - tip) * rng.uniform(0.75, 0.95)
            self.objects.append(sign(rng, at, top, z + 0.02))
        if rng.random() < 0.6:
            self.head(x - side * 0.35, rng.uniform(2.6, 3.6), z)
        if rng.random() < 0.4:
            self.other(x + side * 0.35, rng.uniform(2.2, 3.4), z)
        if rng.random() < 0.3:
            self.other(x, rng.uniform(2.0, 2.6), z - 0.05)

    def post(self, side: int, half: float, z: float) -> None:
        """Add a short post beside the road, with heads."""
        rng = self.rng
        x, top = side * (half + rng.uniform(0.4, 2.5)), rng.uniform(2.6, 4.2)
        foot = post(
            x, z + 0.1, top, thick=rng.uniform(0.1, 0.2), colour=self.colour, lean=rng.normal(0, 0.01)
        )
        self.objects.append(foot)
        self.head(x, top - self.size, z)
        if rng.random() < 0.25:
            self.head(x + side * self.size * 1.3, top - self.size, z, yaw=side * rng.uniform(15, 50))
        if rng.random() < 0.35:
            self.other(x - side * 0.38, rng.uniform(2.0, 2.8), z)
        if rng.random() < 0.3:
            self.objects.append(sign(rng, x, top + 0.5, z))

    def gantry(self, half: float, z: float) -> None:
        """Add a beam across the whole road, with heads and signs."""
        rng = self.rng
        top = rng.uniform(5.2, 7)
        for side in (-1, 1):
            self.beam([[side * (half + 1), 0, z + 0.12], [side * (half + 1), top + 0.3, z + 0.12]], 0.3)
        self.beam([[-half - 1, top, z + 0.1], [half + 1, top, z + 0.1]], rng.uniform(0.15, 0.35))
        for x in np.linspace(-half * 0.7, half * 0.7, int(rng.integers(2, 5))):
            if rng.random() < 0.8:
                self.head(float(x), top - rng.choice((0.0, 0.9)), z)
            else:
                self.objects.append(sign(rng, float(x), top, z))

    def wire(self, half: float, z: float) -> None:
        """Add heads that hang from a wire."""
        rng = self.rng
        top = rng.uniform(5.4, 7.5)
        a, b = (-half - 2, top + 0.8, z + 0.1), (half + 2, top + 0.8, z + 0.1)
        self.objects.append(wire(a, b, 0.5, 0.03))
        for x in np.linspace(-half * 0.5, half * 0.5, int(rng.integers(1, 4))):
            self.objects.append(
                wire((float(x), top + 0.45, z + 0.05), (float(x), top - 0.2, z + 0.05), 0, 0.05)
            )
            self.head(float(x), top - self.size, z)


def junction_signals(
    rng: np.random.Generator,
    lighting: Lighting,
    style: HeadStyle,
    *,
    size: float,
    state: int,
    half: float,
    z: float,
) -> list[SceneObject]:
    """Sample the signals of an approach, at depth ``z`` of a road that is ``half`` wide to each side."""
    group = SignalGroup(rng, lighting, style, size, state)
    mount = str(rng.choice(MOUNTS, p=(0.45, 0.33, 0.12, 0.1)))
    side = int(rng.choice((-1, 1)))
    if mount == "mast":
        group.mast(side, half, z)
        if rng.random() < 0.5:
            group.post(-side, half, z + rng.uniform(-3, 3))
    elif mount == "post":
        group.post(side, half, z)
        if rng.random() < 0.6:
            group.post(-side, half, z + rng.uniform(-2, 2))
    elif mount == "gantry":
        group.gantry(half, z)
    else:
        group.wire(half, z)
    return group.objects


def turned_away(rng: np.random.Generator, lighting: Lighting, half: float, z: float) -> list[SceneObject]:
    """Sample signals of the other directions: visible from the side or from behind."""
    group = SignalGroup(
        rng, lighting, sample_head_style(rng, lighting), rng.uniform(0.3, 0.42), sample_state(rng, lighting)
    )
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.choice((-1, 1)))
        x, at = side * (half + rng.uniform(0.3, 5)), z + rng.uniform(-4, 10)
        top = rng.uniform(2.8, 4)
        group.objects.append(post(x, at + 0.1, top, thick=0.13, colour=group.colour))
        group.other(x, top - 0.4, at)
    return group.objects
