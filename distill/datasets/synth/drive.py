"""A drive down a street with several junctions: what moves, what the signals show, where the camera is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distill.datasets.synth.lights.head_paint import Head
from distill.datasets.synth.lights.heads import GREEN, RED, YELLOW, Lamp, draw_look
from distill.datasets.synth.lights.signals import junction_signals
from distill.datasets.synth.mood import Mood, draw_mood
from distill.datasets.synth.objects.buildings import skyline
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.sky import Sky
from distill.datasets.synth.objects.thing import Shifted, Thing
from distill.datasets.synth.objects.trees import treeline
from distill.datasets.synth.objects.vehicles import Vehicle
from distill.datasets.synth.plan import Plan
from distill.datasets.synth.streets import block
from distill.datasets.synth.view import Camera

PROGRAMME_S = ((RED, 3.2), (GREEN, 3.6), (YELLOW, 1.2))
CYCLE_S = sum(length for _, length in PROGRAMME_S)
FIRST_START_S, NEXT_START_S = 1.7, 4.6  # where in its cycle a signal is when the drive begins
FIRST_M, BLOCK_M, JUNCTION_M = 32.0, 46.0, 12.0
TOP_SPEED, BRAKE, PUSH = 11.0, 4.5, 2.2  # m/s, m/s^2
SIGHT_M = 230.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A junction and its signals.

    Attributes:
        stop: Where a car must stand, m.
        start_s: Where in the cycle its signals are at time 0.
        things: Posts, arms and heads.
    """

    stop: float
    start_s: float
    things: tuple[Thing, ...]

    def state(self, time_s: float) -> int:
        """What its heads show."""
        at = (time_s + self.start_s) % CYCLE_S
        for state, length in PROGRAMME_S:
            if at < length:
                return state
            at -= length
        return RED

    def shown(self, time_s: float) -> list[Thing]:
        """Its things with the lamps of that time."""
        state = self.state(time_s)
        return [_showing(t, state) if isinstance(t, Head) else t for t in self.things]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A vehicle that keeps its speed.

    Attributes:
        vehicle: As it is at time 0.
        speed: m/s; negative towards the camera.
    """

    vehicle: Vehicle
    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A planned drive.

    Attributes:
        mood: The light.
        view: The camera at the start.
        sky: Behind everything.
        road: The ground.
        static: What does not move.
        horizon: What is so far away that it moves with the camera.
        approaches: The junctions.
        movers: Other traffic.
    """

    mood: Mood
    view: Camera
    sky: Sky
    road: Road
    static: tuple[Thing, ...]
    horizon: tuple[Thing, ...]
    approaches: tuple[Approach, ...]
    movers: tuple[Mover, ...]

    @classmethod
    def plan(cls, rng: np.random.Generator, size_wh: tuple[int, int], seconds: float) -> Drive:
        """Choose a street long enough for ``seconds`` of driving, by day or at dusk, without rain."""
        mood = draw_mood(rng)
        while mood.time == "night" or mood.weather in {"rain", "fog"}:
            mood = draw_mood(rng)
        blocks = int(np.ceil((TOP_SPEED * seconds + SIGHT_M) / (BLOCK_M + JUNCTION_M)))
        starts = [FIRST_M + k * (BLOCK_M + JUNCTION_M) for k in range(blocks)]
        junctions = tuple((z, z + JUNCTION_M) for z in starts)
        road = Road.plan(rng, junctions, starts[-1])
        half = road.half_width
        static: list[Thing] = []
        for k, z in enumerate(starts):
            length = FIRST_M if k == 0 else BLOCK_M
            static += [Shifted(thing, z - length) for thing in block(rng, mood, half, length - 2)]
        far = treeline(rng, SIGHT_M + 20, 700, rng.uniform(8, 15), -350)
        horizon: list[Thing] = [*far, skyline(rng, 600, -500, 1000)]
        return cls(
            mood=mood,
            view=_camera(rng, size_wh, half),
            sky=Sky.plan(rng, mood),
            road=road,
            static=tuple(static),
            horizon=tuple(horizon),
            approaches=_approaches(rng, mood, half, starts),
            movers=_movers(rng, mood, half, seconds),
        )

    def positions(self, frames: int, fps: float) -> list[float]:
        """Where the camera is at each frame, m: it obeys the signals, and does not go fast to a red one."""
        z, speed, places = 0.0, TOP_SPEED * 0.75, []
        for frame in range(frames):
            places.append(z)
            room = _room(self.approaches, z, frame / fps)
            allowed = min(TOP_SPEED, float(np.sqrt(2 * BRAKE * 0.6 * max(room, 0.0))))
            change = float(np.clip(allowed - speed, -BRAKE / fps, PUSH / fps))
            speed = max(0.0, speed + change)
            z += speed / fps
        return places

    def at(self, z: float, time_s: float) -> Plan:
        """The street at one moment, with the camera ``z`` m down the road."""
        x, y, _ = self.view.eye
        sway = 0.0015 * self.view.size_wh[1] * np.sin(5.1 * time_s + 0.1 * z)
        view = replace(self.view, eye=(x, y, z), horizon=self.view.horizon + float(sway))
        things: list[Thing] = [Shifted(t, z) for t in self.horizon]
        things += [t for t in self.static if t.z - z < SIGHT_M]
        for approach in self.approaches:
            if approach.stop - z < SIGHT_M:
                things += approach.shown(time_s)
        for mover in self.movers:
            here = Shifted(mover.vehicle, mover.speed * time_s)
            if 3 < here.z - z < SIGHT_M:
                things.append(here)
        return Plan(mood=self.mood, view=view, sky=self.sky, road=self.road, things=tuple(things))


def _room(approaches: tuple[Approach, ...], z: float, time_s: float) -> float:
    """How far the camera may go before it must stand, m."""
    for approach in approaches:
        ahead = approach.stop - z
        if ahead < 0:
            continue
        state = approach.state(time_s)
        late = state == YELLOW and ahead < 12  # too near to stop
        if state != GREEN and not late:
            return ahead
    return 1e3


def _camera(rng: np.random.Generator, size_wh: tuple[int, int], half: float) -> Camera:
    w, h = size_wh
    focal = w * rng.uniform(0.85, 1.05)
    return Camera(
        size_wh=size_wh,
        focal_xy=(focal, focal),
        centre_x=w * rng.uniform(0.44, 0.54),
        horizon=h * rng.uniform(0.56, 0.64),
        eye=(half * 0.4, 1.4, 0.0),
    )


def _approaches(
    rng: np.random.Generator, mood: Mood, half: float, starts: list[float]
) -> tuple[Approach, ...]:
    look = replace(draw_look(rng, mood), horizontal=False, power=1.1)
    size = rng.uniform(0.36, 0.42)
    approaches = []
    for k, start in enumerate(starts):
        z = start + JUNCTION_M + 1.5
        things = junction_signals(rng, mood, look, size=size, state=RED, half=half, z=z)
        start_s = FIRST_START_S if k == 0 else NEXT_START_S + 3.0 * (k - 1)
        approaches.append(Approach(stop=start - 6.5, start_s=start_s, things=tuple(things)))
    return tuple(approaches)


def _movers(rng: np.random.Generator, mood: Mood, half: float, seconds: float) -> tuple[Mover, ...]:
    movers = []
    z = rng.uniform(25, 45)
    while z < SIGHT_M + 2 * TOP_SPEED * seconds:
        movers.append(
            Mover(vehicle=Vehicle.plan(rng, -half * 0.45, z, "front", mood), speed=-rng.uniform(7, 10))
        )
        z += rng.uniform(18, 60)
    ahead = Vehicle.plan(rng, half * 0.4, rng.uniform(22, 30), "rear", mood)
    movers.append(Mover(vehicle=replace(ahead, height=min(ahead.height, 2.0)), speed=TOP_SPEED))
    return tuple(movers)


def _showing(head: Head, state: int) -> Head:
    """The same head with other lamps lit; what is no signal for drivers stays as it is."""
    if head.class_id is None:
        return head
    symbol = head.lamps[0].symbol if head.lamps[0].symbol in {"left", "right", "up"} else "ball"
    lamps = tuple(
        Lamp(hue=hue, lit=lit == state, symbol=symbol)
        for hue, lit in (("red", RED), ("yellow", YELLOW), ("green", GREEN))
    )
    return replace(head, lamps=lamps, class_id=state)
