"""Tables of papers beside a study's rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.study.grid import Cell, Study
from distill.study.paper import PaperRow, PaperTable, matching, paper_text
from distill.study.report import report
from distill.study.scoring import SplitDetections
from distill.study.study_file import load_study, study_names
from distill.study.summary import ArmRow
from distill.study.teachers import TEACHER
from edgestill.errors import UsageError
from runtime.metrics.coco import Truth

TEXT = """
recipe = "traffic-lights"
seeds = [0, 1]
arms = ["none", "mkd"]
resamples = 20
[settings]
epochs = 3
[sweep]
"methods.mkd.weight" = [0.1, 1.0]
[[paper]]
title = "A paper, table 3"
remark = "Not plausible."
columns = { AP = "map50_95", AP_S = "size small", Red = "ap50 red", FLOPs = "gflops", Params = "parameters" }
rows = [
    { name = "Baseline", values = { AP = 41.2, FLOPs = 8 }, arm = "none", remark = "elsewhere 41.1" },
    { name = "Weight 1", values = { AP = 41.8 }, student = "yolov5n", arm = "mkd weight=1" },
    { name = "Other method", values = { AP = 40.0 } },
]
"""


def rows_of(name: str) -> tuple[Study, list[ArmRow]]:
    """A shipped study, and the rows that it will have."""
    _, study, cells = load_study(name, data=["d.yaml"])
    keys = dict.fromkeys((cell.student, cell.teacher, cell.arm) for cell in cells)
    keys |= dict.fromkeys((cell.teacher, "-", TEACHER) for cell in cells if cell.teacher != "-")
    return study, [
        ArmRow(student=s, teacher=t, arm=a, model="", epochs=1, seeds=(0,), scores={}) for s, t, a in keys
    ]


@pytest.mark.parametrize("name", study_names())
def test_every_row_of_a_shipped_table_names_one_row_of_its_study(name: str) -> None:
    study, rows = rows_of(name)
    for table in study.paper:
        assert table.remark
        for row in table.rows:
            assert len(matching(row, rows)) == bool(row.arm), row


def test_the_studies_of_the_papers_have_their_tables() -> None:
    papers = {name for name in study_names() if rows_of(name)[0].paper}
    assert papers == {
        *("temperature", "region-parts", "integrated-heads", "integrated-lambda", "aer1515"),
        *("mkd-teachers", "mkd-ablation", "mkd-weights"),
    }


def test_a_value_of_a_shipped_table_stands_in_the_paper() -> None:
    """Some figures of each paper, copied from it by hand."""
    found = {
        (table.title.split(",")[0], row.name, column): value
        for name in study_names()
        for table in rows_of(name)[0].paper
        for row in table.rows
        for column, value in row.values.items()
    }
    known = [
        ("Huang et al.", "T = 45", "mAP50-95", 74.56),
        ("Cheng", "Decoupled YOLOv5-s", "Head FLOPS", 9.57),
        ("Cheng", "YOLOv5-s from Decoupled YOLOv5-s", "COCO mAP", 37.4),
        ("Teichman and Kong", "Yolov5m", "Not Relevant mAP50-95", 9.505),
        ("Teichman and Kong", "Yolov5n from Yolov5x", "Relevant mAP50-95", 37.5),
        ("Xu et al.", "from RTMDet-L", "AP_L", 58.5),
        ("Xu et al.", "RTMDet-s, weight 5", "AP75", 47.0),
    ]
    for title, row, column, value in known:
        assert found[title, row, column] == value


@pytest.fixture
def load(tmp_path: Path, data: Path) -> Callable[..., tuple[Study, list[Cell]]]:
    """Reads the study with some settings."""

    def read(*settings: str, text: str = TEXT) -> tuple[Study, list[Cell]]:
        (tmp_path / "mine.toml").write_text(text)
        return load_study(str(tmp_path / "mine.toml"), settings, [str(data)])[1:]

    return read


@pytest.fixture
def result(
    load: Any,
    finish: Callable[..., dict[str, Any]],
    make_truths: Callable[..., list[Truth]],
    make_detections: Callable[..., SplitDetections],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """The report of a finished study, without plots."""
    monkeypatch.setattr("distill.study.report._plots", lambda *_: [])
    study, cells = load()
    for cell in cells:
        finish(cell, study, tmp_path, make_detections(make_truths(8), 0.6, seed=cell.seed))
    return report("mine", study, cells, tmp_path, {})


def test_the_papers_row_stands_above_that_of_the_study(result: dict[str, Any], tmp_path: Path) -> None:
    part = (tmp_path / "table.md").read_text().split("## A paper, table 3\n\n")[1]
    head, rule, *lines, _, remark = part.rstrip().splitlines()
    assert head == "| Row | Source | AP | AP_S | Red | FLOPs | Params | Remark |"
    assert rule.startswith("| --- | --- | ---: |")
    assert lines[0] == "| Baseline | paper | 41.2 | - | - | 8 | - | elsewhere 41.1 |"
    assert [line.split("|")[1:3] for line in lines[1:]] == [
        [" yolov5n, none ", " study "],
        [" Weight 1 ", " paper "],
        [" yolov5n from teacher, mkd weight=1 ", " study "],
        [" Other method ", " paper "],
    ]
    assert remark == "Not plausible."
    row = next(row for row in result["rows"] if row["arm"] == "none")
    shown = f"{100 * row['map50_95 mean']:.1f} ± {100 * row['map50_95 std']:.1f}"
    assert lines[1].split(" | ")[2] == shown
    assert lines[1].split(" | ")[-3:-1] == ["4.50", "2.00"]
    assert (row["gflops"], row["parameters"]) == (4.5, 2e6)


def test_the_lines_are_in_the_result_in_the_papers_units(result: dict[str, Any], tmp_path: Path) -> None:
    paper, study = result["paper"][:2]
    assert (paper["source"], paper["AP"], paper["AP_S"], paper["FLOPs"]) == ("paper", 41.2, None, 8)
    row = next(row for row in result["rows"] if row["arm"] == "none")
    assert study["AP"] == pytest.approx(100 * row["map50_95 mean"])
    assert study["Red std"] == pytest.approx(100 * row["ap50 red std"])
    assert (study["FLOPs"], study["Params"], study["FLOPs std"]) == (4.5, 2.0, None)
    stored = json.loads((tmp_path / "study.json").read_text(), parse_constant=pytest.fail)
    assert stored["paper"] == result["paper"]
    with (tmp_path / "paper.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert [line["source"] for line in lines] == [line["source"] for line in result["paper"]]
    assert float(lines[0]["AP"]) == 41.2


def test_a_study_without_a_paper_has_no_such_part() -> None:
    assert paper_text((), []) == ""


def test_a_score_that_the_data_lacks_is_a_dash() -> None:
    columns = {"A": "ap50 tram", "B": "gflops"}
    table = PaperTable(title="t", columns=columns, rows=(PaperRow(name="r", arm="none"),))
    row = ArmRow(student="s", teacher="-", arm="none", model="", epochs=1, seeds=(0,), scores={})
    assert paper_text([table], [row]).splitlines()[-1] == "| s, none | study | - | - |"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"map50_95"', '"map"', "AP = 'map'"),
        ('"size small"', '"size"', "AP_S = 'size'"),
        ("AP = 41.8", "APx = 41.8", "'APx'"),
        ('"map50_95"', '["map50_95"]', "AP = ['map50_95']"),
        ("AP = 41.8", 'AP = "41.8"', "AP = '41.8'"),
        ("AP = 41.8", "AP = nan", "AP = nan"),
        ("values = { AP = 40.0 }", "values = 3", "values = 3"),
        ('name = "Other method", ', "", "name"),
    ],
)
def test_a_table_that_cannot_be_shown_is_refused(load: Any, before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(UsageError) as error:
        load(text=TEXT.replace(before, after, 1))
    assert message in str(error.value)


PAIRS = """
recipe = "traffic-lights"
seeds = [0]
arms = ["none", "fgfi"]
pairs = [["n", "s"], ["s", "m"]]
[students]
n = "yolov5n"
s = "yolov5s"
[teachers]
s = "S"
m = "M"
"""


def test_only_the_pairs_that_are_named_are_trained(load: Any) -> None:
    cells = load(text=PAIRS)[1]
    assert [(c.student, c.teacher, c.arm, c.recipe.teacher) for c in cells if c.arm == "fgfi"] == [
        ("n", "s", "fgfi", "S"),
        ("s", "m", "fgfi", "M"),
    ]
    assert [(c.student, c.teacher) for c in cells if c.arm == "none"] == [("n", "-"), ("s", "-")]


@pytest.mark.parametrize(
    ("pair", "message"), [('["x", "s"]', "student of this study"), ('["n", "x"]', "teacher of this study")]
)
def test_a_pair_of_unknown_networks_is_refused(load: Any, pair: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(f"pairs=[{pair}]", text=PAIRS)
