"""The same results as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report.blocks import (
    Card,
    Commands,
    Details,
    Doubts,
    Heading,
    Picture,
    Pictures,
    Plot,
    Prose,
    Section,
    Table,
)
from benchmarks.report.markdown import write_markdown
from benchmarks.report.measures_csv import write_csv
from benchmarks.report.page import write_report
from benchmarks.report.sections import build_sections
from edgestill.errors import DataError, DeviceError, UsageError


def markdown(tmp_path: Path, *blocks: Any, **settings: Any) -> str:
    section = Section(title="Part", blocks=list(blocks))
    return write_markdown([section], tmp_path / "a.md", title="T", force=True, **settings).read_text("utf-8")


def rows_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


def test_all_blocks_have_their_markdown(tmp_path: Path) -> None:
    picture = Picture(data=b"", mime="image/png", caption="a frame")
    text = markdown(
        tmp_path,
        Heading("Head"),
        Prose("Words."),
        Table(columns=("model", "time\nmilliseconds"), rows=[["a", 1.5], ["b", None]], caption="Times."),
        Plot(svg="<svg></svg>", caption="Curves."),
        Pictures([picture]),
        picture,
        Commands(["edgestill bench a"]),
        Doubts(["noisy"]),
        Details(summary="More", blocks=[Prose("Inner.")]),
        cards=[Card(value="9 ms", label="fast")],
    )
    for line in (
        "# T",
        "- **9 ms** fast",
        "## Part",
        "### Head",
        "| model | time, milliseconds |",
        "| --- | ---: |",
        "| a | 1.50 |",
        "| b | – |",
        "Plot (in the HTML page): Curves.",
        "Image (in the HTML page): a frame",
        "```console",
        "- noisy",
        "**More**",
        "Inner.",
    ):
        assert line in text.splitlines()
    assert "<svg" not in text


@settings(deadline=None, max_examples=80)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_any_text_stays_in_its_cell(tmp_path_factory: pytest.TempPathFactory, a: str, b: str) -> None:
    folder = tmp_path_factory.mktemp("cells")
    rows = rows_of(markdown(folder, Table(columns=("x", "y"), rows=[[f"_{a}", f"_{b}"]])))
    assert [len(row) for row in rows] == [2, 2, 2]


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    text = markdown(tmp_path, Prose("<b>a</b> *b* `c` [d](e) _f_ map50_95"))
    assert r"\<b\>a\</b\> \*b\* \`c\` \[d\](e) \_f\_ map50_95" in text


def test_a_command_with_backticks_stays_in_its_block(tmp_path: Path) -> None:
    assert "````console" in markdown(tmp_path, Commands(["echo ```"]))


BENCH: dict[str, Any] = {
    "kind": "bench",
    "scenario": "single",
    "models": [
        {
            "name": "a.onnx",
            "backend": "ort",
            "precision": "int8",
            "p50_ms": 2.5,
            "p99_ms": None,
            "p99_reason": "52 samples are too few",
            "stages_ms": {"inference": 2.0},
            "samples_ms": {"inference": [2.0, 2.0]},
            "environment": {"threads": 1},
        }
    ],
    "ratios": [{"a": "a.onnx", "b": "b.onnx", "measure": "frame", "ratio": 0.5, "low": 0.4, "high": 0.6}],
}
EVAL: dict[str, Any] = {
    "kind": "eval",
    "model": "/data/runs/a.onnx",
    "data": "/data/street/data.yaml",
    "split": "test",
    "map50": 0.5,
    "map50_95": 0.25,
    "per_class": {"red": {"ap50": 0.5, "labels": 3}, "off": {"ap50": None, "labels": 0}},
    "setting": {"conf": 0.001},
}


def lines(tmp_path: Path, *results: dict[str, Any]) -> list[dict[str, str]]:
    named = [(f"/data/results/{i}.json", result) for i, result in enumerate(results)]
    count = write_csv(named, tmp_path / "a.csv", force=True)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"))))
    assert len(rows) == count
    return rows


def test_a_line_for_each_model_and_measure(tmp_path: Path) -> None:
    found = {(row["model"], row["measure"]): row for row in lines(tmp_path, BENCH)}
    assert set(found) == {
        ("a.onnx", "p50_ms"),
        ("a.onnx", "p99_ms"),
        ("a.onnx", "stages_ms.inference"),
        *(("b.onnx", f"frame.against a.onnx.{key}") for key in ("ratio", "low", "high")),
    }
    row = found["a.onnx", "p50_ms"]
    expected = {"kind": "bench", "scenario": "single", "backend": "ort", "precision": "int8"}
    assert row.items() >= {**expected, "value": "2.5", "unit": "milliseconds"}.items()
    assert found["a.onnx", "p99_ms"]["value"] == ""
    assert found["a.onnx", "p99_ms"]["reason"] == "52 samples are too few"


def test_parts_that_were_not_measured_have_a_line_with_the_reason(tmp_path: Path) -> None:
    model = {
        "name": "a",
        "age_ms": {"p50": 2.0, "p99": None},
        "age_upper_ms": {"p50": 3.0, "p99": None},
        "age_reason": {"p99": "too few"},
    }
    rows = lines(tmp_path, {"kind": "bench", "scenario": "paced", "models": [model]})
    found = {row["measure"]: (row["value"], row["unit"], row["reason"]) for row in rows}
    assert found == {
        "age_ms.p50": ("2.0", "milliseconds", ""),
        "age_upper_ms.p50": ("3.0", "milliseconds", ""),
        "age_ms.p99": ("", "milliseconds", "too few"),
        "age_upper_ms.p99": ("", "milliseconds", "too few"),
    }


def test_scores_have_their_data_and_no_absolute_path(tmp_path: Path) -> None:
    rows = lines(tmp_path, EVAL)
    assert {row["measure"] for row in rows} == {
        "map50",
        "map50_95",
        "per_class.red.ap50",
        "per_class.red.labels",
        "per_class.off.labels",
    }
    assert {(row["model"], row["data"], row["split"]) for row in rows} == {
        ("runs/a.onnx", "street/data.yaml", "test")
    }
    assert "/data/" not in (tmp_path / "a.csv").read_text("utf-8")


def test_markdown_needs_no_library_for_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    bench = BENCH | {"ratios": []}
    sections = build_sections([("bench.json", bench)])
    assert (
        "Plot (in the HTML page): Median"
        in write_markdown(sections, tmp_path / "a.md", title="T").read_text()
    )
    with pytest.raises(DeviceError, match="needs 'matplotlib'"):
        write_report(sections, tmp_path / "a.html", title="T")
    assert not (tmp_path / "a.html").exists()


def test_what_is_no_result_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.json"):
        write_csv([("a.json", EVAL), ("b.json", {"kind": "bench"})], tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_neither_format_replaces_a_file_unasked(tmp_path: Path) -> None:
    for name in ("a.md", "a.csv"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_markdown([], tmp_path / "a.md", title="T")
    with pytest.raises(UsageError, match="exists already"):
        write_csv([("a.json", EVAL)], tmp_path / "a.csv")


def test_an_unknown_result_has_its_numbers_in_both(tmp_path: Path) -> None:
    result = {"kind": "doctor", "memory_mib": 12345, "ok": True}
    sections = build_sections([("doctor.json", result)])
    text = write_markdown(sections, tmp_path / "d.md", title="T").read_text("utf-8")
    assert "| memory_mib | 12345 | mebibytes |" in text
    (row,) = lines(tmp_path, result)
    assert (row["measure"], row["value"], row["unit"]) == ("memory_mib", "12345", "mebibytes")
