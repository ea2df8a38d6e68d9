"""One cell, really trained: an ordinary run folder with a score and every detection."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.study import cell
from distill.study.cell import cell_description, digest_of, is_scored, run_cell
from distill.study.grid import Cell, Study
from distill.study.process import CELL, DETECTIONS, ERROR, SCORE
from distill.study.scoring import SplitDetections, choose_split, load_detections, save_detections
from distill.study.study_file import load_study
from edgestill.dataset import Dataset
from edgestill.errors import UsageError
from edgestill.files import read_json, write_json
from runtime.metrics.bootstrap import draws, resampled
from runtime.metrics.coco import Truth

SMALL = ["input_hw=[64, 96]", "train_hw=[64, 64]", "epochs=1", "seeds=[0]", 'arms=["none"]', "against=[]"]


@pytest.fixture
def one(tmp_path: Path, data: Path) -> tuple[Path, Cell, Study]:
    """A folder that waits to be run, its cell and its study."""
    _, study, cells = load_study("street", SMALL, [str(data)])
    write_json(tmp_path / CELL, cell_description(cells[0], study))
    return tmp_path, cells[0], study


@pytest.mark.usefixtures("undrawn")
def test_a_cell_is_a_run_with_a_score_and_its_detections(one: tuple[Path, Cell, Study]) -> None:
    folder, _, study = one
    assert not is_scored(folder, study)
    score = run_cell(folder, threads=1)
    assert is_scored(folder, study)
    assert {"last", "history.csv", "result.json"} <= {path.name for path in folder.iterdir()}
    assert (score["split"], score["images"], score["epochs"], score["weights"]) == ("test", 4, 1, "last")
    assert score["peak_mib"] > 100
    detections = load_detections(folder / DETECTIONS)
    assert [len(truth.class_id) for truth in detections.truths] == [1] * 4
    maps = resampled(detections.predictions, detections.truths, len(detections.classes), draws(4, 0))[0]
    assert maps.tolist() == [pytest.approx(score[key], abs=1e-9) for key in ("map50", "map50_95")]
    # Trained already: only what the study asks for anew is done.
    (folder / SCORE).unlink()
    before = (folder / "result.json").stat().st_mtime_ns
    assert run_cell(folder)["map50"] == score["map50"]
    assert (folder / "result.json").stat().st_mtime_ns == before


def test_a_cell_that_fails_on_purpose_says_why(one: tuple[Path, Cell, Study]) -> None:
    folder, _, _ = one
    what = read_json(folder / CELL, hint="")
    what["table"]["data"] = ["gone.yaml"]
    write_json(folder / CELL, what)
    assert cell.main([str(folder)]) == 3
    report = read_json(folder / ERROR, hint="")
    assert report["exit_code"] == 3
    assert "gone.yaml does not exist" in report["what"]


def test_a_cell_does_not_outlive_who_started_it(
    one: tuple[Path, Cell, Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(cell, "_exit_with_parent", started.append)
    monkeypatch.setattr(cell, "run_cell", lambda folder, threads: {})
    assert cell.main([str(one[0]), "--parent", str(os.getpid())]) == 0
    assert started == [os.getpid()]


def test_findings_come_back_as_they_were(
    tmp_path: Path,
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
) -> None:
    detections = make_detections(make_truths(5), 0.7, seed=2)
    save_detections(tmp_path / "f.npz", detections)
    back = load_detections(tmp_path / "f.npz")
    assert (back.images, back.classes, back.image_hws) == (
        detections.images,
        detections.classes,
        detections.image_hws,
    )
    for old, new in zip(detections.predictions, back.predictions, strict=True):
        assert np.array_equal(old.xyxy, new.xyxy)
        assert np.array_equal(old.score, new.score)
        assert np.array_equal(old.class_id, new.class_id)
    for before, after in zip(detections.truths, back.truths, strict=True):
        assert np.array_equal(before.xyxy, after.xyxy)
        assert np.array_equal(before.class_id, after.class_id)


def test_the_test_split_is_reported_where_there_is_one(data: Path) -> None:
    dataset = Dataset.open(data)
    assert choose_split([dataset], "auto") == "test"
    assert choose_split([dataset], "val") == "val"
    less = data.with_name("no-test.yaml")
    less.write_text("train: images/train\nval: images/val\nnames: [red, yellow, green, off]\n")
    assert choose_split([Dataset.open(less)], "auto") == "val"
    with pytest.raises(UsageError, match="no split test"):
        choose_split([Dataset.open(less)], "test")


def test_weights_that_are_not_there_have_no_digest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no weights"):
        digest_of(tmp_path)
