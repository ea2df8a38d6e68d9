"""Painting a signal head: polygons in the head's own coordinates, mapped by one matrix.

A head is painted several times larger than it appears and shrunk once, so that a lens of two pixels has the
colour that a camera would record.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from distill.datasets.synth.camera import Camera
from distill.datasets.synth.canvas import Bgr, Canvas, LabelCandidate, LightSource
from distill.datasets.synth.lighting import Lighting
from distill.datasets.synth.lights.head_shapes import (
    DEPTH,
    RING,
    SQUARE,
    Outline,
    Shape,
    common,
    hull,
    shifted,
    symbol,
)
from distill.datasets.synth.lights.heads import BURNT, LIT, OFF, UNLIT, HeadStyle, Lamp
from distill.datasets.synth.textures import Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalHead:
    """A signal head in the street.

    Attributes:
        x: Middle, m.
        y: Middle, m.
        z: Depth, m.
        size: Width of a vertical (height of a horizontal) housing, m.
        style: Shared by the heads of a junction.
        lamps: From the top or the left on.
        class_id: Its label, or None for a head that must not be labelled (pedestrian signals).
        facing: ``front``, ``side`` or ``back``; only a front is labelled.
        yaw: Turned away to the left (negative) or right, degrees.
        tilt: Leaning, degrees clockwise.
        number: Tells it apart from the other heads of a clip; -1 in a still image.
    """

    x: float
    y: float
    z: float
    size: float
    style: HeadStyle
    lamps: tuple[Lamp, ...]
    class_id: int | None
    facing: str = "front"
    yaw: float = 0.0
    tilt: float = 0.0
    number: int = -1

    @property
    def outline(self) -> Outline:
        """Its shape."""
        return Outline(style=self.style, count=len(self.lamps), yaw=self.yaw, facing=self.facing)

    def draw(self, canvas: Canvas, camera: Camera, lighting: Lighting) -> None:
        """Paint it, record it as a label candidate, and add the light of its lamps."""
        if camera.depth(self.z) < 1.2:
            return
        painter = _Painter.fit(self, camera, lighting)
        if painter is None:
            return
        if self.facing == "side":
            painter.side()
        elif self.facing == "back":
            painter.back()
        else:
            painter.front()
        painter.finish(canvas)


class _Painter:
    """One head being painted, larger than it will appear."""

    def __init__(
        self,
        head: SignalHead,
        camera: Camera,
        lighting: Lighting,
        *,
        matrix: Shape,
        middle: Shape,
        box: Shape,
    ) -> None:
        self.outline = head.outline
        self.head, self.style, self.camera, self.lighting = head, head.style, camera, lighting
        self.depth = camera.depth(head.z)
        self.box = box
        height = float(box[3] - box[1])
        self.zoom = 6 if height < 45 else 4 if height < 110 else 2 if height < 260 else 1
        self.left, self.top = int(np.floor(box[0])) - 1, int(np.floor(box[1])) - 1
        w, h = int(np.ceil(box[2])) + 1 - self.left, int(np.ceil(box[3])) + 1 - self.top
        self.size = (w, h)
        base = self.shade(self.style.housing)
        self.bgr: Pixels = np.empty((h * self.zoom, w * self.zoom, 3), np.uint8)
        self.bgr[:] = np.clip(base, 0, 255)
        self.alpha: Pixels = np.zeros((h * self.zoom, w * self.zoom), np.uint8)
        self.lamp_mask: Pixels = np.zeros_like(self.alpha)
        self.matrix = matrix * self.zoom
        self.origin = (middle - (self.left, self.top)) * self.zoom
        self.lights: list[tuple[Shape, float, Bgr]] = []

    @classmethod
    def fit(cls, head: SignalHead, camera: Camera, lighting: Lighting) -> _Painter | None:
        """Project the head; None if it is outside the image or too large."""
        sx, sy = camera.scale(head.z)
        turn = np.deg2rad(head.tilt)
        rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = np.diag([sx, sy]) @ rotate * head.size
        middle = np.array(camera.at(head.x, head.y, head.z))
        outline = np.concatenate(head.outline.all())
        px = outline @ matrix.T + middle
        low, high = px.min(0), px.max(0)
        w, h = camera.size_wh
        outside = high.min() < 1 or low[0] > w - 1 or low[1] > h - 1
        if outside or (high - low).max() > 1.6 * max(w, h):
            return None
        box = np.concatenate([low, high])
        return cls(head, camera, lighting, matrix=matrix, middle=middle, box=box)

    def shade(self, colour: Bgr, gain: float = 1.0) -> Bgr:
        """The colour of a surface of the head in this lighting."""
        return self.lighting.shade(colour, self.depth, gain * self.style.gain)

    def fill(self, shape: Shape, colour: Bgr, *, lamp: bool = False) -> None:
        """Paint a polygon given in head coordinates."""
        points = np.rint((shape @ self.matrix.T + self.origin) * 16).astype(np.int32)
        kind = cv2.LINE_AA if self.zoom < 4 else cv2.LINE_8
        cv2.fillPoly(self.bgr, [points], tuple(float(c) for c in colour), kind, 4)
        cv2.fillPoly(self.alpha, [points], 255, kind, 4)
        if lamp:
            cv2.fillPoly(self.lamp_mask, [points], 255, cv2.LINE_8, 4)

    def front(self) -> None:
        """Lamps towards the camera."""
        style, outline = self.style, self.outline
        if style.plate > 0:
            plate = outline.plate() * (outline.squeeze, 1)
            self.fill(plate, self.shade((24, 24, 24)))
            if style.plate_border is not None:
                self._rim(plate, style.plate_border, 0.07)
        wall = outline.wall()
        if wall is not None:
            self.fill(wall, self.shade(style.housing, 0.6))
        body = outline.body() * (outline.squeeze, 1)
        self.fill(body, self.shade(style.housing))
        if style.frame is not None:
            self._rim(body, style.frame, 0.055)
        for i, lamp in enumerate(self.head.lamps):
            self._lens(i, lamp)

    def side(self) -> None:
        """A narrow profile with visors that stand out to one side."""
        outline = self.outline
        self.fill(outline.body() * (DEPTH, 1), self.shade(self.style.housing, 0.75))
        for i in range(outline.count):
            self.fill(outline.side_visor(i), self.shade(self.style.housing, 0.5))

    def back(self) -> None:
        """The back: a plain housing, its doors and its plate."""
        outline = self.outline
        if self.style.plate > 0:
            self.fill(outline.plate(), self.shade((26, 26, 26)))
        self.fill(outline.body(), self.shade(self.style.housing, 0.8))
        gap = np.array([0.02, 0.5]) if self.style.horizontal else np.array([0.5, 0.02])
        for i in range(outline.count - 1):
            middle = (outline.centre(i) + outline.centre(i + 1)) / 2
            self.fill(middle + SQUARE * gap, self.shade((12, 12, 12)))

    def finish(self, canvas: Canvas) -> None:
        """Downscale onto the canvas; record the label candidate and the lights."""
        bgr = np.asarray(cv2.resize(self.bgr, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = np.asarray(cv2.resize(self.alpha, self.size, interpolation=cv2.INTER_AREA), np.uint8)
        canvas.blend(bgr, alpha, self.left, self.top)
        mask_index = canvas.track_visibility(alpha, self.left, self.top)
        lamp_mask_index, lamp_area = None, 0
        if self.lights:
            lamp = np.asarray(cv2.resize(self.lamp_mask, self.size, interpolation=cv2.INTER_AREA), np.uint8)
            lamp = ((lamp > 30) * np.uint8(255)).astype(np.uint8)  # a lamp of a pixel still counts
            lamp_mask_index, lamp_area = (
                canvas.track_visibility(lamp, self.left, self.top),
                int(np.count_nonzero(lamp)),
            )
        class_id = self.head.class_id
        is_readable = class_id == OFF or bool(self.lights)  # a visor may hide the lit lamp from the camera
        if class_id is not None and self.head.facing == "front" and is_readable:
            x0, y0, x1, y1 = (float(v) for v in self.box)
            area = int(np.count_nonzero(alpha > 127))
            candidate = LabelCandidate(
                class_id=class_id,
                box=(x0, y0, x1, y1),
                mask_index=mask_index,
                area=area,
                lamp_mask_index=lamp_mask_index,
                lamp_area=lamp_area,
                number=self.head.number,
            )
            canvas.add_candidate(candidate)
        for centre, radius, colour in self.lights:
            canvas.add_light(self._bloom(centre, radius, colour, lamp_mask_index))

    def _bloom(self, centre: Shape, radius: float, colour: Bgr, track: int | None) -> LightSource:
        at = centre @ self.matrix.T / self.zoom + self.origin / self.zoom + (self.left, self.top)
        ground = self.camera.at(self.head.x, 0, self.head.z)[1]
        style, dark = self.style, self.lighting.dark
        near = min(1.0, 9.0 / max(radius, 1.0)) ** 0.5  # a nearby lamp does not overexpose the image
        haze = 1 + (1.2 if self.lighting.weather in {"fog", "rain"} else 0.0)
        reach = radius * (2.2 + (6.5 + 5.0 * style.white) * dark * near) * haze**0.5
        strength = max(style.power, dark) * (0.16 + 0.12 * style.white + 1.1 * dark * near)
        mirror = ground if dark > 0.2 else None
        return LightSource(float(at[0]), float(at[1]), reach, colour, strength, mirror, track)

    def _rim(self, shape: Shape, colour: Bgr, width: float) -> None:
        points = shape @ self.matrix.T + self.origin
        thick = max(1, round(width * float(np.abs(self.matrix).sum(1).mean()) * 0.7))
        at = [np.rint(points * 16).astype(np.int32)]
        cv2.polylines(self.bgr, at, True, self.shade(colour), thick, cv2.LINE_AA, 4)

    def _lens(self, index: int, lamp: Lamp) -> None:
        style, outline = self.style, self.outline
        centre = outline.centre(index) * (outline.squeeze, 1)
        radius = np.array([style.lens * outline.squeeze, style.lens])
        seen = centre + (SQUARE if lamp.symbol == "man" else RING) * radius
        if style.visor > 0:
            rim, shift = outline.visor_rim(index), outline.visor_shift
            self.fill(hull(np.concatenate([rim, rim + shift])), self.shade(style.housing, 0.45))
            opening = centre + RING * radius * 1.08 + shift * (1, 0.35)
            below = 0.8 if style.visor_open else 0.12
            opening = hull(np.concatenate([opening, shifted(opening, 0, below)]))
            seen = common(seen, opening)
        if len(seen) < 3:
            return
        if lamp.lit:
            self._lit(centre, radius, seen, lamp)
        else:
            self._unlit(centre, radius, seen, lamp)

    def _unlit(self, centre: Shape, radius: Shape, seen: Shape, lamp: Lamp) -> None:
        style = self.style
        grey = style.unlit_grey
        tint = UNLIT[lamp.hue]
        if grey:
            share = 0.9 if lamp.hue == "yellow" else 0.8
            tint = (
                0.25 * tint[0] + grey * share,
                0.25 * tint[1] + grey * share,
                0.25 * tint[2] + grey * share,
            )
        self.fill(seen, self.shade(tint))
        if style.sheen > 0.12:
            low = common(shifted(centre + RING * radius * 0.72, 0, radius[1] * 0.22), seen)
            if len(low) >= 3:
                add = 55 * style.sheen
                self.fill(low, self.shade((tint[0] + add, tint[1] + add, tint[2] + add)))

    def _lit(self, centre: Shape, radius: Shape, seen: Shape, lamp: Lamp) -> None:
        style, lighting = self.style, self.lighting
        choices = LIT[lamp.hue]
        base = choices[style.tone % len(choices)]
        power = style.power if lighting.dark < 0.3 else max(style.power, 1.0)
        burnt = BURNT[lamp.hue]
        clear = 0.5 + 0.5 * float(np.exp(-self.depth / lighting.haze_m))  # a lamp cuts through haze
        outer = self._emit(base, burnt, power * 0.88, 0.0, clear)
        middle = self._emit(base, burnt, power, 0.35 * style.white * (0.5 + lighting.dark), clear)
        core = self._emit(base, burnt, power * 1.05, style.white * (0.6 + 0.4 * lighting.dark), clear)
        if lamp.symbol == "ball":
            self.fill(seen, outer, lamp=True)
            for share, colour in ((0.78, middle), (0.48, core)):
                inner = common(centre + RING * radius * share, seen)
                if len(inner) >= 3:
                    self.fill(inner, colour)
            self._diodes(centre, radius, outer)
            self.lights.append((centre, self._px(radius), base))
            return
        self.fill(seen, self.shade((14, 14, 14)))
        for shape in symbol(lamp.symbol):
            self.fill(centre + shape * radius, middle, lamp=True)
        self.lights.append((centre, self._px(radius) * 0.7, base))

    def _emit(self, base: Bgr, burnt: Bgr, power: float, white: float, clear: float) -> Bgr:
        b, g, r = (
            float(np.clip((c + (w - c) * white) * power, 0, 255)) * clear + h * (1 - clear)
            for c, w, h in zip(base, burnt, self.lighting.haze, strict=True)
        )
        return b, g, r

    def _px(self, radius: Shape) -> float:
        return float(np.abs(self.matrix).sum(1).mean() * radius[1] / self.zoom)

    def _diodes(self, centre: Shape, radius: Shape, outer: Bgr) -> None:
        # Single diodes are seen only close up: dark gaps between bright dots.
        if not self.style.led or self._px(radius) < 9:
            return
        gap = (outer[0] * 0.55, outer[1] * 0.55, outer[2] * 0.55)
        for offset in np.linspace(-0.9, 0.9, 11):
            reach = float(np.sqrt(max(0.0, 0.9 - offset * offset)))
            row = np.array(
                [[-reach, offset], [reach, offset], [reach, offset + 0.025], [-reach, offset + 0.025]]
            )
            self.fill(centre + row * radius, gap)
            self.fill(centre + row[[0, 3, 2, 1], ::-1] * radius, gap)
