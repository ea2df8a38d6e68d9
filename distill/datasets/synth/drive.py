"""A drive along a street with several junctions: traffic, signal states, and the camera's position."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.layout import SceneLayout
from distill.datasets.synth.lighting import Lighting, sample_lighting
from distill.datasets.synth.lights.head_paint import SignalHead
from distill.datasets.synth.lights.heads import GREEN, RED, YELLOW, Lamp, sample_head_style
from distill.datasets.synth.lights.signals import junction_signals
from distill.datasets.synth.objects.buildings import skyline
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.scene_object import SceneObject, Shifted
from distill.datasets.synth.objects.sky import Sky
from distill.datasets.synth.objects.trees import treeline
from distill.datasets.synth.objects.vehicles import Vehicle
from distill.datasets.synth.streets import street_block

PROGRAMME_S = ((RED, 3.2), (GREEN, 3.6), (YELLOW, 1.2))
CYCLE_S = sum(length for _, length in PROGRAMME_S)
FIRST_START_S, NEXT_START_S = 1.7, 4.6  # phase of a signal when the drive begins
FIRST_M, BLOCK_M, JUNCTION_M = 32.0, 46.0, 12.0
TOP_SPEED, DECELERATION, ACCELERATION = 11.0, 4.5, 2.2  # m/s, m/s^2
SIGHT_M = 230.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """A junction and its signals.

    Attributes:
        stop: Position of the stop line, m.
        start_s: Phase of its signals at time 0, s.
        objects: Posts, arms and signal heads.
    """

    stop: float
    start_s: float
    objects: tuple[SceneObject, ...]

    def state(self, time_s: float) -> int:
        """The state of its heads: an index into ``heads.CLASSES``."""
        at = (time_s + self.start_s) % CYCLE_S
        for state, length in PROGRAMME_S:
            if at < length:
                return state
            at -= length
        return RED

    def objects_at(self, time_s: float) -> list[SceneObject]:
        """Its objects with the lamps of that time."""
        state = self.state(time_s)
        return [_with_state(t, state) if isinstance(t, SignalHead) else t for t in self.objects]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingVehicle:
    """A vehicle that keeps its speed.

    Attributes:
        vehicle: As it is at time 0.
        speed: m/s; negative towards the camera.
    """

    vehicle: Vehicle
    speed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A sampled drive.

    Attributes:
        lighting: Time of day and weather.
        camera: The camera at the start.
        sky: The background.
        road: The ground.
        static: Objects that do not move.
        horizon: Objects so far away that they move with the camera.
        approaches: The junctions.
        vehicles: Other traffic.
    """

    lighting: Lighting
    camera: Camera
    sky: Sky
    road: Road
    static: tuple[SceneObject, ...]
    horizon: tuple[SceneObject, ...]
    approaches: tuple[Approach, ...]
    vehicles: tuple[MovingVehicle, ...]

    @classmethod
    def sample(cls, rng: np.random.Generator, size_wh: tuple[int, int], seconds: float) -> Drive:
        """Sample a street long enough for ``seconds`` of driving, by day or at dusk, without rain."""
        lighting = sample_lighting(rng)
        while lighting.time == "night" or lighting.weather in {"rain", "fog"}:
            lighting = sample_lighting(rng)
        blocks = int(np.ceil((TOP_SPEED * seconds + SIGHT_M) / (BLOCK_M + JUNCTION_M)))
        starts = [FIRST_M + k * (BLOCK_M + JUNCTION_M) for k in range(blocks)]
        junctions = tuple((z, z + JUNCTION_M) for z in starts)
        road = Road.sample(rng, junctions, starts[-1])
        half = road.half_width
        static: list[SceneObject] = []
        for k, z in enumerate(starts):
            length = FIRST_M if k == 0 else BLOCK_M
            static += [Shifted(item, z - length) for item in street_block(rng, lighting, half, length - 2)]
        far = treeline(rng, SIGHT_M + 20, 700, rng.uniform(8, 15), -350)
        horizon: list[SceneObject] = [*far, skyline(rng, 600, -500, 1000)]
        return cls(
            lighting=lighting,
            camera=_camera(rng, size_wh, half),
            sky=Sky.sample(rng, lighting),
            road=road,
            static=tuple(static),
            horizon=tuple(horizon),
            approaches=_approaches(rng, lighting, half, starts),
            vehicles=_vehicles(rng, lighting, half, seconds),
        )

    def positions(self, frames: int, fps: float) -> list[float]:
        """Position of the camera at each frame, m. It obeys the signals and brakes ahead of a red one."""
        z, speed, places = 0.0, TOP_SPEED * 0.75, []
        for frame in range(frames):
            places.append(z)
            free = _free_distance(self.approaches, z, frame / fps)
            allowed = min(TOP_SPEED, float(np.sqrt(2 * DECELERATION * 0.6 * max(free, 0.0))))
            change = float(np.clip(allowed - speed, -DECELERATION / fps, ACCELERATION / fps))
            speed = max(0.0, speed + change)
            z += speed / fps
        return places

    def at(self, z: float, time_s: float) -> SceneLayout:
        """The scene at one moment, with the camera ``z`` m along the road."""
        x, y, _ = self.camera.eye
        sway = 0.0015 * self.camera.size_wh[1] * np.sin(5.1 * time_s + 0.1 * z)
        camera = replace(self.camera, eye=(x, y, z), horizon=self.camera.horizon + float(sway))
        objects: list[SceneObject] = [Shifted(t, z) for t in self.horizon]
        objects += [t for t in self.static if t.z - z < SIGHT_M]
        for approach in self.approaches:
            if approach.stop - z < SIGHT_M:
                objects += approach.objects_at(time_s)
        for moving in self.vehicles:
            here = Shifted(moving.vehicle, moving.speed * time_s)
            if 3 < here.z - z < SIGHT_M:
                objects.append(here)
        return SceneLayout(
            lighting=self.lighting, camera=camera, sky=self.sky, road=self.road, objects=tuple(objects)
        )


def _free_distance(approaches: tuple[Approach, ...], z: float, time_s: float) -> float:
    """Distance to the next stop line at which the camera must stop, m."""
    for approach in approaches:
        ahead = approach.stop - z
        if ahead < 0:
            continue
        state = approach.state(time_s)
        late = state == YELLOW and ahead < 12  # too close to stop
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
    rng: np.random.Generator, lighting: Lighting, half: float, starts: list[float]
) -> tuple[Approach, ...]:
    style = replace(sample_head_style(rng, lighting), horizontal=False, power=1.1)
    size = rng.uniform(0.36, 0.42)
    approaches = []
    for k, start in enumerate(starts):
        z = start + JUNCTION_M + 1.5
        objects = [
            replace(item, number=100 * k + n) if isinstance(item, SignalHead) else item
            for n, item in enumerate(
                junction_signals(rng, lighting, style, size=size, state=RED, half=half, z=z)
            )
        ]
        start_s = FIRST_START_S if k == 0 else NEXT_START_S + 3.0 * (k - 1)
        approaches.append(Approach(stop=start - 6.5, start_s=start_s, objects=tuple(objects)))
    return tuple(approaches)


def _vehicles(
    rng: np.random.Generator, lighting: Lighting, half: float, seconds: float
) -> tuple[MovingVehicle, ...]:
    vehicles = []
    z = rng.uniform(25, 45)
    while z < SIGHT_M + 2 * TOP_SPEED * seconds:
        vehicles.append(
            MovingVehicle(
                vehicle=Vehicle.sample(rng, -half * 0.45, z, "front", lighting), speed=-rng.uniform(7, 10)
            )
        )
        z += rng.uniform(18, 60)
    ahead = Vehicle.sample(rng, half * 0.4, rng.uniform(22, 30), "rear", lighting)
    vehicles.append(MovingVehicle(vehicle=replace(ahead, height=min(ahead.height, 2.0)), speed=TOP_SPEED))
    return tuple(vehicles)


def _with_state(head: SignalHead, state: int) -> SignalHead:
    """The same head in another state; signals that are not for drivers are unchanged."""
    if head.class_id is None:
        return head
    symbol = head.lamps[0].symbol if head.lamps[0].symbol in {"left", "right", "up"} else "ball"
    lamps = tuple(
        Lamp(hue=hue, lit=lit == state, symbol=symbol)
        for hue, lit in (("red", RED), ("yellow", YELLOW), ("green", GREEN))
    )
    return replace(head, lamps=lamps, class_id=state)
