"""Class names as they can be drawn: shortened, distinct, and in glyphs that there are.

OpenCV 4 draws ASCII only. OpenCV 5 has glyphs for most scripts, but it does not join Arabic letters and has
no emoji. matplotlib draws what its fonts hold. A name that cannot be drawn is written as ``class 3``, and a
line on stderr says so.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np

from edgestill.progress import say

IMAGE_LIMIT, PLOT_LIMIT = 28, 40  # characters
_OWN_FONT = "DejaVu Sans"  # comes with matplotlib
_RIGHT_TO_LEFT = frozenset({"R", "AL"})
_SHAPED_SINCE = (3, 11)  # of matplotlib, which has joined and ordered letters since then
_NO_TEXT_FONTS = ("Last Resort", "STIX", "cm", "Noto Color Emoji")  # boxes, or symbols only
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, surrogate, ends of lines
_REGULAR = 400  # weight


def image_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Each class name as OpenCV can draw it."""
    return _distinct([_image_name(k, name) for k, name in enumerate(classes)])


def plot_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Each class name as matplotlib can draw it, with the fonts of ``fallback_fonts`` of the same classes.

    ``$`` does not begin a formula, and ``_`` at the beginning does not hide the name in a legend.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    missing = _without_glyph(_characters(classes))
    names = []
    for k, name in enumerate(classes):
        text = _plain(name)
        names.append(_short(text, PLOT_LIMIT) if text and not set(text) & missing else f"class {k}")
    return tuple(map(_escaped, _distinct(names)))


def plot_text(text: str, limit: int = PLOT_LIMIT) -> str:
    """A text from outside, such as the name of a model, as matplotlib draws it: not as a formula."""
    return _escaped(_short(_plain(text), limit))


def fallback_fonts(texts: Collection[str]) -> list[str]:
    """Installed fonts with the glyphs of ``texts`` that DejaVu Sans lacks; as few as possible.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    return list(_fonts_for(_characters(texts)))


def image_text(text: str, limit: int = IMAGE_LIMIT) -> str:
    """A text from outside, such as the name of a model, as OpenCV draws it: ``?`` where it has no glyph."""
    return "".join(c if _cv2_draws(c) else "?" for c in _short(_plain(text), limit, "..."))


def say_replaced(classes: Sequence[str], drawn: Sequence[str], where: str) -> str | None:
    """Say on stderr which names could not be drawn; the same text, or None if all could.

    Args:
        classes: Class names.
        drawn: As ``image_names`` or ``plot_names`` gave them.
        where: ``images`` or ``plots``, for the message.
    """
    ids = [
        f"class {k} is {name}"
        for k, name in enumerate(classes)
        if name != drawn[k] and drawn[k] in {f"class {k}", f"{k} class {k}"}
    ]
    if not ids:
        return None
    text = f"{where}: some class names have letters that no font here has: {', '.join(ids)}"
    say(text)
    return text


def _image_name(k: int, name: str) -> str:
    text = _plain(name)
    return _short(text, IMAGE_LIMIT, "...") if text and all(map(_cv2_draws, text)) else f"class {k}"


@cache
def _cv2_draws(character: str) -> bool:
    if character.isascii():
        return True
    if _is_shaped(character):
        return False
    picture = _raster(character)
    unknown = ("?", "?" * len(character.encode()))  # one for each character, or for each byte in OpenCV 4
    return not any(np.array_equal(picture, _raster(marks)) for marks in unknown)


def _raster(text: str) -> Any:
    picture = np.zeros((48, 160), np.uint8)
    return cv2.putText(picture, text, (4, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 1, cv2.LINE_AA)


def _is_shaped(character: str) -> bool:
    """Whether a character is written from right to left, or combined with its neighbour."""
    return unicodedata.bidirectional(character) in _RIGHT_TO_LEFT or unicodedata.category(character)[0] == "M"


def _plain(name: str) -> str:
    """One line without control characters."""
    whole = unicodedata.normalize("NFC", name)
    kept = "".join(" " if unicodedata.category(c) in _INVISIBLE else c for c in whole)
    return " ".join(kept.split())


def _short(text: str, limit: int, dots: str = "…") -> str:
    """The text, or its beginning and end: names of one family differ at the end."""
    if len(text) <= limit:
        return text
    left = limit - len(dots)
    return text[: left - left // 3] + dots + text[-(left // 3) :]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names; of several equal ones each is given its id."""
    counts = Counter(names)
    return tuple(f"{k} {name}" if counts[name] > 1 else name for k, name in enumerate(names))


def _escaped(text: str) -> str:
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _characters(texts: Collection[str]) -> frozenset[str]:
    return frozenset(c for text in texts for c in _plain(text) if not c.isascii())


def _without_glyph(characters: frozenset[str]) -> set[str]:
    """The characters that no font draws."""
    import matplotlib  # noqa: PLC0415 (an extra; slow to import)

    shaped = matplotlib.__version_info__[:2] >= _SHAPED_SINCE
    lacking = set() if shaped else {c for c in characters if _is_shaped(c)}
    held = _held(_OWN_FONT, characters)
    for family in _fonts_for(characters):
        held |= _held(family, characters)
    return lacking | (characters - held)


@cache
def _fonts_for(characters: frozenset[str]) -> tuple[str, ...]:
    missing = characters - _held(_OWN_FONT, characters) if characters else characters
    found: list[str] = []
    for family in sorted(_font_files()) if missing else ():
        if here := _held(family, missing):
            found.append(family)
            missing -= here
    return tuple(found)


@cache
def _font_files() -> dict[str, str]:
    """The installed upright fonts of normal weight, by family."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415 (an extra; slow to import)

    return {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.weight == _REGULAR and font.style == "normal" and not font.name.startswith(_NO_TEXT_FONTS)
    }


@cache
def _held(family: str, characters: frozenset[str]) -> frozenset[str]:
    """Those of the characters that a font has a glyph for."""
    from matplotlib.font_manager import get_font  # noqa: PLC0415 (an extra; slow to import)

    try:
        face = get_font(_font_files()[family])
    except (OSError, RuntimeError, ValueError):  # a font that FreeType cannot open, such as one of bitmaps
        return frozenset()
    return frozenset(c for c in characters if face.get_char_index(ord(c)))
