"""The annotated frame: boxes, labels and a status strip, readable at any resolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.demo.lights import UNKNOWN
from edgestill.drawing.class_names import image_names, image_text, say_replaced
from edgestill.drawing.palette import Bgr as Colour
from edgestill.drawing.palette import image_colours
from runtime.array_pool import ArrayPool
from runtime.pipeline import FrameResult
from runtime.tracking import NO_TRACK

Rect = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, x1 and y1 excluded

WHITE: Colour = (245, 245, 245)
GREY: Colour = (185, 185, 185)
INK: Colour = (16, 16, 16)
FONT = cv2.FONT_HERSHEY_SIMPLEX
DESIGN_HEIGHT = 720  # sizes below are for a 16:9 frame of this height
LABEL_KEEPS = 0.28  # brightness of the image behind a label, relative to the original
CHIPS = 5  # classes counted in the strip at most


class FrameOverlay:
    """Draws the results of a model; see ``runtime.pipeline.Overlay``.

    Args:
        classes: Class names of the model.
        title: Text at the start of the strip, e.g. the name of the model.
    """

    def __init__(self, classes: Sequence[str], title: str) -> None:
        self._classes, self._title = tuple(classes), image_text(title)
        self._colours = dict(zip(self._classes, image_colours(self._classes), strict=True))
        self._drawn = dict(zip(self._classes, image_names(self._classes), strict=True))
        self._sheets = ArrayPool()
        self._has_said = False

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        """An annotated copy of the frame, uint8 ``[H, W, 3]`` BGR."""
        if not self._has_said:
            self._has_said = True
            say_replaced(self._classes, [self._drawn[name] for name in self._classes], "images")
        image_bgr = self._sheets.take(result.frame.image_bgr.shape)
        image_bgr[:] = result.frame.image_bgr
        pen = _Pen(image_bgr)
        self._strip(pen, result)
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
        return image_bgr

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

    def _strip(self, pen: _Pen, result: FrameResult) -> None:
        names = Counter(
            name
            for name, confirmed in (self._name(result, row) for row in range(len(result.detections)))
            if confirmed
        )
        most = {name for name, _ in names.most_common(CHIPS)}
        chips = [
            (f"{names[name]} {self._drawn[name]}", self._colours[name])
            for name in self._classes
            if name in most
        ]
        stages = result.stages_ms
        facts = [
            f"detect {sum(stages.get(s, 0.0) for s in ('letterbox', 'inference', 'postprocess')):.1f} ms"
        ]
        if result.rate_fps is not None:
            facts.append(f"{result.rate_fps:.1f} fps")
        if result.is_live:
            facts.append(f"age {result.age_ms:.0f} ms")
        pen.strip(self._title, chips, facts)


class _Pen:
    """Draws into an image, with sizes that suit its resolution."""

    def __init__(self, image_bgr: NDArray[np.uint8]) -> None:
        self.image = image_bgr
        self.height, self.width = image_bgr.shape[:2]
        self.unit = max(0.5, min(self.height, self.width * 9 / 16) / DESIGN_HEIGHT)
        self.line = max(1, round(3 * self.unit))
        self.font_scale = max(0.42, 0.55 * self.unit)
        self.font_line = max(1, round(1.2 * self.unit))
        (_, self.cap), self.descent = cv2.getTextSize("X", FONT, self.font_scale, self.font_line)
        self.margin = max(3, round(5 * self.unit))
        self.top = 0  # lower edge of the strip; labels are placed below it

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

    def text_width(self, text: str) -> int:
        """Width of a line of text, pixels."""
        return int(cv2.getTextSize(text, FONT, self.font_scale, self.font_line)[0][0])

    def text(self, text: str, x: int, base: int, colour: Colour) -> None:
        """Write a line of text that starts at ``x`` with its baseline at ``base``, pixels."""
        cv2.putText(self.image, text, (x, base), FONT, self.font_scale, colour, self.font_line, cv2.LINE_AA)

    def free_area(self, rect: Rect, text: str, taken: Sequence[Rect]) -> Rect:
        """The label position of a box with the least overlap with other rectangles; if equal, the nearest."""
        width = self.text_width(text) + 3 * self.margin
        height = self.cap + 2 * self.margin
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
            top = min(max(y, self.top), max(self.height - height, 0))
            areas.append((left, top, left + width, top + height))
        return min(areas, key=lambda area: sum(_shared(area, other) for other in taken))

    def label(self, area: Rect, text: str, colour: Colour) -> None:
        """Draw a dark label with a coloured edge and a text."""
        self.darken(area)
        x0, y0, _, y1 = area
        cv2.rectangle(self.image, (x0, y0), (x0 + self.margin // 2, y1 - 1), colour, cv2.FILLED)
        self.text(text, x0 + round(1.5 * self.margin), y0 + self.margin + self.cap, WHITE)

    def strip(self, title: str, chips: Sequence[tuple[str, Colour]], facts: Sequence[str]) -> None:
        """Draw the strip along the upper edge: title and counts at the left, facts at the right."""
        pad = 2 * self.margin
        self.top = self.cap + 2 * pad
        self.darken((0, 0, self.width, self.top))
        base = pad + self.cap
        right = self.width - pad
        for fact in reversed(facts):
            right -= self.text_width(fact)
            self.text(fact, right, base, WHITE)
            right -= 2 * pad
        x = pad
        for text, colour in [(title, None), *chips]:
            disc = self.cap if colour else 0
            if x + disc + self.text_width(text) + pad > right:
                break  # in a small image the facts have priority
            if colour:
                centre = (x + disc // 2, base - self.cap // 2)
                cv2.circle(self.image, centre, disc // 2, colour, cv2.FILLED, cv2.LINE_AA)
                x += disc + self.margin
            self.text(text, x, base, WHITE if colour else GREY)
            x += self.text_width(text) + 2 * pad

    def darken(self, area: Rect) -> None:
        """Darken an area as a background for text."""
        x0, y0, x1, y1 = area
        part = self.image[y0:y1, x0:x1]
        if part.size:
            part[:] = cv2.convertScaleAbs(part, alpha=LABEL_KEEPS, beta=10)


def _shared(a: Rect, b: Rect) -> int:
    """Area of the intersection of two rectangles, pixels."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
