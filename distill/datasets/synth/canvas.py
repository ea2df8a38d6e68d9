"""The image being painted, and how much of each signal head is still visible in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.synth.textures import Pixels, textures

Points = NDArray[np.floating]  # [N, 2] px
Bgr = tuple[float, float, float]
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
FAR_PX = 1e5  # beyond it OpenCV's fixed-point coordinates overflow


@dataclass(slots=True, eq=False)
class VisibilityMask:
    """The part of one object that is still visible after others were painted over it.

    Attributes:
        x: Column of the mask's left edge in the image.
        y: Row of the mask's top edge.
        mask: 255 where the object is visible, uint8 ``[h, w]``.
    """

    x: int
    y: int
    mask: Pixels


@dataclass(slots=True, eq=False)
class LightSource:
    """A light whose bloom is added after everything is painted.

    Attributes:
        x: Centre, px.
        y: Centre, px.
        radius: Of the bloom, px.
        colour: BGR, 255 saturates.
        strength: 1 for a lamp whose centre saturates.
        ground_y: Row of the ground below it, for its reflection on a wet road; None without a reflection.
        mask_index: Index of the visibility mask that scales the bloom, or None.
    """

    x: float
    y: float
    radius: float
    colour: Bgr
    strength: float
    ground_y: float | None = None
    mask_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCandidate:
    """A painted signal head that is labelled if it stays visible.

    Attributes:
        class_id: Index into ``heads.CLASSES``.
        box: Its exact outline x0, y0, x1, y1, px; it may extend beyond the image.
        mask_index: Index of the visibility mask of the whole head.
        area: Pixels of the whole head, including those outside the image.
        lamp_mask_index: Index of the visibility mask of the lit lamp, or None.
        lamp_area: Pixels of the lit lamp.
        number: Of the head in a clip; -1 in a still image.
    """

    class_id: int
    box: tuple[float, float, float, float]
    mask_index: int
    area: int
    lamp_mask_index: int | None
    lamp_area: int
    number: int = -1


@dataclass(slots=True, eq=False)
class Canvas:
    """A BGR image, the visibility masks of what may be labelled, and the lights that get a bloom.

    Attributes:
        image: uint8 ``[H, W, 3]``.
        visibility_masks: One for each object passed to ``track_visibility``.
        light_sources: See ``add_light``.
        label_candidates: The signal heads painted so far.
    """

    image: Pixels
    visibility_masks: list[VisibilityMask] = field(default_factory=list)
    light_sources: list[LightSource] = field(default_factory=list)
    label_candidates: list[LabelCandidate] = field(default_factory=list)

    @property
    def height(self) -> int:
        """Rows, px."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns, px."""
        return int(self.image.shape[1])

    def polygon(self, points: Points, colour: Bgr) -> None:
        """Fill a polygon ``[N, 2]`` px."""
        if not self._touches(points):
            return
        cv2.fillPoly(self.image, [_fixed(points)], colour, cv2.LINE_AA, SHIFT)
        for watched in self._hit(points):
            cv2.fillPoly(watched.mask, [_fixed(points - (watched.x, watched.y))], 0, cv2.LINE_8, SHIFT)

    def line(self, points: Points, colour: Bgr, width: float) -> None:
        """Stroke a polyline ``[N, 2]`` px; thinner than a pixel is drawn fainter."""
        if not self._touches(points, width):
            return
        if width < 1:
            self._faint(points, colour, width)
            return
        thick = max(1, round(width))
        cv2.polylines(self.image, [_fixed(points)], False, colour, thick, cv2.LINE_AA, SHIFT)
        for watched in self._hit(points, width):
            at = _fixed(points - (watched.x, watched.y))
            cv2.polylines(watched.mask, [at], False, 0, thick, cv2.LINE_8, SHIFT)

    def disc(self, x: float, y: float, rx: float, colour: Bgr, ry: float | None = None) -> None:
        """Fill an upright ellipse around (x, y) with the given half axes, px."""
        angles = np.linspace(0, 2 * np.pi, 20 if rx < 12 else 40, endpoint=False)
        ring = np.stack([x + rx * np.cos(angles), y + (ry or rx) * np.sin(angles)], 1)
        self.polygon(ring, colour)

    def paste(self, bgr: Pixels, mask: Pixels, x: float, y: float) -> None:
        """Copy ``bgr`` ``[h, w, 3]`` where ``mask`` ``[h, w]`` is not 0, its top left at (x, y) px."""
        left, top = round(x), round(y)
        window = self._window(left, top, bgr.shape[1], bgr.shape[0])
        if window is None:
            return
        x0, y0, x1, y1 = window
        part = mask[y0 - top : y1 - top, x0 - left : x1 - left]
        cv2.copyTo(bgr[y0 - top : y1 - top, x0 - left : x1 - left], part, self.image[y0:y1, x0:x1])
        self._hide(x0, y0, part)

    def blend(self, bgr: Pixels, alpha: Pixels, x: int, y: int) -> None:
        """Mix ``bgr`` ``[h, w, 3]`` in by ``alpha`` ``[h, w]`` (255 is opaque), its top left at (x, y) px."""
        window = self._window(x, y, bgr.shape[1], bgr.shape[0])
        if window is None:
            return
        x0, y0, x1, y1 = window
        part = alpha[y0 - y : y1 - y, x0 - x : x1 - x]
        over = bgr[y0 - y : y1 - y, x0 - x : x1 - x].astype(np.float32)
        under = self.image[y0:y1, x0:x1].astype(np.float32)
        mixed = under + (over - under) * (part.astype(np.float32) / 255)[..., None]
        self.image[y0:y1, x0:x1] = (mixed + 0.5).astype(np.uint8)
        self._hide(x0, y0, part)

    def track_visibility(self, mask: Pixels, x: int, y: int) -> int:
        """Track from now on which part of ``mask`` is visible; its top left is at (x, y) px.

        Returns:
            The index of its visibility mask.
        """
        window = self._window(x, y, mask.shape[1], mask.shape[0])
        if window is None:
            self.visibility_masks.append(VisibilityMask(x, y, np.zeros((0, 0), np.uint8)))
        else:
            x0, y0, x1, y1 = window
            self.visibility_masks.append(
                VisibilityMask(x0, y0, mask[y0 - y : y1 - y, x0 - x : x1 - x].copy())
            )
        return len(self.visibility_masks) - 1

    def add_candidate(self, candidate: LabelCandidate) -> None:
        """Record a painted head for ``labels.visible``."""
        self.label_candidates.append(candidate)

    def add_light(self, emitter: LightSource) -> None:
        """Record a light for ``add_bloom``."""
        self.light_sources.append(emitter)

    def add_bloom(self, wet: float) -> None:
        """Add the bloom of every recorded light, and its reflection on a road that is ``wet`` (0 to 1)."""
        for light in self.light_sources:
            strength = light.strength
            if light.mask_index is not None:
                mask = self.visibility_masks[light.mask_index].mask
                strength *= float(np.count_nonzero(mask)) / max(mask.size, 1) if mask.size else 0.0
            if strength <= 0.01 or light.radius < 0.7:
                continue
            colour = tuple(c * strength for c in light.colour)
            self._add_halo(light.x, light.y, light.radius, light.radius, colour)
            if wet > 0 and light.ground_y is not None and light.ground_y > light.y:
                depth = 2 * light.ground_y - light.y
                faint = tuple(c * wet * 0.45 for c in colour)
                self._add_halo(light.x, depth, light.radius * 0.6, light.radius * 3.2, faint)

    def _add_halo(self, x: float, y: float, rx: float, ry: float, colour: tuple[float, ...]) -> None:
        w, h = max(2, round(2 * rx)), max(2, round(2 * ry))
        left, top = round(x - w / 2), round(y - h / 2)
        window = self._window(left, top, w, h)
        if window is None or w > 4 * self.width:
            return
        x0, y0, x1, y1 = window
        glow = cv2.resize(textures().halo, (w, h), interpolation=cv2.INTER_LINEAR)
        glow = glow[y0 - top : y1 - top, x0 - left : x1 - left]
        added = np.clip(glow[..., None] * np.asarray(colour, np.float32), 0, 255).astype(np.uint8)
        part = self.image[y0:y1, x0:x1]
        cv2.add(part, added, dst=part)

    def _faint(self, points: Points, colour: Bgr, width: float) -> None:
        # A distant wire covers part of a pixel: mix its colour with the background at its midpoint.
        low = np.clip(points.min(0), 0, (self.width - 1, self.height - 1)).astype(int)
        high = np.clip(points.max(0), 0, (self.width - 1, self.height - 1)).astype(int)
        middle = (low + high) // 2
        behind = self.image[middle[1], middle[0]]
        mixed = [float(b) * (1 - width) + c * width for b, c in zip(behind, colour, strict=True)]
        cv2.polylines(self.image, [_fixed(points)], False, mixed, 1, cv2.LINE_AA, SHIFT)

    def _touches(self, points: Points, margin: float = 0) -> bool:
        if len(points) == 0 or not np.isfinite(points).all():
            return False
        (x0, y0), (x1, y1) = points.min(0) - margin, points.max(0) + margin
        return bool(x1 >= 0 and y1 >= 0 and x0 < self.width and y0 < self.height)

    def _hit(self, points: Points, margin: float = 0) -> list[VisibilityMask]:
        if not self.visibility_masks:
            return []
        (x0, y0), (x1, y1) = points.min(0) - margin, points.max(0) + margin
        return [
            t
            for t in self.visibility_masks
            if t.mask.size
            and x1 >= t.x
            and y1 >= t.y
            and x0 < t.x + t.mask.shape[1]
            and y0 < t.y + t.mask.shape[0]
        ]

    def _hide(self, left: int, top: int, mask: Pixels) -> None:
        h, w = mask.shape[:2]
        for watched in self.visibility_masks:
            th, tw = watched.mask.shape
            x0, y0 = max(left, watched.x), max(top, watched.y)
            x1, y1 = min(left + w, watched.x + tw), min(top + h, watched.y + th)
            if x0 < x1 and y0 < y1:
                over = mask[y0 - top : y1 - top, x0 - left : x1 - left] > 127
                watched.mask[y0 - watched.y : y1 - watched.y, x0 - watched.x : x1 - watched.x][over] = 0

    def _window(self, x: int, y: int, w: int, h: int) -> tuple[int, int, int, int] | None:
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, self.width), min(y + h, self.height)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(np.clip(points, -FAR_PX, FAR_PX) * (1 << SHIFT)).astype(np.int32)
