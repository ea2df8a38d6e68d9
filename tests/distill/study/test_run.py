"""Running a study: what is done stays, what changed is refused, what fails does not stop the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill.study.cell import cell_description, recipe_changes
from distill.study.grid import Cell, Study
from distill.study.process import CELL, ERROR, SCORE, CellJob, CellResult
from distill.study.report import report
from distill.study.run import combined_error, finished_cells, run_cells
from distill.study.scoring import SplitDetections
from distill.study.study_file import load_study
from edgestill.errors import DataError, ToolchainError, UsageError
from edgestill.files import read_json, write_json
from runtime.metrics.coco import Truth

Truths, Finds, Finish = (
    Callable[..., list[Truth]],
    Callable[..., SplitDetections],
    Callable[..., dict[str, Any]],
)
CLASSES = ("red", "yellow", "green", "off")
TEXT = """
recipe = "traffic-lights"
seeds = [0, 1, 2]
arms = ["none", "fgfi", "default"]
resamples = 200
[settings]
epochs = 3
"""


class Bench:
    """A study in a folder, and an engine that makes up what training would give."""

    def __init__(self, root: Path, data: Path, truths: Sequence[Truth], find: Finds, finish: Finish) -> None:
        self.file, self.out, self.data = root / "mine.toml", root / "out", data
        self.file.write_text(TEXT)
        self.ran: list[str] = []
        self.failing: dict[str, dict[str, Any]] = {}
        self._truths, self._find, self._finish = truths, find, finish

    def load(self, *settings: str) -> tuple[Study, list[Cell]]:
        return load_study(str(self.file), settings, [str(self.data)])[1:]

    def study(self, *settings: str, force: bool = False) -> dict[str, dict[str, Any]]:
        """Run what is left; gives the failures."""
        study, cells = self.load(*settings)
        by_folder = {self.out / cell.folder: cell for cell in cells}
        skill = {"none": 0.5, "fgfi": 0.55, "default": 0.95}

        def engine(work: Sequence[CellJob]) -> Iterator[CellResult | None]:
            for item in work:
                cell = by_folder[item.folder]
                self.ran.append(cell.label)
                assert read_json(item.folder / CELL, hint="")["seed"] == cell.seed
                yield None
                if why := self.failing.get(cell.label):
                    write_json(item.folder / ERROR, why)
                    yield CellResult(folder=item.folder, failure=why)
                else:
                    detections = self._find(self._truths, skill[cell.arm], seed=cell.seed)
                    self._finish(cell, study, self.out, detections)
                    yield CellResult(folder=item.folder)

        return run_cells(study, cells, self.out, engine, force=force)

    def report(self) -> dict[str, Any]:
        study, cells = self.load()
        return report("mine", study, cells, self.out, self.study())


@pytest.fixture
def bench(tmp_path: Path, data: Path, make_truths: Truths, make_detections: Finds, finish: Finish) -> Bench:
    """A study whose scores do not matter: they are of few images."""
    return Bench(tmp_path, data, make_truths(4), make_detections, finish)


@pytest.fixture
def scored(tmp_path: Path, data: Path, make_truths: Truths, make_detections: Finds, finish: Finish) -> Bench:
    """A study with images enough that a difference of its arms is significant."""
    return Bench(tmp_path, data, make_truths(30), make_detections, finish)


def test_a_study_leaves_its_table_its_tests_and_its_plots(scored: Bench) -> None:
    result = scored.report()
    assert (result["finished"], result["cells"], result["failed"]) == (9, 9, {})
    assert all(Path(file).is_file() for file in result["files"])
    names = {Path(file).name for file in result["files"]}
    assert {"table.md", "table.csv", "cells.csv", "tests.csv", "study.json", "arms.png"} <= names
    rows = {row["arm"]: row for row in result["rows"]}
    assert rows["default"]["seeds"] == 3
    assert rows["none"]["ap50_95 off mean"] is None  # no such label
    tests = {(test["arm"], test["metric"]): test for test in result["tests"]}
    gain = tests["default", "map50_95"]
    assert gain["seeds mean"] == pytest.approx(
        rows["default"]["map50_95 mean"] - rows["none"]["map50_95 mean"]
    )
    assert gain["images mean"] == pytest.approx(gain["seeds mean"])
    assert gain["images low"] > 0
    assert gain["images p holm"] >= gain["images p"]
    assert 0.05 < gain["power"] <= 1
    assert gain["seeds for power 0.8"] >= 2
    assert tests["fgfi", "map50_95"]["images low"] < 0 < tests["fgfi", "map50_95"]["images high"]
    text = (scored.out / "table.md").read_text()
    check_table(text.splitlines())
    assert "finds a true difference of 2 points" in text
    json.loads((scored.out / "study.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def check_table(lines: list[str]) -> None:
    """The papers' columns, the teacher's own row first."""
    classes = " | ".join(f"{name} {key}" for name in CLASSES for key in ("mAP50", "mAP50-95"))
    head = f"| Student | Teacher | Arm | mAP50 | mAP50-95 | Δ | {classes} | Epochs | Seeds |"
    start = lines.index(head)
    assert lines[start + 2].startswith("| teacher | - | (the teacher) |")
    default = next(line for line in lines if "| default |" in line)
    assert "±" in default
    assert default.endswith("| - | - | 3 | 3 |")


def test_what_is_finished_is_not_trained_again(bench: Bench) -> None:
    bench.study("seeds=[0]")
    assert len(bench.ran) == 3
    bench.study()
    assert len(bench.ran) == 9
    assert all("seed 0" in label for label in bench.ran[:3])
    bench.study()
    assert len(bench.ran) == 9


def test_a_cell_without_its_score_is_run_again(bench: Bench) -> None:
    bench.study()
    (bench.out / "cells/fgfi/yolov5n-from-teacher/seed-1" / SCORE).unlink()
    bench.study()
    assert bench.ran[9:] == ["fgfi, yolov5n-from-teacher, seed 1"]


def test_another_split_scores_again_and_trains_nothing_else(bench: Bench) -> None:
    bench.study("seeds=[0]")
    bench.study("seeds=[0]", "split=val")
    assert len(bench.ran) == 6


def test_a_changed_recipe_is_refused_and_named(bench: Bench) -> None:
    bench.study()
    with pytest.raises(UsageError) as error:
        bench.study("optimiser.lr=0.5")
    assert "9 cells" in str(error.value)
    assert "optimiser.lr: 0.003 -> 0.5" in str(error.value)
    assert "--force" in error.value.hint
    bench.ran.clear()
    bench.study("threads=1")  # decides nothing
    assert bench.ran == []


def test_force_trains_anew_what_changed_and_keeps_the_rest(bench: Bench) -> None:
    bench.study()
    bench.ran.clear()
    bench.study("arm.fgfi.methods.fgfi.weight=2.0", force=True)
    assert bench.ran == [f"fgfi, yolov5n-from-teacher, seed {seed}" for seed in (0, 1, 2)]


def test_a_stale_cell_is_not_in_the_table(bench: Bench) -> None:
    bench.study()
    study, cells = bench.load("arm.fgfi.methods.fgfi.weight=2.0")
    assert {cell.arm for cell, _ in finished_cells(study, cells, bench.out)} == {"none", "default"}


def test_other_teacher_weights_under_the_same_path_are_a_change(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "best"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"one")
    study, cells = bench.load(f"teacher={weights}")
    cell = next(cell for cell in cells if cell.arm == "fgfi")
    folder = bench.out / cell.folder
    write_json(folder / CELL, cell_description(cell, study))
    assert recipe_changes(folder, cell_description(cell, study)) == []
    (weights / "model.safetensors").write_bytes(b"two")
    assert [text.split(":")[0] for text in recipe_changes(folder, cell_description(cell, study))] == [
        "sha256 of teacher"
    ]


def test_a_key_that_the_trainer_learnt_since_is_no_change_but_a_default_that_moved_is(bench: Bench) -> None:
    study, cells = bench.load()
    wanted = cell_description(cells[0], study)
    folder = bench.out / cells[0].folder
    before = {**wanted, "recipe": {**wanted["recipe"]}}
    del before["recipe"]["teaching"]
    before["recipe"]["cache_mib"] = 1  # decides nothing
    write_json(folder / CELL, before)
    assert recipe_changes(folder, wanted) == []
    before["recipe"]["eval_every"] = 99
    write_json(folder / CELL, before)
    assert recipe_changes(folder, wanted) == [f"eval_every: 99 -> {wanted['recipe']['eval_every']}"]


def test_a_failing_cell_stops_no_other_and_is_told(bench: Bench) -> None:
    label = "fgfi, yolov5n-from-teacher, seed 0"
    bench.failing[label] = {"what": "an image is broken", "hint": "mend it", "exit_code": 3}
    failed = bench.study()
    assert list(failed) == [label]
    assert len(bench.ran) == 9
    error = combined_error(failed, "out")
    assert isinstance(error, DataError)
    assert "1 cells failed; fgfi" in error.what
    bench.failing.clear()
    bench.ran.clear()
    assert bench.study() == {}
    assert bench.ran == [label]


def test_a_crash_is_a_bug(bench: Bench) -> None:
    bench.failing["none, yolov5n, seed 0"] = {"what": "code 1", "hint": "see log", "exit_code": 1}
    error = combined_error(bench.study("seeds=[0]"), "out")
    assert type(error) is ToolchainError
    assert error.exit_code == 1


def test_one_study_at_a_time_in_a_folder(bench: Bench) -> None:
    study, cells = bench.load("seeds=[0]")

    def engine(work: Sequence[CellJob]) -> Iterator[CellResult | None]:
        with pytest.raises(UsageError, match="another study runs"):
            bench.study("seeds=[0]")
        yield from (
            CellResult(folder=item.folder, failure={"what": "x", "hint": "", "exit_code": 2}) for item in work
        )

    run_cells(study, cells, bench.out, engine)
    assert bench.ran == []


def test_a_killed_study_leaves_no_lock(bench: Bench) -> None:
    bench.out.mkdir()
    hold = f"""
import time
from pathlib import Path
from distill.study.process import folder_lock
lock = folder_lock(Path({str(bench.out)!r}))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another study runs"):
            bench.study("seeds=[0]")
        holder.kill()
    assert bench.study("seeds=[0]") == {}
    assert len(bench.ran) == 3


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        pytest.param(["data=[]"], UsageError, "names no data", id="no-data"),
        pytest.param(["data=no.yaml"], DataError, "no.yaml does not exist", id="data"),
        pytest.param(["teacher=no/best"], UsageError, "no weights at no/best", id="teacher"),
    ],
)
def test_what_is_missing_is_told_before_any_training(
    bench: Bench, settings: list[str], kind: type[Exception], message: str
) -> None:
    study, cells = load_study(str(bench.file), settings, [] if "data" in settings[0] else [str(bench.data)])[
        1:
    ]
    with pytest.raises(kind, match=message):
        run_cells(study, cells, bench.out, lambda work: iter(()))
    assert not list(bench.out.rglob(CELL))


def test_a_missing_split_is_told_before_any_training(bench: Bench) -> None:
    study, cells = bench.load()
    bench.data = bench.data.with_name("less.yaml")
    bench.data.write_text("train: images/train\nnames: [red, yellow, green, off]\n")
    study, cells = bench.load()
    with pytest.raises(UsageError, match="no split test or val"):
        run_cells(replace(study, split="auto"), cells, bench.out, lambda work: iter(()))
