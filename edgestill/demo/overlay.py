"""The annotated frame: boxes and labels, and a strip below the picture, readable at any resolution."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.demo.lights import UNKNOWN
from edgestill.demo.status_strip import GREY, WHITE, Item, StatusStrip, TextStyle, style_of
from edgestill.drawing.class_names import image_names, image_text, say_replaced
from edgestill.drawing.palette import Bgr as Colour
from edgestill.drawing.palette import image_colours
from runtime.array_pool import ArrayPool
from runtime.pipeline import FrameResult
from runtime.tracking import NO_TRACK

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 excluded

INK: Colour = (16, 16, 16)
LABEL_KEEPS = 0.28  # brightness of the image behind a label, relative to the original
CHIPS = 5  # classes counted in the strip at most
USUAL_CHIPS = 2  # classes in a frame for which the strip has room in any case
USUAL_STAGES_MS = {"inference": 99.9}


class FrameOverlay:
    """Draws the results of a model; see ``runtime.pipeline.Overlay``.

    Args:
        classes: Class names of the model.
        title: Text at the start of the strip, e.g. the name of the model.
        strip: Whether a status strip is added below the picture. It covers no part of the frame.
    """

    def __init__(self, classes: Sequence[str], title: str, *, strip: bool = True) -> None:
        self._classes, self._title = tuple(classes), image_text(title)
        self._colours = dict(zip(self._classes, image_colours(self._classes), strict=True))
        self._drawn = dict(zip(self._classes, image_names(self._classes), strict=True))
        self._sheets = ArrayPool()
        self._has_strip = strip
        self._strips: dict[tuple[int, int], StatusStrip] = {}
        self._has_said = False

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        """The annotated copy, uint8 ``[H + strip, W, 3]`` BGR: the frame's rows, then those of the strip."""
        if not self._has_said:
            self._has_said = True
            say_replaced(self._classes, [self._drawn[name] for name in self._classes], "images")
        frame = result.frame.image_bgr
        height, width = frame.shape[:2]
        strip = self._strip((height, width), result) if self._has_strip else None
        sheet = self._sheets.take((height + (strip.height if strip else 0), width, 3))
        sheet[:height] = frame
        self._objects(_Pen(sheet[:height]), result)
        if strip is not None:
            strip.draw(sheet[height:], self._items(result))
        return sheet

    def _objects(self, pen: _Pen, result: FrameResult) -> None:
        """Draw all boxes, then the labels, each where it covers least of what there is already."""
        boxes = [pen.around(box) for box in result.detections.xyxy]
        names = [self._name(result, row) for row in range(len(boxes))]
        for rect, (name, confirmed) in zip(boxes, names, strict=True):
            pen.box(rect, self._colours[name], bold=confirmed)
        taken = list(boxes)
        for row, (rect, (name, confirmed)) in enumerate(zip(boxes, names, strict=True)):
            text = self._label(result, row, name, confirmed=confirmed)
            label = pen.free_area(rect, text, taken)
            pen.label(label, text, self._colours[name])
            taken.append(label)

    def _name(self, result: FrameResult, row: int) -> tuple[str, bool]:
        """The state of a detection's track, or its class if there is none, and whether that is confirmed."""
        detected = self._classes[result.detections.class_id[row]]
        if result.states is None:
            return detected, True
        state = result.states[row]
        return (detected, False) if state == UNKNOWN else (state, True)

    def _label(self, result: FrameResult, row: int, name: str, *, confirmed: bool) -> str:
        drawn = self._drawn[name]
        words = [drawn if confirmed else f"{drawn}?", f"{result.detections.score[row]:.2f}"]
        if result.track_id is not None and result.track_id[row] != NO_TRACK:
            words.insert(0, f"#{result.track_id[row]}")
        return " ".join(words)

    def _strip(self, frame_hw: tuple[int, int], result: FrameResult) -> StatusStrip:
        """The strip of frames of this size; its height does not depend on what is found in them."""
        if frame_hw not in self._strips:
            usual = dataclasses.replace(result, stages_ms=USUAL_STAGES_MS, rate_fps=99.9, age_ms=999.0)
            longest = sorted(self._drawn.values(), key=len)[-USUAL_CHIPS:]
            chips = [Item(text=f"9 {name}", disc=INK) for name in longest]
            self._strips[frame_hw] = StatusStrip(frame_hw, [*self._facts(usual), *chips])
        return self._strips[frame_hw]

    def _items(self, result: FrameResult) -> list[Item]:
        names = Counter(
            name
            for name, confirmed in (self._name(result, row) for row in range(len(result.detections)))
            if confirmed
        )
        most = {name for name, _ in names.most_common(CHIPS)}
        chips = [
            Item(text=f"{names[name]} {self._drawn[name]}", disc=self._colours[name])
            for name in self._classes
            if name in most
        ]
        return [*self._facts(result), *chips]

    def _facts(self, result: FrameResult) -> list[Item]:
        """Title, times and legend."""
        stages = result.stages_ms
        detect_ms = sum(stages.get(s, 0.0) for s in ("letterbox", "inference", "postprocess"))
        facts = [f"detect {detect_ms:.1f} ms"]
        if result.rate_fps is not None:
            facts.append(f"{result.rate_fps:.1f} fps")
        if result.is_live:
            facts.append(f"age {result.age_ms:.0f} ms")
        items = [Item(text=self._title, colour=GREY), *(Item(text=fact) for fact in facts)]
        if result.states is not None:
            name = self._drawn[self._classes[0]]
            items.append(Item(text=f"{name}? = not confirmed yet", colour=GREY))
        return items


class _Pen:
    """Draws into an image, with sizes that suit its resolution."""

    def __init__(self, image_bgr: NDArray[np.uint8]) -> None:
        self.image = image_bgr
        self.height, self.width = image_bgr.shape[:2]
        self.style: TextStyle = style_of(self.height, self.width)
        self.line = max(1, round(3 * self.style.unit))

    def around(self, box: NDArray[np.float32]) -> Rect:
        """The outer edge of a box's outline, drawn outside the box so that a small object stays visible."""
        out = self.line + 2
        x0, y0, x1, y1 = (int(v) for v in (*np.floor(box[:2]), *np.ceil(box[2:])))
        return max(x0 - out, 0), max(y0 - out, 0), min(x1 + out, self.width), min(y1 + out, self.height)

    def box(self, rect: Rect, colour: Colour, *, bold: bool) -> None:
        """Draw a coloured outline with a dark edge, which is visible on any background."""
        self._ring(rect, 0, 1, INK)
        self._ring(rect, 1, self.line if bold else max(1, self.line - 1), colour)

    def _ring(self, rect: Rect, inset: int, width: int, colour: Colour) -> None:
        x0, y0, x1, y1 = rect[0] + inset, rect[1] + inset, rect[2] - inset, rect[3] - inset
        for rows, columns in (
            (slice(y0, y0 + width), slice(x0, x1)),
            (slice(max(y1 - width, 0), max(y1, 0)), slice(x0, x1)),
            (slice(y0, max(y1, 0)), slice(x0, x0 + width)),
            (slice(y0, max(y1, 0)), slice(max(x1 - width, 0), max(x1, 0))),
        ):
            self.image[rows, columns] = colour

    def free_area(self, rect: Rect, text: str, taken: Sequence[Rect]) -> Rect:
        """The label position of a box with the least overlap with other rectangles; if equal, the nearest."""
        margin = self.style.margin
        width = self.style.width(text) + 3 * margin
        height = self.style.cap + 2 * margin
        gap = self.line
        x0, y0, x1, y1 = rect
        corners = (
            (x0, y0 - height - gap),
            (x0, y1 + gap),
            (x1 + gap, y0),
            (x0 - width - gap, y0),
            (x1 - width, y0 - height - gap),
            (x1 - width, y1 + gap),
            (x0, y0 - 2 * (height + gap)),
            (x0, y1 + height + 2 * gap),
        )
        areas = []
        for x, y in corners:
            left = min(max(x, 0), max(self.width - width, 0))
            top = min(max(y, 0), max(self.height - height, 0))
            areas.append((left, top, left + width, top + height))
        return min(areas, key=lambda area: sum(_shared(area, other) for other in taken))

    def label(self, area: Rect, text: str, colour: Colour) -> None:
        """Draw a dark label with a coloured edge and a text."""
        self.darken(area)
        x0, y0, _, y1 = area
        margin = self.style.margin
        cv2.rectangle(self.image, (x0, y0), (x0 + margin // 2, y1 - 1), colour, cv2.FILLED)
        at_xy = (x0 + round(1.5 * margin), y0 + margin + self.style.cap)
        self.style.write(self.image, text, at_xy, WHITE)

    def darken(self, area: Rect) -> None:
        """Darken an area as a background for text."""
        x0, y0, x1, y1 = area
        part = self.image[y0:y1, x0:x1]
        if part.size:
            part[:] = cv2.convertScaleAbs(part, alpha=LABEL_KEEPS, beta=10)


def _shared(a: Rect, b: Rect) -> int:
    """Area of the intersection of two rectangles, pixels."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
