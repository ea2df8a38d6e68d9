"""Values of a label in the spellings that tools write: numbers, ids, flags, boxes.

A value whose meaning is plain is read (``"1"`` and ``1.0`` are the id 1); others are an ``UnreadableError``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from distill.datasets.formats._records import UnreadableError

WHOLE = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")  # more digits are a name
TRUE, FALSE = frozenset({"1", "true", "yes"}), frozenset({"", "0", "false", "no"})
FRACTIONS = (-0.5, 1.5)  # a box of pixels does not lie between them, one of fractions of the image does
Corners = tuple[float, float, float, float]


def number(value: Any, what: str = "a coordinate") -> float:
    """A finite number: ``5``, ``"5"``, ``" 5.0 "``. A decimal comma is none, since it may separate thousands.

    Raises:
        UnreadableError: It is none; ``what`` begins the reason.
    """
    try:
        # Python reads True as 1 and "1_0" as 10, which no label means
        misread = isinstance(value, bool) or (isinstance(value, str) and "_" in value)
        found = math.nan if misread else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UnreadableError(f"{what} is not a number")
    return found


def identifier(value: Any, what: str) -> int | str:
    """An id: ``7``, ``7.0``, ``"7"`` and ``" 7.0 "`` are the same; other text is itself.

    Raises:
        UnreadableError: It is none; ``what`` begins the reason.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (text := value.strip()):
        whole = WHOLE.fullmatch(text)
        return int(whole[1]) if whole else text
    raise UnreadableError(f"{what} is not an id")


def flag(value: Any, what: str) -> bool:
    """A flag: true, false, 1, 0, yes, no in any case, as text or not; None and empty text are false.

    Raises:
        UnreadableError: It is none; ``what`` begins the reason.
    """
    if value is None or (isinstance(value, int) and 0 <= value <= 1):
        return bool(value)
    text = str(value).strip().casefold()
    whole = WHOLE.fullmatch(text)
    text = str(int(whole[1])) if whole else text
    if text not in TRUE | FALSE:
        raise UnreadableError(f"{what} is neither true nor false")
    return text in TRUE


def pixels(*box: float) -> Corners:
    """The four values of a box as they are.

    Raises:
        UnreadableError: They are fractions of the image. Whether those count from the centre or from a corner
            is not known, so they are not converted.
    """
    a, b, c, d = box
    low, high = FRACTIONS
    if low < c < high and low < d < high and low < a < high and low < b < high and any(box):
        raise UnreadableError("its box is in fractions of the image, not in pixels")
    return a, b, c, d


def box_of_size(box: Corners) -> Corners:
    """The corners of a box that is given as x, y, width and height.

    Raises:
        UnreadableError: A side is negative.
    """
    x, y, width, height = box
    if width < 0 or height < 0:
        raise UnreadableError("its box has a negative width or height")
    return x, y, x + width, y + height


def tags_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as text, without those that are empty, null or no single value."""
    plain = {str(key): str(value).strip() for key, value in attributes.items() if _is_single(value)}
    return {key: text for key, text in plain.items() if text}


def _is_single(value: Any) -> bool:
    return isinstance(value, (str, int, float))
