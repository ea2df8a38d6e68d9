"""A class has the colour that its name says, wherever it is drawn."""

from __future__ import annotations

import colorsys
from itertools import combinations

import pytest

from edgestill.drawing.palette import HUES, NEAR, image_colours, line_styles, plot_colours, tones

LIGHTS = ("red", "yellow", "green", "off")


def hue_of(red: int, green: int, blue: int) -> str:
    """The colour that a person calls it."""
    hue, _, full = colorsys.rgb_to_hls(red / 255, green / 255, blue / 255)
    if full < 0.25:
        return "grey"
    return (
        "red"
        if hue < 0.03 or hue > 0.95
        else "yellow"
        if 0.1 < hue < 0.17
        else "green"
        if 0.3 < hue < 0.45
        else "other"
    )


def names_of(classes: tuple[str, ...]) -> list[str]:
    rgb = [tuple(int(c[k : k + 2], 16) for k in (1, 3, 5)) for c in plot_colours(classes)]
    return [hue_of(*one) for one in rgb]


@pytest.mark.parametrize("order", [LIGHTS, LIGHTS[::-1], ("green", "off", "red", "yellow")])
def test_a_light_has_its_colour_whatever_its_place(order: tuple[str, ...]) -> None:
    wanted = ["grey" if name == "off" else name for name in order]
    assert names_of(order) == wanted
    assert [hue_of(r, g, b) for b, g, r in image_colours(order)] == wanted


@pytest.mark.parametrize(
    ("name", "hue"),
    [
        ("traffic_light_red", "red"),
        ("RedLeft", "red"),
        ("Yellow arrow", "yellow"),
        ("amber", "yellow"),
        ("greenlight", "green"),
        ("state:green", "green"),
        ("light-off", "grey"),
        ("red_yellow", "orange"),
        ("Blue 2", "blue"),
        ("红灯", "red"),
        ("зелёный", "green"),
        ("grün", "green"),
    ],
)
def test_a_name_with_a_colour_in_it_has_that_colour(name: str, hue: str) -> None:
    assert tones([name])[0].hue == hue


@pytest.mark.parametrize("name", ["hundred", "off_road", "greenhouse", "leaf_rot", "Fred", "car"])
def test_a_colour_inside_another_word_is_none(name: str) -> None:
    assert tones([name])[0].hue == "blue"  # the first of the cycle


@pytest.mark.parametrize(
    ("classes", "hues"),
    [
        (("rot", "gelb", "grün", "aus"), ("red", "yellow", "green", "grey")),
        (("feu rouge", "feu vert"), ("red", "green")),
        (("красный", "зелёный"), ("red", "green")),
    ],
)
def test_a_word_that_is_english_too_counts_beside_others_of_its_language(
    classes: tuple[str, ...], hues: tuple[str, ...]
) -> None:
    assert tuple(tone.hue for tone in tones(classes)) == hues


@pytest.mark.parametrize("classes", [("car", *LIGHTS, "person"), ("blue sign", "dog", "orange cone", "cat")])
def test_other_classes_stay_clear_of_the_colours_that_names_ask_for(classes: tuple[str, ...]) -> None:
    found = {name: tone.hue for name, tone in zip(classes, tones(classes), strict=True)}
    others = {name: hue for name, hue in found.items() if name in {"car", "person", "dog", "cat"}}
    asked = {hue for name, hue in found.items() if name not in others}
    assert all(hue not in asked and not NEAR[hue] & asked for hue in others.values())


def test_no_two_classes_look_alike() -> None:
    classes = (*LIGHTS, "red_left", "green_left", "red_right", *(f"thing {k}" for k in range(73)))
    for colours in (plot_colours(classes), image_colours(classes)):
        assert len(set(colours)) == len(classes)


def test_lines_of_one_hue_differ_in_their_dashes() -> None:
    styles = line_styles(["red", "red_left", "red_right"])
    assert len({style["linestyle"] for style in styles}) == 3


def test_the_colours_of_photographs_are_bright_enough_for_the_night() -> None:
    for bgr in image_colours([*HUES, *(f"{hue}_left" for hue in HUES)]):
        assert max(bgr) > 100


def test_plots_and_images_name_the_same_hues() -> None:
    assert all(HUES[a] != HUES[b] for a, b in combinations(HUES, 2))
