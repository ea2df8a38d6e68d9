"""Street scenes from the position of a driver."""

from __future__ import annotations

import numpy as np

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.layout import SceneLayout
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.lights.heads import sample_head_style
from distill.datasets.synth.lights.signals import junction_signals, sample_state, turned_away
from distill.datasets.synth.objects.buildings import Building, Panel, clutter, skyline
from distill.datasets.synth.objects.furniture import BareLamp, Cone, post, railing, sign, street_lamp, wire
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.scene_object import SceneObject
from distill.datasets.synth.objects.sky import Sky
from distill.datasets.synth.objects.trees import bush, overhang, tree, treeline
from distill.datasets.synth.objects.vehicles import Person, Vehicle

STREET_PX = (10.0, 66.0)  # height of the nearest heads in an image 640 wide


def sample_camera(rng: np.random.Generator, size_wh: tuple[int, int]) -> Camera:
    """Sample a camera behind a windscreen; some images are stretched afterwards."""
    w, h = size_wh
    focal = w * rng.uniform(0.62, 1.5)
    stretch = rng.uniform(0.56, 1.35) if rng.random() < 0.15 else 1.0
    return Camera(
        size_wh=size_wh,
        focal_xy=(focal * stretch, focal),
        centre_x=w * float(np.clip(rng.normal(0.5, 0.12), 0.1, 0.9)),
        horizon=h * float(np.clip(rng.normal(0.54, 0.09), 0.3, 0.85)),
        eye=(rng.uniform(-2.5, 2.5), rng.uniform(1.1, 2.2), 0.0),
    )


def street(
    rng: np.random.Generator, size_wh: tuple[int, int], lighting: Lighting, *, signals: bool
) -> SceneLayout:
    """Sample a street with a junction; with ``signals`` it has traffic lights."""
    camera = sample_camera(rng, size_wh)
    size = rng.uniform(0.3, 0.44)
    want = float(np.exp(rng.uniform(*np.log(STREET_PX)))) * size_wh[0] / 640
    z = float(np.clip(camera.focal_xy[1] * size * 2.9 / want, 7.0, 160.0))
    junction = (
        (z - rng.uniform(10, 18), z - 2.0) if rng.random() < 0.6 else (z + 2.0, z + rng.uniform(10, 18))
    )
    junction = (max(junction[0], 3.0), max(junction[1], 6.0))
    road = Road.sample(rng, (junction,), 60)
    objects = roadside_and_traffic(rng, lighting, road, junction)
    if signals:
        style = sample_head_style(rng, lighting)
        state = sample_state(rng, lighting)
        half = road.half_width
        objects += junction_signals(rng, lighting, style, size=size, state=state, half=half, z=z)
        if rng.random() < 0.22:  # the next junction down the road
            further = z + rng.uniform(30, 90)
            state = sample_state(rng, lighting)
            objects += junction_signals(rng, lighting, style, size=size, state=state, half=half, z=further)
    if rng.random() < 0.4:
        objects += turned_away(rng, lighting, road.half_width, z + rng.uniform(-3, 8))
    return SceneLayout(
        lighting=lighting, camera=camera, sky=Sky.sample(rng, lighting), road=road, objects=tuple(objects)
    )


def roadside_and_traffic(
    rng: np.random.Generator, lighting: Lighting, road: Road, junction: tuple[float, float]
) -> list[SceneObject]:
    """Sample the objects along the street and the traffic on it."""
    objects: list[SceneObject] = []
    half = road.half_width
    green, built = rng.beta(1.8, 1.0), rng.beta(1.0, 1.3)
    objects += _background(rng)
    objects += _roadside(rng, half, junction, lighting, (green, built))
    objects += _traffic(rng, half, junction, lighting)
    if rng.random() < 0.45:
        objects += _wires(rng, half)
    if rng.random() < 0.2:
        count = int(rng.integers(2, 9))
        objects += [
            Cone(x=rng.normal(0, half), z=rng.uniform(8, 50), height=0.75, board=bool(rng.random() < 0.3))
            for _ in range(count)
        ]
    if rng.random() < 0.22:
        x = float(rng.choice((-1, 1)) * rng.uniform(1.5, 3))
        objects.append(overhang(rng, x, rng.uniform(2.6, 4), rng.uniform(4, 7), rng.uniform(0.8, 1.8)))
    return objects


def street_block(
    rng: np.random.Generator, lighting: Lighting, half: float, length: float
) -> list[SceneObject]:
    """Sample the roadside of ``length`` m of street without a junction: houses, trees, street furniture."""
    objects = _roadside(rng, half, (length, length + 20), lighting, (rng.beta(1.8, 1.0), rng.beta(1.0, 1.3)))
    return [item for item in objects if 0 <= item.z < length]


def _roadside(
    rng: np.random.Generator,
    half: float,
    junction: tuple[float, float],
    lighting: Lighting,
    density: tuple[float, float],
) -> list[SceneObject]:
    objects: list[SceneObject] = []
    for side in (-1, 1):
        objects += _built_side(rng, side, half, junction, density[1])
        objects += _green_side(rng, side, half, junction, density[0])
        objects += _pavement(rng, side, half, lighting)
    return objects


def _background(rng: np.random.Generator) -> list[SceneObject]:
    """Sample distant objects at the end of the street."""
    objects: list[SceneObject] = []
    if rng.random() < 0.6:
        z = rng.uniform(300, 900)
        objects.append(skyline(rng, z, -z * rng.uniform(0.8, 1.4), z * rng.uniform(1.5, 3)))
    if rng.random() < 0.75:
        z = rng.uniform(90, 260)
        width = z * rng.uniform(1.5, 2.5)
        objects += treeline(rng, z, width, rng.uniform(6, 16), -width / 2)
    if rng.random() < 0.7:
        z = rng.uniform(60, 200)
        width = rng.uniform(30, 160)
        objects.append(
            clutter(rng, rng.uniform(-1.2, 0.2) * width, z, width=width, height=rng.uniform(1.5, 4))
        )
    return objects


def _built_side(
    rng: np.random.Generator, side: int, half: float, junction: tuple[float, float], density: float
) -> list[SceneObject]:
    objects: list[SceneObject] = []
    setback = half + rng.uniform(3, 14)
    z = rng.uniform(-10, 25)
    while z < 170:
        building = Building.sample(rng, side * (setback + rng.uniform(0, 2)), z)
        clear = building.z < junction[0] or z > junction[1]
        if clear and rng.random() < 0.25 + 0.7 * density:
            objects.append(building)
        elif rng.random() < 0.5:
            x0 = side * (setback + 4)
            width = rng.uniform(4, 15)
            left = min(x0, x0 + side * width)
            objects.append(clutter(rng, left, z + 8, width=width, height=rng.uniform(1, 3.5)))
        z += building.length + rng.uniform(0, 8)
    return objects


def _green_side(
    rng: np.random.Generator, side: int, half: float, junction: tuple[float, float], density: float
) -> list[SceneObject]:
    objects: list[SceneObject] = []
    z = rng.uniform(6, 20)
    row = half + rng.uniform(1.2, 5)
    while z < 140:
        if not junction[0] - 1 < z < junction[1] + 1 and rng.random() < density:
            x = side * (row + rng.uniform(-0.3, 3))
            objects.append(tree(rng, x, z) if rng.random() < 0.75 else bush(rng, x, z))
        z += rng.uniform(3.5, 11) * (1 + z / 120)
    return objects


def _pavement(rng: np.random.Generator, side: int, half: float, lighting: Lighting) -> list[SceneObject]:
    objects: list[SceneObject] = []
    for _ in range(int(rng.integers(0, 5))):
        z = rng.uniform(9, 70)
        x = side * (half + rng.uniform(0.3, 2.5))
        height = rng.uniform(2, 3.6)
        objects.append(post(x, z + 0.05, height, thick=0.07, colour=(130, 132, 132)))
        objects.append(sign(rng, x, height - 0.3, z))
        if rng.random() < 0.3:
            objects.append(sign(rng, x, height - 1.1, z))
    if rng.random() < 0.3:
        objects += railing(
            rng, side * (half + rng.uniform(-0.3, 0.5)), rng.uniform(5, 15), rng.uniform(20, 70)
        )
    for _ in range(int(rng.integers(0, 4))):  # bins, boxes, bicycles
        x0 = side * (half + rng.uniform(0.3, 4))
        z, width = rng.uniform(8, 45), rng.uniform(0.4, 2)
        objects.append(clutter(rng, x0, z, width=width, height=rng.uniform(0.5, 1.4)))
    if rng.random() < 0.6:
        gap = rng.uniform(18, 40)
        for z in np.arange(rng.uniform(8, 25), 120, gap):
            objects += street_lamp(rng, side, side * (half + 0.8), float(z))
    for _ in range(int(rng.integers(0, 4))):
        objects.append(Person.sample(rng, side * (half + rng.uniform(0, 3)), rng.uniform(8, 50)))
    if rng.random() < 0.3:  # shop signs and advertisements
        for _ in range(int(rng.integers(1, 4))):
            x0, width = side * (half + rng.uniform(2.5, 5)), rng.uniform(1, 4)
            board = clutter(
                rng,
                min(x0, x0 + side * width),
                rng.uniform(12, 60),
                width=width,
                height=rng.uniform(0.6, 3),
                y=rng.uniform(2, 5),
            )
            objects.append(_lit(rng, board))
    if lighting.dark > 0.3:
        count = int(rng.integers(0, 14))
        objects += [_far_light(rng, side * rng.uniform(0, 3) * half) for _ in range(count)]
    return objects


def _lit(rng: np.random.Generator, board: Panel) -> Panel:
    lights = (board.texture * rng.uniform(0.3, 1.0)).astype(np.uint8)
    return Panel(
        x=board.x,
        y=board.y,
        z=board.z,
        width=board.width,
        height=board.height,
        texture=board.texture,
        lights=lights,
    )


def _far_light(rng: np.random.Generator, x: float) -> BareLamp:
    y, z = rng.uniform(0.6, 8), rng.uniform(25, 200)
    colours = (
        (110, 190, 255),
        (240, 240, 235),
        (40, 40, 235),
        (60, 160, 255),
        (230, 120, 60),
        (90, 220, 90),
        (200, 60, 220),
    )
    colour = colours[int(rng.choice(7, p=(0.3, 0.25, 0.16, 0.1, 0.09, 0.05, 0.05)))]
    return BareLamp(x=x, y=y, z=z, size=rng.uniform(0.08, 0.35), colour=colour, by_day=(120, 120, 120))


def _traffic(
    rng: np.random.Generator, half: float, junction: tuple[float, float], lighting: Lighting
) -> list[SceneObject]:
    objects: list[SceneObject] = []
    lane = half / max(1, round(half / 3.3))
    lanes = [s * lane * (k + 0.5) for k in range(max(1, round(half / 3.3))) for s in (-1, 1)]
    for x in lanes:
        side = "rear" if x > 0 or rng.random() < 0.2 else "front"
        z = rng.uniform(6, 45)
        while z < 130:
            if rng.random() < 0.45:
                objects.append(Vehicle.sample(rng, x + rng.normal(0, 0.2), z, side, lighting))
            z += rng.uniform(7, 40)
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            z = rng.uniform(max(junction[0], 8), max(junction[1], 12))
            objects.append(Vehicle.sample(rng, rng.uniform(-4, 4) * half, z, "flank", lighting))
    for kerb, end in ((-1, "front"), (1, "rear")):
        if rng.random() < 0.4:  # parked
            places = np.arange(rng.uniform(8, 20), 60, 6.5)
            x = kerb * (half - 0.7)
            objects += [Vehicle.sample(rng, x, float(z), end, lighting) for z in places if rng.random() < 0.6]
    for _ in range(int(rng.integers(0, 3))):
        objects.append(Person.sample(rng, rng.uniform(-1, 1) * half, rng.uniform(8, 45)))
    return objects


def _wires(rng: np.random.Generator, half: float) -> list[SceneObject]:
    objects: list[SceneObject] = []
    side = int(rng.choice((-1, 1)))
    x, height, gap = side * (half + rng.uniform(1, 6)), rng.uniform(6.5, 11), rng.uniform(20, 40)
    start = rng.uniform(-15, 15)
    lines = [(rng.uniform(-0.9, 0.9), rng.uniform(-0.8, 0.0)) for _ in range(int(rng.integers(1, 6)))]
    for k in range(5):
        z0, z1 = start + k * gap, start + (k + 1) * gap
        if z0 > 3:
            objects.append(post(x, z0, height, thick=0.25, colour=(70, 80, 90)))
            objects.append(wire((x - 1, height - 0.4, z0), (x + 1, height - 0.4, z0), 0, 0.1))
        objects += [
            wire((x + dx, height + dy, z0), (x + dx, height + dy, z1), 0.5, 0.025) for dx, dy in lines
        ]
    for _ in range(int(rng.integers(0, 5))):  # across the road
        z = rng.uniform(8, 60)
        y = rng.uniform(5.5, 10)
        objects.append(
            wire((-half - 8, y, z), (half + 8, y + rng.normal(0, 1), z), rng.uniform(0.1, 0.8), 0.03)
        )
    return objects
