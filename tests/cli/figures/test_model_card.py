"""The tables of a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgestill.cli import model_card
from runtime.metrics.found import Found


def result(split: str, model: str, *, sources: dict[str, Any] | None = None) -> dict[str, Any]:
    red, green = ({"ap50": ap, "ap50_95": ap / 2, "labels": labels} for ap, labels in ((0.705, 8), (0.9, 5)))
    per_class = {"red": red, "green": green, "off": {"ap50": None, "ap50_95": None, "labels": 0}}
    return {
        "model": model,
        "split": split,
        "images": 4,
        "map50": 0.8025,
        "map50_95": 0.401,
        "per_class": per_class,
        "by_short_side_px": {"0-8": red, "8-16": green},
        "per_source": sources if sources is not None else {"cam": {"per_class": per_class}},
        "taken_for": {
            "red": {"red": 5, "green": 2, "off": 0, "missed": 1},
            "green": {"red": 1, "green": 4, "off": 0, "missed": 0},
            "off": {"red": 0, "green": 0, "off": 0, "missed": 0},
            "nothing": {"red": 1, "green": 2, "off": 0},
        },
    }


def test_every_figure_has_its_place() -> None:
    classes, sides, sources, mistakes = model_card.card([result("test", "student")]).strip().split("\n\n")
    assert classes.splitlines() == [
        "| data | model | mAP50-95 | mAP50 | AP50 red | AP50 green | AP50 off |",
        "|---|---|---:|---:|---:|---:|---:|",
        "| test, 4 images | student | 40.1 | 80.2 | 70.5 (8) | 90.0 (5) | - (0) |",
    ]
    assert sides.splitlines()[-1] == "| test, 4 images | student | 70.5 (8) | 90.0 (5) |"
    assert sources.splitlines()[0] == "| data | model | cam red | cam green |"
    cells = [cell.strip() for cell in mistakes.splitlines()[-1].split("|")[3:-1]]
    assert cells == ["5 of 8 (62.5 %)", "2 of 8 (25.0 %)", "4 of 5 (80.0 %)", "1 of 5 (20.0 %)", "0.75"]


def test_a_source_that_a_split_lacks_is_a_dash() -> None:
    text = model_card.card([result("val", "student"), result("test", "student", sources={})])
    rows = text.split("\n\n")[2].splitlines()
    assert rows[2:] == [
        "| val, 4 images | student | 70.5 (8) | 90.0 (5) |",
        "| test, 4 images | student | - | - |",
    ]


def test_models_and_splits_are_scored_as_the_verb_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_card.eval_verb, "run", lambda args: result(args.split, *args.models))
    monkeypatch.setattr(
        model_card, "_found", lambda models, data, splits: {"val, student, cam": Found(images=2)}
    )
    words = ["student", "teacher", "--data", "x.yaml", "--split", "val", "--split", "test"]
    assert model_card.main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "| val, student, cam | 2 | 0 | 0 (0 %) | 0 (0 %) | 0 | 0.00 |"
    rows = printed[2:6]
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {split}, 4 images", model] for split in ("val", "test") for model in ("student", "teacher")
    ]


def test_bad_input_is_two_lines_and_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert model_card.main(["student", "--data", str(tmp_path / "no.yaml"), "--split", "val"]) == 3
    assert capsys.readouterr().err.splitlines()[0].endswith("no.yaml does not exist")
