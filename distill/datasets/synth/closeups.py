"""A signal near the camera: photographed from the pavement against the sky, or staged in a yard or a room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Bgr
from distill.datasets.synth.layout import SceneLayout
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.lights.head_paint import SignalHead
from distill.datasets.synth.lights.heads import sample_head_style, sample_lamps
from distill.datasets.synth.lights.signals import SignalGroup, sample_state
from distill.datasets.synth.objects.buildings import Building, Panel, clutter, facade_texture
from distill.datasets.synth.objects.furniture import Beam, post, sign, wire
from distill.datasets.synth.objects.road import Road
from distill.datasets.synth.objects.scene_object import SceneObject
from distill.datasets.synth.objects.sky import Sky
from distill.datasets.synth.objects.trees import leaf_wall, overhang, tree, treeline
from distill.datasets.synth.objects.vehicles import Person, Vehicle
from distill.datasets.synth.streets import roadside_and_traffic
from distill.datasets.synth.textures import textures

CLOSE_PX = (25.0, 215.0)  # height of the head in an image 640 wide
STAGED_PX = (45.0, 225.0)


def _stretch(rng: np.random.Generator) -> float:
    """Sample the horizontal stretch of a photograph whose aspect ratio was changed."""
    return float(rng.choice((1.0, rng.uniform(0.55, 0.8), rng.uniform(1.15, 1.6)), p=(0.5, 0.25, 0.25)))


def closeup(rng: np.random.Generator, size_wh: tuple[int, int], lighting: Lighting) -> SceneLayout:
    """Sample a signal near the camera, often in front of sky, wires, leaves or a facade."""
    w, h = size_wh
    size, z = rng.uniform(0.32, 0.44), rng.uniform(9, 20)
    want = float(np.exp(rng.uniform(*np.log(CLOSE_PX)))) * w / 640
    focal = want * z / (size * 2.9)
    y = rng.uniform(2.6, 6.0)
    at_x, at_y = w * rng.uniform(0.08, 0.92), h * rng.uniform(0.12, 0.75)
    eye = (rng.uniform(-2, 2), 1.6, 0.0)
    x = rng.uniform(-4, 4)
    horizon = at_y + focal * (y - eye[1]) / z
    focal_x = focal * _stretch(rng)
    camera = Camera(
        size_wh=size_wh,
        focal_xy=(focal_x, focal),
        centre_x=at_x - focal_x * (x - eye[0]) / z,
        horizon=horizon,
        eye=eye,
    )
    road = Road.sample(rng, ((z + 4, z + 16),), 40)
    objects = roadside_and_traffic(rng, lighting, road, (z + 4, z + 16)) if rng.random() < 0.75 else []
    objects = [t for t in objects if t.z > z + 1.5 or not isinstance(t, Building | Person | Vehicle)]
    objects += _backdrop(rng, x, y, z, want / max(w, h))
    group = SignalGroup(rng, lighting, sample_head_style(rng, lighting), size, sample_state(rng, lighting))
    group.tilt_spread = float(rng.choice((1.0, 5.0, 14.0), p=(0.5, 0.3, 0.2)))
    group.yaw = float(rng.normal(0, 17))
    _hang(rng, group, x, y, z)
    objects += group.objects
    if rng.random() < 0.2:
        objects.append(
            overhang(rng, x + rng.normal(0, 1.5), y + rng.uniform(-0.3, 1.5), z - 3, rng.uniform(0.4, 1.2))
        )
    return SceneLayout(
        lighting=lighting, camera=camera, sky=Sky.sample(rng, lighting), road=road, objects=tuple(objects)
    )


def _hang(rng: np.random.Generator, group: SignalGroup, x: float, y: float, z: float) -> None:
    """Add the signal: on a post, at the end of an arm, with further heads around it."""
    side = int(rng.choice((-1, 1)))
    reach = rng.uniform(1.5, 6)
    if rng.random() < 0.5:
        foot = x + rng.choice((0.0, side * 0.35))
        group.beam(
            [[foot, 0, z + 0.15], [foot + rng.normal(0, 0.05), y + rng.uniform(0.2, 1.5), z + 0.15]],
            rng.uniform(0.1, 0.25),
        )
    else:
        rise = rng.uniform(-0.6, 0.6)
        start = [[x + side * reach, 0, z + 0.15], [x + side * reach, y + rise, z + 0.15]]
        group.beam([*start, [x - side * 0.1, y, z + 0.15]], rng.uniform(0.06, 0.16))
    group.head(x, y, z)
    gap = group.size * rng.uniform(1.25, 2.5)
    if rng.random() < 0.3:
        group.head(
            x + side * gap, y + rng.normal(0, 0.15), z + 0.03, yaw=side * rng.choice((0.0, 30.0, 55.0))
        )
    if rng.random() < 0.3:
        group.other(x - side * gap, y + rng.normal(0, 0.3), z + 0.05)
    if rng.random() < 0.35:
        group.objects.append(sign(rng, x - side * rng.uniform(0.7, 1.6), y + rng.normal(0, 0.5), z + 0.05))
    if rng.random() < 0.25:
        group.head(x + rng.uniform(-5, 5), y + rng.normal(0, 0.8), z + rng.uniform(5, 25))


def _backdrop(rng: np.random.Generator, x: float, y: float, z: float, share: float) -> list[SceneObject]:
    """Sample the background of the signal; empty for sky."""
    objects: list[SceneObject] = []
    kind = str(rng.choice(("sky", "leaves", "facade", "clutter"), p=(0.45, 0.25, 0.15, 0.15)))
    wide = 1.2 / max(share, 0.02)  # m, a little more than the image shows
    if kind == "leaves":
        count = int(rng.integers(1, 5))
        objects += [tree(rng, x + rng.normal(0, 4), z + rng.uniform(2, 15)) for _ in range(count)]
        if rng.random() < 0.6:
            objects.append(
                leaf_wall(rng, x + rng.normal(0, 0.2) * wide, y + rng.normal(0, 0.1) * wide, z + 4, wide)
            )
    elif kind == "facade":
        texture, lights = facade_texture(rng, int(rng.integers(3, 10)), int(rng.integers(2, 9)))
        width = rng.uniform(0.4, 1.2) * min(wide, 40)
        start = x - width * rng.uniform(0.1, 0.9)
        objects.append(
            Panel(
                x=start,
                y=0,
                z=z + rng.uniform(3, 20),
                width=width,
                height=rng.uniform(4, 20),
                texture=texture,
                lights=lights,
            )
        )
    elif kind == "clutter":
        width = rng.uniform(0.3, 1.2) * min(wide, 30)
        objects.append(
            clutter(
                rng,
                x - width * rng.uniform(0, 1),
                z + rng.uniform(2, 12),
                width=width,
                height=rng.uniform(1, 7),
                y=rng.uniform(0, 3),
            )
        )
    for _ in range(int(rng.integers(0, 9))):
        level = y + rng.uniform(-1.5, 4)
        at = z + rng.uniform(-4, 8)
        a, b = (x - 30, level + rng.normal(0, 3), at), (x + 30, level + rng.normal(0, 3), at)
        objects.append(wire(a, b, rng.uniform(0, 2), rng.uniform(0.015, 0.05)))
    return objects


def staged(rng: np.random.Generator, size_wh: tuple[int, int], lighting: Lighting) -> SceneLayout:
    """Sample a portable signal on a stick, in a yard or a room, often held by a person."""
    if lighting.dark > 0.5:  # by lamplight
        level = rng.uniform(0.25, 0.7)
        lighting = replace(
            lighting, ambient=(level * rng.uniform(0.6, 1), level * 0.93, level), dark=rng.uniform(0.2, 0.7)
        )
    w, h = size_wh
    size, z = rng.uniform(0.24, 0.36), rng.uniform(2.6, 6)
    want = float(np.exp(rng.uniform(*np.log(STAGED_PX)))) * w / 640
    focal = want * z / (size * 2.9)
    y = rng.uniform(1.2, 2.0)
    at_x, at_y = w * rng.uniform(0.2, 0.8), h * rng.uniform(0.25, 0.6)
    focal_x = focal * _stretch(rng)
    camera = Camera(
        size_wh=size_wh,
        focal_xy=(focal_x, focal),
        centre_x=at_x,
        horizon=at_y + focal * (y - 1.5) / z,
        eye=(0.0, 1.5, 0.0),
    )
    style = replace(
        sample_head_style(rng, lighting), plate=0.0, visor=rng.uniform(0.3, 0.9), gain=rng.uniform(0.5, 1.1)
    )
    if rng.random() < 0.5:
        style = replace(style, unlit_grey=rng.uniform(90, 170), sheen=rng.uniform(0.1, 0.5))
    state = sample_state(rng, lighting)
    head = SignalHead(
        x=0,
        y=y,
        z=z,
        size=size,
        style=style,
        lamps=sample_lamps(rng, state),
        class_id=state,
        yaw=float(np.clip(rng.normal(0, 18), -55, 55)),
        tilt=float(rng.normal(0, 7)),
    )
    road = Road.sample(rng, (), 10)
    objects = _room(rng, z) if rng.random() < 0.45 else _yard(rng, lighting, z)
    objects += [post(0, z + 0.1, y, thick=rng.uniform(0.03, 0.08), colour=(200, 205, 210)), head]
    if rng.random() < 0.55:
        coat: Bgr = ((170, 80, 30), (40, 40, 150), (60, 60, 60), (150, 150, 150))[int(rng.integers(4))]
        person = replace(
            Person.sample(rng, rng.uniform(-0.5, 0.5), z + 0.3), rides=False, coat=coat, helmet=coat
        )
        objects.append(person)
    return SceneLayout(
        lighting=lighting, camera=camera, sky=Sky.sample(rng, lighting), road=road, objects=tuple(objects)
    )


def _room(rng: np.random.Generator, z: float) -> list[SceneObject]:
    """A wall, a curtain, things that stand about."""
    wall = np.empty((64, 64, 3), np.uint8)
    wall[:] = rng.uniform(40, 230, 3) * rng.choice((0.35, 1.0), 3)
    back = z + rng.uniform(0.6, 3)
    objects: list[SceneObject] = [Panel(x=-15, y=-3, z=back + 0.2, width=30, height=12, texture=wall)]
    if rng.random() < 0.6:  # a curtain: soft upright folds
        folds = 128 + 70 * np.sin(np.linspace(0, rng.uniform(25, 70), 256)) + rng.normal(0, 12, 256)
        tone = rng.uniform(0.3, 1.0, 3)
        cloth = np.clip(folds[None, :, None] * tone, 0, 255).astype(np.uint8)
        width = rng.uniform(1.2, 4)
        texture = np.repeat(cloth, 64, 0)
        objects.append(
            Panel(x=rng.uniform(-0.9, 0) * width, y=0.1, z=back, width=width, height=2.6, texture=texture)
        )
    for _ in range(int(rng.integers(1, 5))):
        width = rng.uniform(0.3, 1.5)
        objects.append(
            clutter(
                rng,
                rng.uniform(-2, 1.5),
                back - 0.2,
                width=width,
                height=rng.uniform(0.3, 1.1),
                y=float(rng.choice((0.0, 0.7))),
            )
        )
    return objects


def _yard(rng: np.random.Generator, lighting: Lighting, z: float) -> list[SceneObject]:
    """A house with doors, a parked car, trees behind."""
    back = z + rng.uniform(3, 9)
    objects: list[SceneObject] = [*treeline(rng, back + 6, 40, rng.uniform(5, 11), -20)]
    level = rng.uniform(110, 225)
    wall = np.empty((64, 256, 3), np.uint8)
    wall[:] = np.clip(level * np.array([0.9, 0.97, 1.0]) + rng.normal(0, 10, 3), 0, 255)
    grime = textures().clouds[int(rng.integers(6))][:64]
    wall = np.clip(wall.astype(np.int16) + (grime[..., None].astype(np.int16) - 128) // 5, 0, 255).astype(
        np.uint8
    )
    for _ in range(int(rng.integers(2, 6))):
        x0 = int(rng.integers(0, 235))
        colour = rng.uniform(20, 190, 3) * rng.choice((0.5, 1.0), 3)
        top = int(rng.integers(14, 30))
        wall[top : 64 if rng.random() < 0.5 else 45, x0 : x0 + int(rng.integers(8, 22))] = colour
    wall[:8] = level * 0.6
    objects.append(
        Panel(x=-13 + rng.normal(0, 3), y=0, z=back, width=26, height=rng.uniform(2.6, 4.5), texture=wall)
    )
    if rng.random() < 0.7:
        objects.append(Vehicle.sample(rng, rng.uniform(-4, 4), back - 1.5, "flank", lighting))
    if rng.random() < 0.5:
        pole = rng.uniform(-3, 3)
        objects.append(
            Beam(
                points=np.array([[pole, 0, back - 1], [pole, 6, back - 1]]), thick=0.15, colour=(90, 95, 100)
            )
        )
    return objects
