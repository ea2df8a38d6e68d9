"""The colour of each class: from its name where that is, or contains, a colour; else from a cycle.

The class ``red`` is red in every plot, on every frame and on every contact sheet. Classes of one colour
(``red``, ``red_left``) are shades of it. The other classes are given colours that are distinguishable with
colour blindness (after Okabe and Ito, 2008) and not those that a name asks for.
"""

from __future__ import annotations

import colorsys
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from edgestill.drawing.colour_words import AMBIGUOUS, ENGLISH, OFF_WORDS, OTHER_LANGUAGES, WITHOUT_SPACES

Bgr = tuple[int, int, int]

#: By hue: on white paper, and on photographs, where it must be visible at night too.
HUES: Mapping[str, tuple[str, str]] = {
    "red": ("#d6303a", "#ff4646"),
    "orange": ("#e8742a", "#ff9a2e"),
    "yellow": ("#d9a400", "#ffcd14"),
    "green": ("#1a9850", "#3cdc6e"),
    "cyan": ("#1fa3a8", "#4de6e6"),
    "blue": ("#2b7bba", "#56b4e9"),
    "purple": ("#7b5ab0", "#b79cff"),
    "pink": ("#c2589b", "#ff8cd2"),
    "brown": ("#8c510a", "#c98a4b"),
    "black": ("#2f353b", "#787878"),
    "white": ("#b9c0c7", "#f5f5f5"),
    "grey": ("#7f8c99", "#bebebe"),
}
#: For classes whose names are no colours, in this order.
CYCLE = ("blue", "orange", "green", "pink", "purple", "yellow", "cyan", "brown", "red")
#: Hues that are easily taken for one that a name asks for; they are used after the others.
NEAR: Mapping[str, Set[str]] = {
    "orange": {"red", "yellow", "brown"},
    "yellow": {"orange"},
    "cyan": {"green", "blue"},
    "green": {"cyan"},
    "pink": {"red", "purple"},
    "purple": {"pink", "blue"},
    "blue": {"cyan", "purple"},
    "brown": {"red", "orange"},
    "red": {"orange", "pink", "brown"},
}
DASHES = ("-", "--", ":", "-.")
#: Lightness of the shades of a hue. On photographs none is much darker than the hue.
_ON_PAPER = (0.0, 0.13, -0.13, 0.2, -0.2)
_ON_IMAGES = (0.0, 0.13, -0.06, 0.2, 0.07)
_TURN = 0.03  # of the colour circle, between one series of shades and the next


@dataclass(frozen=True, slots=True)
class Tone:
    """A colour by its hue.

    Attributes:
        hue: A key of ``HUES``.
        shade: 0 for the hue itself, 1, 2, ... for its shades.
    """

    hue: str
    shade: int


def tones(classes: Sequence[str]) -> tuple[Tone, ...]:
    """The tone of each class; no two are the same."""
    named = named_hues(classes)
    wanted = set(filter(None, named))
    free = [hue for hue in CYCLE if hue not in wanted]
    near = [hue for hue in free if NEAR[hue] & wanted]
    cycle = [hue for hue in free if hue not in near] + near or list(CYCLE)
    used: Counter[str] = Counter()
    found, others = [], 0
    for hue in named:
        if hue is None:
            hue, others = cycle[others % len(cycle)], others + 1  # noqa: PLW2901 (the hue of this class)
        found.append(Tone(hue, used[hue]))
        used[hue] += 1
    return tuple(found)


def named_hues(classes: Sequence[str]) -> tuple[str | None, ...]:
    """The hue that each class name asks for, a key of ``HUES``; None if it asks for none."""
    known = _colour_words(classes)
    return tuple(_named_hue(name, known) for name in classes)


def plot_colours(classes: Sequence[str]) -> tuple[str, ...]:
    """The colour of each class on white paper, ``#rrggbb``."""
    return tuple(_hex(_shade(HUES[tone.hue][0], tone.shade, _ON_PAPER)) for tone in tones(classes))


def image_colours(classes: Sequence[str]) -> tuple[Bgr, ...]:
    """The colour of each class on photographs: blue, green, red, each 0 to 255."""
    shades = (_shade(HUES[tone.hue][1], tone.shade, _ON_IMAGES) for tone in tones(classes))
    return tuple((blue, green, red) for red, green, blue in shades)


def line_styles(classes: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """Colour and dashes of a line for each class; shades of one hue differ in their dashes, too."""
    dashes = (DASHES[tone.shade % len(DASHES)] for tone in tones(classes))
    return tuple(
        {"color": colour, "linestyle": dash}
        for colour, dash in zip(plot_colours(classes), dashes, strict=True)
    )


def _named_hue(name: str, known: Mapping[str, str]) -> str | None:
    """The hue that a class name asks for; None if it asks for none."""
    words = _words(name)
    hues = [known[word] for word in words if word in known]
    hues += [hue for sign, hue in WITHOUT_SPACES.items() if sign in name]
    if {"red", "yellow"} <= set(hues):
        return "orange"  # red and yellow together, a state of European lights
    if hues:
        return hues[0]
    return "grey" if words and words[-1] in OFF_WORDS else None


def _colour_words(classes: Sequence[str]) -> dict[str, str]:
    """The words that are colours in these class names, with their hues."""
    there = {word for name in classes for word in _words(name)}
    known: dict[str, str] = {}
    for language in OTHER_LANGUAGES:
        several = len({language[word] for word in there if word in language}) > 1
        known |= {word: hue for word, hue in language.items() if several or word not in AMBIGUOUS}
    return {**known, **ENGLISH}


def _words(name: str) -> list[str]:
    """The words of ``traffic_light_red``, ``RedLeft`` or ``greenLight``, in lower case."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\W\d_]+", apart.casefold()) if word]
    return [re.sub(r"(?<=.{3})(light|lamp|arrow|signal)s?$", "", word) for word in words]


def _shade(colour: str, shade: int, lighter: Sequence[float]) -> tuple[int, int, int]:
    """Red, green and blue of a shade of ``#rrggbb``; its lightness is changed by one of ``lighter``."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    if not shade:
        return red, green, blue
    hue, light, full = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    turns, step = divmod(shade, len(lighter))
    room = min(max(light + lighter[step], 0.15), 0.96)
    mixed = colorsys.hls_to_rgb((hue + _TURN * turns) % 1, room, full)
    return round(255 * mixed[0]), round(255 * mixed[1]), round(255 * mixed[2])


def _hex(rgb: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
