"""How signal heads hang at a junction: on posts, mast arms, gantries and wires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from distill.datasets.synth.canvas import Bgr
from distill.datasets.synth.lights.head_paint import Head
from distill.datasets.synth.lights.heads import (
    GREEN,
    OFF,
    RED,
    YELLOW,
    Look,
    draw_lamps,
    draw_look,
    pedestrian_lamps,
)
from distill.datasets.synth.mood import Mood
from distill.datasets.synth.objects.furniture import POST_COLOURS, Beam, post, sign, wire
from distill.datasets.synth.objects.thing import Thing

STATE_SHARES = {RED: 0.29, YELLOW: 0.23, GREEN: 0.27, OFF: 0.21}  # yellow and off are rarer in the street
MOUNTS = ("mast", "post", "gantry", "wire")


def draw_state(rng: np.random.Generator, mood: Mood) -> int:
    """A state, about as often each; a head that is off cannot be seen at night."""
    state = int(rng.choice(list(STATE_SHARES), p=list(STATE_SHARES.values())))
    return int(rng.choice((RED, YELLOW, GREEN))) if state == OFF and mood.dark > 0.7 else state


class Group:
    """The signals of one approach, being planned: one look, mostly one state."""

    def __init__(self, rng: np.random.Generator, mood: Mood, look: Look, size: float, state: int) -> None:
        self.rng, self.mood, self.look, self.size, self.state = rng, mood, look, size, state
        self.things: list[Thing] = []
        self.colour: Bgr = POST_COLOURS[int(rng.integers(len(POST_COLOURS)))]
        self.tilt_spread = float(rng.choice((0.6, 3.0, 8.0), p=(0.6, 0.3, 0.1)))
        self.yaw = float(rng.normal(0, 6))

    def head(self, x: float, y: float, z: float, *, yaw: float = 0.0) -> Head:
        """Hang a head whose middle is at (x, y)."""
        rng = self.rng
        state = self.state if rng.random() < 0.86 else draw_state(rng, self.mood)
        look = (
            self.look
            if rng.random() < 0.85
            else replace(draw_look(rng, self.mood), horizontal=self.look.horizontal)
        )
        head = Head(
            x=x,
            y=y,
            z=z,
            size=self.size * rng.uniform(0.92, 1.08),
            look=look,
            lamps=draw_lamps(rng, state),
            class_id=state,
            yaw=float(np.clip(self.yaw + yaw + rng.normal(0, 4), -62, 62)),
            tilt=float(rng.normal(0, self.tilt_spread)),
        )
        self.things.append(head)
        return head

    def other(self, x: float, y: float, z: float) -> None:
        """Hang a head that must not be labelled: turned away, or for pedestrians."""
        rng = self.rng
        kind = str(rng.choice(("side", "back", "man"), p=(0.4, 0.3, 0.3)))
        state = draw_state(rng, self.mood)
        self.things.append(
            Head(
                x=x,
                y=y,
                z=z,
                size=self.size * (0.85 if kind == "man" else 1.0),
                look=replace(self.look, horizontal=False) if kind == "man" else self.look,
                lamps=pedestrian_lamps(rng) if kind == "man" else draw_lamps(rng, state),
                class_id=None,
                facing="front" if kind == "man" else kind,
                yaw=rng.choice((-1, 1)) * rng.uniform(5, 30),
                tilt=float(rng.normal(0, self.tilt_spread)),
            )
        )

    def beam(self, points: Sequence[Sequence[float]], thick: float) -> None:
        """Add a post or an arm behind the heads."""
        self.things.append(Beam(points=np.array(points, np.float64), thick=thick, colour=self.colour))

    def mast(self, side: int, half: float, z: float) -> None:
        """A post at the kerb with an arm over the road."""
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
            self.things.append(sign(rng, at, top, z + 0.02))
        if rng.random() < 0.6:
            self.head(x - side * 0.35, rng.uniform(2.6, 3.6), z)
        if rng.random() < 0.4:
            self.other(x + side * 0.35, rng.uniform(2.2, 3.4), z)
        if rng.random() < 0.3:
            self.other(x, rng.uniform(2.0, 2.6), z - 0.05)

    def post(self, side: int, half: float, z: float) -> None:
        """A short post beside the road."""
        rng = self.rng
        x, top = side * (half + rng.uniform(0.4, 2.5)), rng.uniform(2.6, 4.2)
        foot = post(
            x, z + 0.1, top, thick=rng.uniform(0.1, 0.2), colour=self.colour, lean=rng.normal(0, 0.01)
        )
        self.things.append(foot)
        self.head(x, top - self.size, z)
        if rng.random() < 0.25:
            self.head(x + side * self.size * 1.3, top - self.size, z, yaw=side * rng.uniform(15, 50))
        if rng.random() < 0.35:
            self.other(x - side * 0.38, rng.uniform(2.0, 2.8), z)
        if rng.random() < 0.3:
            self.things.append(sign(rng, x, top + 0.5, z))

    def gantry(self, half: float, z: float) -> None:
        """A beam across the whole road."""
        rng = self.rng
        top = rng.uniform(5.2, 7)
        for side in (-1, 1):
            self.beam([[side * (half + 1), 0, z + 0.12], [side * (half + 1), top + 0.3, z + 0.12]], 0.3)
        self.beam([[-half - 1, top, z + 0.1], [half + 1, top, z + 0.1]], rng.uniform(0.15, 0.35))
        for x in np.linspace(-half * 0.7, half * 0.7, int(rng.integers(2, 5))):
            if rng.random() < 0.8:
                self.head(float(x), top - rng.choice((0.0, 0.9)), z)
            else:
                self.things.append(sign(rng, float(x), top, z))

    def wire(self, half: float, z: float) -> None:
        """Heads that hang from a wire and swing."""
        rng = self.rng
        top = rng.uniform(5.4, 7.5)
        a, b = (-half - 2, top + 0.8, z + 0.1), (half + 2, top + 0.8, z + 0.1)
        self.things.append(wire(a, b, 0.5, 0.03))
        for x in np.linspace(-half * 0.5, half * 0.5, int(rng.integers(1, 4))):
            self.things.append(
                wire((float(x), top + 0.45, z + 0.05), (float(x), top - 0.2, z + 0.05), 0, 0.05)
            )
            self.head(float(x), top - self.size, z)


def junction_signals(
    rng: np.random.Generator, mood: Mood, look: Look, *, size: float, state: int, half: float, z: float
) -> list[Thing]:
    """The signals that govern an approach, at depth ``z`` of a road that is ``half`` wide to each side."""
    group = Group(rng, mood, look, size, state)
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
    return group.things


def turned_away(rng: np.random.Generator, mood: Mood, half: float, z: float) -> list[Thing]:
    """Signals of the other directions: seen from the side or from behind."""
    group = Group(rng, mood, draw_look(rng, mood), rng.uniform(0.3, 0.42), draw_state(rng, mood))
    for _ in range(int(rng.integers(1, 4))):
        side = int(rng.choice((-1, 1)))
        x, at = side * (half + rng.uniform(0.3, 5)), z + rng.uniform(-4, 10)
        top = rng.uniform(2.8, 4)
        group.things.append(post(x, at + 0.1, top, thick=0.13, colour=group.colour))
        group.other(x, top - 0.4, at)
    return group.things
