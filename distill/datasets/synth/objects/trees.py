"""Trees, hedges, and branches that hang into the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Bgr, Canvas
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.objects.buildings import paste_scaled
from distill.datasets.synth.textures import Foliage, ramp, textures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clump:
    """One stamp of leaves relative to its tree.

    Attributes:
        x: Centre, m from the trunk.
        y: Centre, m above the ground.
        width: m.
        height: m.
        leaves: Their shape.
        flip: Whether it is mirrored.
        dark: BGR of leaves in shadow.
        light: BGR of leaves in light.
    """

    x: float
    y: float
    width: float
    height: float
    leaves: Foliage
    flip: bool
    dark: Bgr
    light: Bgr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """A trunk, branches and clumps of leaves.

    Attributes:
        x: Of the trunk, m.
        z: Depth, m.
        trunk: Height of the trunk, m; 0 for a bush.
        thick: Of the trunk, m.
        bark: BGR.
        twigs: Bare branches as polylines x, y relative to the foot, m; float ``[n, 2]`` each.
        clumps: Leaves, back to front.
    """

    x: float
    z: float
    trunk: float
    thick: float
    bark: Bgr
    twigs: tuple[NDArray[np.float64], ...]
    clumps: tuple[Clump, ...]

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint trunk, branches, leaves."""
        if camera.depth(self.z) < 2.0:
            return
        sx, sy = camera.scale(self.z)
        fx, fy = camera.at(self.x, 0, self.z)
        bark = lighting.shade(self.bark, camera.depth(self.z))
        if self.trunk > 0:
            w, h = self.thick * sx / 2, self.trunk * sy
            shape = [[fx - w, fy], [fx - 0.7 * w, fy - h], [fx + 0.7 * w, fy - h], [fx + w, fy]]
            canvas.polygon(np.array(shape), bark)
        for twig in self.twigs:
            canvas.line(twig * (sx, -sy) + (fx, fy), bark, 0.35 * self.thick * sx)
        for clump in self.clumps:
            w, h = round(clump.width * sx), round(clump.height * sy)
            if w < 2 or h < 2:
                continue
            depth = camera.depth(self.z)
            value, mask = clump.leaves.at_size(max(w, h))
            if clump.flip:
                value, mask = np.ascontiguousarray(value[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
            table = ramp(lighting.shade(clump.dark, depth), lighting.shade(clump.light, depth))
            x, y = fx + clump.x * sx - w / 2, fy - clump.y * sy - h / 2
            paste_scaled(canvas, value, mask, at=(x, y), size=(w, h), table=table)


def leaf_colours(rng: np.random.Generator) -> tuple[Bgr, Bgr]:
    """The darkest and the lightest green (or autumn brown) of a tree, BGR."""
    if rng.random() < 0.12:
        hue = rng.uniform(0.5, 1.0)
        return (8, 22, 30), (60, 130 * hue + 40, 190)
    light = rng.uniform(90, 215)
    yellow = rng.uniform(0.45, 0.95)
    return (12, rng.uniform(15, 35), rng.uniform(8, 22)), (
        light * rng.uniform(0.15, 0.6),
        light,
        light * yellow,
    )


def tree(rng: np.random.Generator, x: float, z: float) -> Tree:
    """A tree of 4 to 16 m."""
    height = rng.uniform(4, 16)
    crown = height * rng.uniform(0.45, 1.0)
    trunk = height * rng.uniform(0.25, 0.5)
    bare = rng.random() < 0.13
    brown = rng.uniform(35, 110)
    colours = leaf_colours(rng)
    clumps = [] if bare else _crown(rng, trunk, height, crown, colours)
    return Tree(
        x=x,
        z=z,
        trunk=trunk + height * 0.15,
        thick=rng.uniform(0.2, 0.6),
        bark=(0.78 * brown, 0.9 * brown, brown),
        twigs=_twigs(rng, trunk, height, crown, 22 if bare else 4),
        clumps=tuple(clumps),
    )


def bush(rng: np.random.Generator, x: float, z: float) -> Tree:
    """A bush or a piece of hedge."""
    colours = leaf_colours(rng)
    height = rng.uniform(0.8, 2.6)
    clumps = [
        _clump(
            rng, (k * height * 0.8 + rng.normal(0, 0.2), height / 2), (height * 1.7, height * 1.4), colours
        )
        for k in range(int(rng.integers(1, 5)))
    ]
    return Tree(x=x, z=z, trunk=0, thick=0.1, bark=(40, 50, 60), twigs=(), clumps=tuple(clumps))


def overhang(rng: np.random.Generator, x: float, y: float, z: float, reach: float) -> Tree:
    """Leaves and twigs near the camera, around (x, y): a branch that hangs into the image."""
    colours = leaf_colours(rng)
    clumps = [
        _clump(
            rng,
            (rng.normal(0, reach * 0.6), y + rng.normal(0, reach * 0.35)),
            (reach * rng.uniform(0.8, 1.6), reach * rng.uniform(0.7, 1.3)),
            colours,
        )
        for _ in range(int(rng.integers(2, 6)))
    ]
    twigs = tuple(
        np.array([0, y]) + np.cumsum(rng.normal(0, reach * 0.25, (6, 2)), 0)
        for _ in range(int(rng.integers(1, 4)))
    )
    return Tree(x=x, z=z, trunk=0, thick=reach * 0.06, bark=(35, 45, 55), twigs=twigs, clumps=tuple(clumps))


def _crown(
    rng: np.random.Generator, trunk: float, height: float, crown: float, colours: tuple[Bgr, Bgr]
) -> list[Clump]:
    middle = (trunk + height) / 2
    tall = height - trunk
    pointed = rng.random() < 0.15
    clumps = []
    for _ in range(int(rng.integers(2, 6))):
        up = rng.uniform(-0.35, 0.45)
        narrow = (0.75 - up) if pointed else 1.0
        clumps.append(
            _clump(
                rng,
                (rng.normal(0, 0.2) * crown * narrow, middle + up * tall),
                (crown * rng.uniform(0.7, 1.15) * narrow, tall * rng.uniform(0.6, 1.0)),
                colours,
            )
        )
    # The low ones last: they hide the trunk.
    return sorted(clumps, key=lambda c: -c.y)


def _clump(
    rng: np.random.Generator, at: tuple[float, float], size: tuple[float, float], colours: tuple[Bgr, Bgr]
) -> Clump:
    """A clump of leaves whose middle is at ``at``, m from the foot of its tree."""
    leaves = textures().foliage[int(rng.integers(len(textures().foliage)))]
    return Clump(
        x=at[0],
        y=at[1],
        width=size[0] * 1.35,  # the stamp's border is empty
        height=size[1] * 1.35,
        leaves=leaves,
        flip=bool(rng.random() < 0.5),
        dark=colours[0],
        light=colours[1],
    )


def _twigs(
    rng: np.random.Generator, trunk: float, height: float, crown: float, count: int
) -> tuple[NDArray[np.float64], ...]:
    twigs = []
    for _ in range(count):
        foot = np.array([0.0, trunk + rng.uniform(-0.1, 0.3) * (height - trunk)])
        tip = np.array([rng.normal(0, 0.35) * crown, rng.uniform(trunk, height)])
        steps = np.linspace(0, 1, 6)[:, None]
        bend = rng.normal(0, 0.05 * crown, (6, 2)) * steps
        twigs.append(foot + (tip - foot) * steps + bend)
    return tuple(twigs)


def treeline(rng: np.random.Generator, z: float, width: float, height: float, x: float) -> list[Tree]:
    """A row of crowns in the distance: a dark background of signals."""
    colours = leaf_colours(rng)
    trees = []
    step = height * rng.uniform(0.5, 0.9)
    for k in np.arange(0, width, step):
        tall = height * rng.uniform(0.6, 1.1)
        clump = _clump(rng, (0, tall / 2), (step * 1.9, tall * 1.1), colours)
        trees.append(
            Tree(
                x=x + float(k),
                z=z + rng.uniform(0, 3),
                trunk=0,
                thick=0.3,
                bark=colours[0],
                twigs=(),
                clumps=(clump,),
            )
        )
    return trees


def leaf_wall(rng: np.random.Generator, x: float, y: float, z: float, wide: float) -> Tree:
    """Foliage that fills a large part of the image behind a signal, around (x, y)."""
    colours = leaf_colours(rng)
    size = wide * rng.uniform(0.25, 0.5)
    clumps = tuple(
        _clump(
            rng,
            (rng.normal(0, 0.28) * wide, y + rng.normal(0, 0.16) * wide),
            (size, size * 0.9),
            colours,
        )
        for _ in range(int(rng.integers(5, 12)))
    )
    return Tree(x=x, z=z, trunk=0, thick=0.3, bark=colours[0], twigs=(), clumps=clumps)
