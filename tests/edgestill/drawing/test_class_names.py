"""Class names with other scripts, signs and lengths, as OpenCV and matplotlib can draw them."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.drawing import class_names
from edgestill.drawing.class_names import image_names, image_text, plot_names, plot_text, say_replaced
from edgestill.plotting import image_figure

#: In no font: a private character.
NOWHERE = "\U000f0000 lamp"
ODD = (
    "红灯",
    "إشارة",
    "🚦",
    "$x_1$ and $y$",
    "_background",
    "[red]",
    "<b>",
    "a:b/c",
    "",
    "\n",
    "x" * 250,
    NOWHERE,
)


@pytest.mark.parametrize("names", [image_names, plot_names])
def test_every_name_is_one_short_line_and_no_two_are_the_same(names: object) -> None:
    drawn = names(ODD)  # type: ignore[operator]
    assert len(set(drawn)) == len(ODD)
    assert all(0 < len(name) <= 48 and name.isprintable() for name in drawn)


@pytest.mark.parametrize("names", [image_names, plot_names])
def test_plain_names_stay_as_they_are(names: object) -> None:
    assert names(["red", "[red]", "a:b", "<b>"]) == ("red", "[red]", "a:b", "<b>")  # type: ignore[operator]


def test_opencv_never_draws_question_marks_for_a_class() -> None:
    unknown = class_names._raster("?")
    for name in image_names(ODD):
        for character in name:
            assert character == "?" or not np.array_equal(class_names._raster(character), unknown)


def test_a_version_of_opencv_that_draws_ascii_only_gets_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws_bytes(picture: object, text: str, *rest: object) -> object:
        ascii_text = "".join(c if c.isascii() else "?" * len(c.encode()) for c in text)
        return real(picture, ascii_text, *rest)

    real = cv2.putText
    monkeypatch.setattr(class_names.cv2, "putText", draws_bytes)
    class_names._cv2_draws.cache_clear()
    assert image_names(["red", "红灯", "grün"]) == ("red", "class 1", "class 2")
    class_names._cv2_draws.cache_clear()


@pytest.mark.parametrize("name", ["إشارة", "🚦 light", "हरा", NOWHERE])
def test_what_opencv_cannot_draw_is_an_id_and_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = image_names(["car", name])
    assert drawn == ("car", "class 1")
    note = say_replaced(["car", name], drawn, "images")
    assert note is not None
    assert f"class 1 is {name}" in note
    assert capsys.readouterr().err.startswith("images: ")


def test_nothing_is_said_where_nothing_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert say_replaced(["class 0", "red"], image_names(["class 0", "red"]), "images") is None
    assert capsys.readouterr().err == ""


def test_long_names_of_one_family_stay_different() -> None:
    family = [f"{'traffic_light_' * 10}{end}" for end in ("red", "green")]
    assert len({name[-5:] for name in image_names(family)}) == 2
    assert max(map(len, image_names(family))) <= class_names.IMAGE_LIMIT


def test_names_that_are_cut_to_the_same_are_numbered() -> None:
    same = ["a" * 100 + middle + "z" * 100 for middle in "bc"]
    assert len(set(image_names(same))) == len(set(plot_names(same))) == 2


@pytest.mark.parametrize("names", [("$x_1$", "_a", "€$5"), ODD])
def test_a_plot_of_odd_names_has_all_glyphs_and_no_formulas(names: tuple[str, ...], tmp_path: Path) -> None:
    with warnings.catch_warnings(), image_figure(tmp_path / "a.png", (6, 4), names=names) as figure:
        warnings.simplefilter("error")  # a missing glyph, and a legend that leaves a name out
        axes = figure.subplots()
        for name in plot_names(names):
            axes.plot([0, 1], label=name)
        shown = [text.get_text() for text in axes.legend().get_texts()]
        figure.canvas.draw()
    assert len(shown) == len(names)
    assert all("$" not in text.replace(r"\$", "") for text in shown)


def test_the_name_of_a_model_is_no_formula() -> None:
    assert plot_text("runs/$HOME$/best") == r"runs/\$HOME\$/best"
    assert image_text("m🚦odel\n") == "m?odel"
