"""The teachers' rows of a study: scored with the input that the table's header states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from distill.study import scoring, teachers
from distill.study.grid import Cell, Study
from distill.study.report import report
from distill.study.scoring import SplitDetections
from distill.study.study_file import load_study
from distill.study.summary import arm_rows
from distill.study.table import markdown
from edgestill.errors import UsageError
from edgestill.files import read_json
from runtime.metrics.coco import Truth

CLASSES = ("red", "yellow", "green", "off")
TEXT = 'recipe = "traffic-lights"\nseeds = [0]\narms = ["none", "fgfi"]\n'


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A teacher that was trained for an input of 128 x 160."""
    torch.manual_seed(0)
    model = build("n", len(CLASSES))
    native.save(tmp_path / "teacher", model, model_spec(model, CLASSES, (128, 160)), {"epoch": 3})
    return tmp_path / "teacher"


@pytest.fixture
def load(tmp_path: Path, data: Path, weights: Path) -> Callable[..., tuple[Study, list[Cell]]]:
    """Reads the study with some settings."""

    def read(*settings: str) -> tuple[Study, list[Cell]]:
        (tmp_path / "mine.toml").write_text(TEXT)
        return load_study(str(tmp_path / "mine.toml"), [f"teacher={weights}", *settings], [str(data)])[1:]

    return read


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Height and width of the input of every detector that scores."""
    seen: list[tuple[int, int]] = []

    class Detector(scoring.TorchDetector):
        def __init__(self, model: Any, spec: Any, **settings: Any) -> None:
            seen.append(spec.input_hw)
            super().__init__(model, spec, **settings)

    monkeypatch.setattr(scoring, "TorchDetector", Detector)
    return seen


@pytest.mark.default_cases("(64, 96)")
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (128, 160)], ids=str)
def test_a_teacher_is_scored_with_the_input_of_the_table(
    size: tuple[int, int], load: Any, inputs: list[tuple[int, int]], tmp_path: Path
) -> None:
    _, cells = load(f"input_hw={list(size)}", "train_hw=[64, 64]")
    (row,) = teachers.teacher_rows(cells, "test", tmp_path)
    assert (row.arm, row.epochs, inputs) == (teachers.TEACHER, 3, [size])
    assert read_json(tmp_path / "teachers" / "teacher.json", hint="")["input_hw"] == list(size)


@pytest.mark.slow
def test_a_score_for_another_input_is_not_used_again(
    load: Any, inputs: list[tuple[int, int]], tmp_path: Path
) -> None:
    for size in ([64, 96], [64, 96], [96, 96]):
        teachers.teacher_rows(load(f"input_hw={size}")[1], "test", tmp_path)
    assert inputs == [(64, 96), (96, 96)]


@pytest.mark.parametrize(
    ("settings", "stated"),
    [
        (["input_hw=[96, 160]"], "Input 160 x 96, trained"),
        (
            [
                "input_hw=[96, 160]",
                "arms=['none', 'wide']",
                "arm.wide={input_hw=[64, 320], methods={fgfi={}}}",
            ],
            "Other inputs: `wide` 320 x 64. Teachers have that of the first arm.",
        ),
    ],
    ids=["one", "two"],
)
def test_the_header_states_the_input_of_every_row(
    settings: list[str],
    stated: str,
    load: Any,
    finish: Callable[..., dict[str, Any]],
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
    tmp_path: Path,
) -> None:
    study, cells = load(*settings)
    found = make_detections(make_truths(5), 0.5, seed=0)
    scored = [(cell, finish(cell, study, tmp_path, found)) for cell in cells]
    text = markdown("mine", study, scored, arm_rows(scored), [])
    assert stated in text
    assert ("Other inputs" in text) == ("Other" in stated)


@pytest.mark.slow
def test_the_primary_figure_is_tested_first_and_by_sequences(
    load: Any,
    finish: Callable[..., dict[str, Any]],
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
    tmp_path: Path,
) -> None:
    study, cells = load("primary=['yellow']", "resample='sequences'", "against=['none']", "resamples=50")
    truths = make_truths(30)
    for i, cell in enumerate(cells):
        finish(cell, study, tmp_path, make_detections(truths, 0.4 + 0.4 * i, seed=i))
    result = report("mine", study, cells, tmp_path, {})
    by_metric = {test["metric"]: test for test in result["tests"]}
    assert set(by_metric) == {"map50", "map50_95", "primary"}
    rows = {row["arm"]: row for row in result["rows"]}
    expected = rows["fgfi"]["primary mean"] - rows["none"]["primary mean"]
    assert by_metric["primary"]["images mean"] == pytest.approx(expected, abs=1e-9)
    # 30 images with following numbers are one sequence, and every draw of one sequence is the same
    assert by_metric["primary"]["images low"] == pytest.approx(by_metric["primary"]["images high"])
    text = (tmp_path / "table.md").read_text()
    assert text.index("## Primary figure against") < text.index("## mAP50-95 against")
    assert "Whole sequences" in text


def test_a_primary_class_that_is_not_there_is_named(
    load: Any,
    finish: Callable[..., dict[str, Any]],
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
    tmp_path: Path,
) -> None:
    study, cells = load("primary=['blue']")
    for cell in cells:
        finish(cell, study, tmp_path, make_detections(make_truths(5), 0.5, seed=0))
    with pytest.raises(UsageError, match="primary class blue"):
        report("mine", study, cells, tmp_path, {})


@pytest.mark.slow
def test_the_columns_of_the_papers_stand_in_a_table_of_their_own(
    load: Any,
    finish: Callable[..., dict[str, Any]],
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
    tmp_path: Path,
) -> None:
    study, cells = load()
    for cell in cells:
        score = finish(cell, study, tmp_path, make_detections(make_truths(5), 0.8, seed=0))
    report("mine", study, cells, tmp_path, {})
    part = (tmp_path / "table.md").read_text().split("## Networks, and mAP")[1].splitlines()
    titles = [cell.strip() for cell in part[2].split("|")]
    assert titles[4:9] == ["Parameters, M", "Of the head", "GFLOPs", "Of the head", "mAP75"]
    (student,) = [line for line in part if "| fgfi |" in line and "2.00" in line]
    cells_of_row = [cell.strip() for cell in student.split("|")]
    assert cells_of_row[4:9] == ["2.00", "0.10", "4.50", "0.50", f"{100 * score['map75']:.1f}"]
    assert titles[9:12] == ["mAP small", "mAP medium", "mAP large"]


def test_the_size_of_a_network_is_that_of_its_layers(weights: Path) -> None:
    values = scoring.network_values(weights, (64, 96))
    model = build("n", len(CLASSES))
    assert values["parameters"] == sum(p.numel() for p in model.parameters())
    # three convolutions of 1 x 1 from 64, 128 and 256 channels to 3 anchors of 5 + 4 values
    assert values["head_parameters"] == sum(27 * (channels + 1) for channels in (64, 128, 256))
    cells = [(8 * 12, 64), (4 * 6, 128), (2 * 3, 256)]
    assert values["head_gflops"] == pytest.approx(sum(2 * 27 * n * c for n, c in cells) / 1e9)
