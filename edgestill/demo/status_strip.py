"""The status strip below an annotated frame: model, times, counts by class, and what ``red?`` means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.drawing.palette import Bgr as Colour

WHITE: Colour = (245, 245, 245)
GREY: Colour = (185, 185, 185)
GROUND: Colour = (24, 24, 24)
FONT = cv2.FONT_HERSHEY_SIMPLEX
DESIGN_HEIGHT = 720  # sizes below are for a 16:9 frame of this height
MOST_LINES = 4  # of text, in the strip of a narrow frame


@dataclass(frozen=True, slots=True, kw_only=True)
class TextStyle:
    """Sizes of lines and text that suit a frame, pixels.

    Attributes:
        unit: Scale, 1 for a frame of 1280x720.
        font_scale: Of OpenCV's font.
        font_line: Width of the strokes of letters.
        cap: Height of a capital letter.
        margin: Space around text.
    """

    unit: float
    font_scale: float
    font_line: int
    cap: int
    margin: int

    def width(self, text: str) -> int:
        """Width of a line of text, pixels."""
        return int(cv2.getTextSize(text, FONT, self.font_scale, self.font_line)[0][0])

    def write(self, image: NDArray[np.uint8], text: str, at_xy: tuple[int, int], colour: Colour) -> None:
        """Write a line of text that starts at x with its baseline at y, pixels of the image."""
        cv2.putText(image, text, at_xy, FONT, self.font_scale, colour, self.font_line, cv2.LINE_AA)


@cache
def style_of(height: int, width: int) -> TextStyle:
    """The sizes for frames of a height and width in pixels."""
    unit = max(0.5, min(height, width * 9 / 16) / DESIGN_HEIGHT)
    font_scale, font_line = max(0.42, 0.55 * unit), max(1, round(1.2 * unit))
    (_, cap), _ = cv2.getTextSize("X", FONT, font_scale, font_line)
    return TextStyle(
        unit=unit, font_scale=font_scale, font_line=font_line, cap=int(cap), margin=max(3, round(5 * unit))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A text in the strip.

    Attributes:
        text: One line.
        colour: Of the text.
        disc: Colour of a disc before the text; None for no disc.
    """

    text: str
    colour: Colour = WHITE
    disc: Colour | None = None


class StatusStrip:
    """The strip of all frames of one size, which is as high for every frame.

    Args:
        frame_hw: Height and width of the frames, pixels.
        usual: Items of a frame with usual counts and times. Their widths choose the number of lines.
    """

    def __init__(self, frame_hw: tuple[int, int], usual: Sequence[Item]) -> None:
        height, self._width = frame_hw
        self._style = style_of(*frame_hw)
        self._pad = 2 * self._style.margin
        most = len(self._placed(usual, MOST_LINES))
        self._lines = next(n for n in range(1, MOST_LINES + 1) if len(self._placed(usual, n)) == most)
        strip = self._lines * self._line_height + self._pad
        #: Rows of pixels; with those of the frame an even number, as video codecs need.
        self.height = strip + (height + strip) % 2

    @property
    def _line_height(self) -> int:
        return self._style.cap + self._pad

    def draw(self, area: NDArray[np.uint8], items: Sequence[Item]) -> None:
        """Fill the area of the strip, uint8 ``[height, W, 3]`` BGR; items that do not fit are left out."""
        area[:] = GROUND
        cap = self._style.cap
        for item, x, line in self._placed(items, self._lines):
            base = self._pad + cap + line * self._line_height
            start = x
            if item.disc is not None:
                centre = (x + cap // 2, base - cap // 2)
                cv2.circle(area, centre, cap // 2, item.disc, cv2.FILLED, cv2.LINE_AA)
                start += cap + self._style.margin
            self._style.write(area, item.text, (start, base), item.colour)

    def _placed(self, items: Sequence[Item], lines: int) -> list[tuple[Item, int, int]]:
        """The items that fit into so many lines, in their order, each with its x and line."""
        placed = []
        x, line = self._pad, 0
        for item in items:
            disc = self._style.cap + self._style.margin if item.disc is not None else 0
            width = disc + self._style.width(item.text)
            if self._pad + width > self._width:
                continue  # longer than a line
            if x + width > self._width:
                x, line = self._pad, line + 1
            if line == lines:
                break
            placed.append((item, x, line))
            x += width + 2 * self._pad
        return placed
