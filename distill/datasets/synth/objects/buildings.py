"""Buildings with windows, shops and signs, walls, and the town on the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.camera import NEAR_M, Camera
from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.textures import Pixels, textures

CELL = 14  # texture px of one bay and storey
BAY_M = 3.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Building:
    """A box with a facade along the street and one towards the camera.

    Attributes:
        x: Of the facade along the street, m; the building extends away from the road.
        depth: Extent away from the road, m.
        start: Where it begins along the street, m.
        length: Extent along the street, m.
        height: m.
        facade: Texture by daylight, BGR.
        lights: What its windows and signs emit, BGR; added in the dark.
    """

    x: float
    depth: float
    start: float
    length: float
    height: float
    facade: Pixels
    lights: Pixels

    @classmethod
    def sample(cls, rng: np.random.Generator, x: float, z: float) -> Building:
        """Choose a building whose corner towards the camera and the road is at (x, z)."""
        height = float(
            rng.choice((rng.uniform(3.5, 9), rng.uniform(8, 25), rng.uniform(20, 70)), p=(0.45, 0.35, 0.2))
        )
        length = rng.uniform(7, 30)
        facade, lights = facade_texture(rng, round(length / BAY_M), max(1, round(height / BAY_M)))
        return cls(
            x=x, depth=rng.uniform(8, 20), start=z, length=length, height=height, facade=facade, lights=lights
        )

    @property
    def z(self) -> float:
        """Its far end, so that objects in front of the facade are drawn later."""
        return self.start + self.length

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint both facades."""
        z1 = self.z
        if camera.depth(z1) < NEAR_M + 0.5:
            return
        z0 = max(self.start, camera.eye[2] + NEAR_M + 0.4)
        out = self.x + np.sign(self.x) * self.depth
        top = self.height
        if abs(self.x - camera.eye[0]) < abs(out - camera.eye[0]):
            side = camera.project([[self.x, top, z1], [self.x, top, z0], [self.x, 0, z0], [self.x, 0, z1]])
            cut = round((z0 - self.start) / self.length * self.facade.shape[1])
            self._face(canvas, lighting, side, cut=cut, depth=camera.depth((z0 + z1) / 2), gain=0.8)
        if camera.sees(self.start):
            xs = sorted((self.x, out))
            corners = ((xs[0], top), (xs[1], top), (xs[1], 0), (xs[0], 0))
            front = camera.project([[x, y, self.start] for x, y in corners])
            self._face(canvas, lighting, front, cut=0, depth=camera.depth(self.start), gain=1.0)

    def _face(
        self,
        canvas: Canvas,
        lighting: Lighting,
        corners: NDArray[np.float64],
        *,
        cut: int,
        depth: float,
        gain: float,
    ) -> None:
        """Paint a facade whose first ``cut`` texture columns lie behind the camera."""
        texture = lighting.shade_image(self.facade[:, : max(self.facade.shape[1] - cut, 2)], depth, gain)
        if lighting.dark > 0:
            glow = self.lights[:, : texture.shape[1]]
            texture = np.asarray(cv2.scaleAdd(glow, lighting.dark, texture), np.uint8)
        paint_quad(canvas, texture, corners)


def paint_quad(canvas: Canvas, texture: Pixels, corners: NDArray[np.float64]) -> None:
    """Map a texture onto a quadrilateral ``[4, 2]`` px: left top, right top, right bottom, left bottom."""
    low = np.floor(np.clip(corners.min(0), 0, (canvas.width, canvas.height))).astype(int)
    high = np.ceil(np.clip(corners.max(0), 0, (canvas.width, canvas.height))).astype(int)
    w, h = int(high[0] - low[0]), int(high[1] - low[1])
    if w < 1 or h < 1 or np.ptp(corners[:, 0]) < 0.5 or np.ptp(corners[:, 1]) < 0.5:
        return
    th, tw = texture.shape[:2]
    # Downscale first: warping a large texture into few pixels would alias.
    shrink = min(tw / max(float(np.ptp(corners[:, 0])), 1), th / max(float(np.ptp(corners[:, 1])), 1))
    if shrink > 1.5:
        size = (max(2, round(tw / shrink)), max(2, round(th / shrink)))
        texture = np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)
        th, tw = texture.shape[:2]
    source = np.array([[0, 0], [tw, 0], [tw, th], [0, th]], np.float32)
    target = (corners - low).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    warp = cv2.warpPerspective(
        texture, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if w * h > 40 * 40:  # add the grain of plaster and brick to large surfaces
        rough = textures().grain[(tw + th) % len(textures().grain)]
        rough = rough[:h, :w] if h <= rough.shape[0] and w <= rough.shape[1] else cv2.resize(rough, (w, h))
        level = 0.1 + 0.02 * ((tw * 7 + th) % 10)
        level *= min(1.0, float(texture.mean()) / 100)
        warp = cv2.addWeighted(warp, 1.0, cv2.cvtColor(rough, cv2.COLOR_GRAY2BGR), level, -128 * level)
    mask = np.zeros((h, w), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(np.clip(target, -1e5, 1e5) * 16).astype(np.int32), 255, cv2.LINE_8, 4)
    canvas.paste(np.asarray(warp, np.uint8), mask, int(low[0]), int(low[1]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """A flat texture facing the camera: a skyline, a wall, a strip of clutter.

    Attributes:
        x: Left edge, m.
        y: Lower edge, m.
        z: Depth, m.
        width: m.
        height: m.
        texture: BGR.
        mask: 255 where it is solid, or None for everywhere.
        lights: What it emits in the dark, or None.
    """

    x: float
    y: float
    z: float
    width: float
    height: float
    texture: Pixels
    mask: Pixels | None = None
    lights: Pixels | None = None

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint it, scaled."""
        if not camera.sees(self.z):
            return
        x0, y1 = camera.at(self.x, self.y, self.z)
        sx, sy = camera.scale(self.z)
        w, h = round(self.width * sx), round(self.height * sy)
        if w < 1 or h < 1:
            return
        if self.lights is not None and lighting.dark > 0:
            texture = lighting.shade_image(self.texture, camera.depth(self.z))
            texture = np.asarray(cv2.scaleAdd(self.lights, lighting.dark, texture), np.uint8)
            paste_scaled(canvas, texture, self.mask, at=(x0, y1 - h), size=(w, h))
        else:
            table = lighting.table(camera.depth(self.z))
            paste_scaled(canvas, self.texture, self.mask, at=(x0, y1 - h), size=(w, h), table=table)


def paste_scaled(
    canvas: Canvas,
    texture: Pixels,
    mask: Pixels | None,
    *,
    at: tuple[float, float],
    size: tuple[int, int],
    table: Pixels | None = None,
) -> None:
    """Paste a texture at another size, scaling only the part that is in the image.

    Args:
        canvas: To paste onto.
        texture: BGR ``[th, tw, 3]`` or lightness ``[th, tw]``.
        mask: Where it is solid, uint8 ``[th, tw]``, or None for everywhere.
        at: Its left and top edge, px.
        size: Its width and height, px.
        table: Colour table ``[1, 256, 3]`` that is applied after scaling, or None.
    """
    (x, y), (w, h) = at, size
    x0, y0 = max(0.0, -x), max(0.0, -y)
    x1, y1 = min(float(w), canvas.width - x), min(float(h), canvas.height - y)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return
    th, tw = texture.shape[:2]
    u0, v0 = int(x0 / w * tw), int(y0 / h * th)
    u1, v1 = max(u0 + 1, int(np.ceil(x1 / w * tw))), max(v0 + 1, int(np.ceil(y1 / h * th)))
    left, top = x + u0 / tw * w, y + v0 / th * h
    part_size = (max(1, round((u1 - u0) / tw * w)), max(1, round((v1 - v0) / th * h)))
    method = cv2.INTER_AREA if part_size[0] < u1 - u0 else cv2.INTER_LINEAR
    part = cv2.resize(texture[v0:v1, u0:u1], part_size, interpolation=method)
    if part.ndim == 2:
        part = cv2.cvtColor(part, cv2.COLOR_GRAY2BGR)
    if table is not None:
        part = cv2.LUT(part, table)
    if mask is None:
        cover = np.full(part.shape[:2], 255, np.uint8)
    else:
        cover = cv2.resize(mask[v0:v1, u0:u1], part_size, interpolation=method)
        _, cover = cv2.threshold(cover, 127, 255, cv2.THRESH_BINARY)
    canvas.paste(np.asarray(part, np.uint8), np.asarray(cover, np.uint8), left, top)


def facade_texture(rng: np.random.Generator, bays: int, storeys: int) -> tuple[Pixels, Pixels]:
    """A facade of windows and shops by day, and what it emits at night.

    Returns:
        Two BGR textures of the same size, uint8 ``[storeys * CELL, bays * CELL, 3]``.
    """
    bays, storeys = max(2, min(bays, 12)), min(storeys, 22)
    h, w = storeys * CELL, bays * CELL
    level = rng.uniform(70, 225)
    colour = np.clip(level * (1 + rng.normal(0, 0.06, 3)) * (rng.uniform(0.8, 1), 0.97, 1), 20, 250)
    wall = np.full((h, w, 3), colour, np.uint8)
    lights = np.zeros((h, w, 3), np.uint8)
    grime = cv2.resize(textures().clouds[int(rng.integers(6))][:64, :64], (w, h))
    grime_bgr = cv2.cvtColor(grime, cv2.COLOR_GRAY2BGR)
    wall = np.asarray(cv2.addWeighted(wall, 1.0, grime_bgr, 0.25, -32), np.uint8)
    pane = np.clip(rng.uniform(25, 130) * np.array([1.12, 1.0, 0.92]), 0, 255)
    wide, tall = rng.uniform(0.35, 0.9), rng.uniform(0.4, 0.8)
    share = rng.uniform(0.05, 0.5)
    for i in range(storeys - 1):
        for j in range(bays):
            x0, y0 = int((j + 0.5 - wide / 2) * CELL), int((i + 0.5 - tall / 2) * CELL)
            x1, y1 = int((j + 0.5 + wide / 2) * CELL), int((i + 0.5 + tall / 2) * CELL)
            glass = np.clip(pane * rng.uniform(0.6, 1.4), 0, 255)
            cv2.rectangle(wall, (x0, y0), (x1, y1), [float(c) for c in glass], -1)
            if rng.random() < 0.3:
                cv2.rectangle(wall, (x0, y0), ((x0 + x1) // 2, y1), [float(c) for c in glass * 0.7], -1)
            if rng.random() < share:
                warm = rng.uniform(60, 230) * np.array([rng.uniform(0.4, 1.0), 0.85, 1.0])
                cv2.rectangle(lights, (x0, y0), (x1, y1), [float(c) for c in warm], -1)
    _shops(rng, wall, lights, (storeys - 1) * CELL)
    return wall, lights


def _shops(rng: np.random.Generator, wall: Pixels, lights: Pixels, top: int) -> None:
    h, w = wall.shape[:2]
    x = 0
    while x < w:
        x1 = min(w, x + int(rng.integers(10, 34)))
        dark = float(rng.uniform(20, 110))
        cv2.rectangle(wall, (x + 1, top + 5), (x1 - 1, h), (dark * 1.1, dark, dark), -1)
        if rng.random() < 0.7:
            sign = [float(c) for c in rng.uniform(0, 255, 3) * rng.choice((0.3, 1.0), 3)]
            cv2.rectangle(wall, (x, top), (x1, top + 4), sign, -1)
            cv2.rectangle(lights, (x, top), (x1, top + 4), [0.9 * c for c in sign], -1)
            for gx in range(x + 2, x1 - 2, 2):
                if rng.random() < 0.6:
                    cv2.line(wall, (gx, top + 1), (gx, top + 3), (230, 230, 230), 1)
        if rng.random() < 0.6:
            glow = float(rng.uniform(40, 200))
            cv2.rectangle(lights, (x + 2, top + 6), (x1 - 2, h - 2), (glow * 0.75, glow * 0.95, glow), -1)
        x = x1


def skyline(rng: np.random.Generator, z: float, x: float, width: float) -> Panel:
    """Far towers or roofs, as one strip."""
    texture = np.zeros((64, 256, 3), np.uint8)
    lights = np.zeros_like(texture)
    mask = np.zeros((64, 256), np.uint8)
    tall = rng.uniform(0.2, 1)
    for _ in range(int(rng.integers(8, 34))):
        w, h = int(rng.integers(6, 40)), int(rng.uniform(6, 60) * tall) + 4
        x0 = int(rng.integers(-10, 256))
        grey = float(rng.uniform(60, 190))
        cv2.rectangle(texture, (x0, 64 - h), (x0 + w, 64), (grey * 1.03, grey, grey * 0.97), -1)
        cv2.rectangle(mask, (x0, 64 - h), (x0 + w, 64), 255, -1)
        cv2.rectangle(lights, (x0, 64 - h), (x0 + w, 64), 0, -1)
        for wy in range(64 - h + 2, 62, 3):
            cv2.line(texture, (x0 + 1, wy), (x0 + w - 1, wy), (grey * 0.8, grey * 0.76, grey * 0.72), 1)
            if rng.random() < 0.5:
                lx = x0 + int(rng.integers(1, w))
                lights[wy, np.clip(lx, 0, 255)] = (90, 150, 190)
    return Panel(
        x=x,
        y=0,
        z=z,
        width=width,
        height=rng.uniform(0.1, 0.35) * z,
        texture=texture,
        mask=mask,
        lights=lights,
    )


def clutter(
    rng: np.random.Generator, x: float, z: float, *, width: float, height: float, y: float = 0.0
) -> Panel:
    """A strip of overlapping shapes: parked things, fences, market stalls, whatever stands about."""
    texture = textures().clutter[int(rng.integers(len(textures().clutter)))]
    rows = int(rng.uniform(0.15, 1.0) * texture.shape[0])
    start = int(rng.integers(0, texture.shape[0] - rows + 1))
    part = texture[start : start + rows, :: int(rng.choice((-1, 1)))]
    if rng.random() < 0.5:
        grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
        part = np.asarray(
            cv2.addWeighted(part, 0.5, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), 0.5, 0), np.uint8
        )
    return Panel(x=x, y=y, z=z, width=width, height=height, texture=np.ascontiguousarray(part))
