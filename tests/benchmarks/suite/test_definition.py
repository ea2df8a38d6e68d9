"""The definition of a suite: its cells, and what is refused."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suite.definition import FORMATS, load_suite, suite_names, suite_of
from edgestill.errors import UsageError

AXES: dict[str, Any] = {
    "precisions": ["fp32", "fp16", "int8"],
    "backends": ["ort", "ov", "trt"],
    "scenarios": ["single", "offline", "paced", "multi"],
    "threads": [1, 2, 4],
    "sizes": ["own", "320x576", 640],
}


def _subset(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, unique_by=str)


@given(st.fixed_dictionaries({name: _subset(values) for name, values in AXES.items()}), st.integers(1, 3))
def test_the_cells_are_all_combinations_once(matrix: dict[str, list[Any]], models: int) -> None:
    content = {"models": {f"m{k}": "student" for k in range(models)}, "matrix": matrix}
    cells = suite_of(content, "mine.toml").cells()
    sizes = ["640x640" if size == 640 else size for size in matrix["sizes"]]
    wanted = set(
        product(
            content["models"],
            sizes,
            matrix["precisions"],
            matrix["backends"],
            matrix["threads"],
            matrix["scenarios"],
        )
    )
    names = ("model", "size", "precision", "backend", "threads", "scenario")
    assert {tuple(cell.values()[name] for name in names) for cell in cells} == wanted
    assert len(cells) == len(wanted) == len({cell.key for cell in cells})
    assert all(cell.file.format == FORMATS[cell.backend] for cell in cells)


def test_bf16_is_of_openvino_only() -> None:
    content = {**MODELS, "matrix": {"precisions": ["fp32", "bf16"], "backends": ["ort", "ov"]}}
    found = {(cell.backend, cell.file.precision) for cell in suite_of(content, "mine.toml").cells()}
    assert found == {("ort", "fp32"), ("ov", "fp32"), ("ov", "bf16")}


def test_cells_with_all_values_of_a_table_are_left_out() -> None:
    content = {
        "models": {"a": "student", "b": "teacher"},
        "matrix": {"precisions": ["fp32", "int8"], "backends": ["ort", "ov"], "sizes": [320, "own"]},
        "leave_out": [{"model": "b", "precision": "int8"}, {"size": 320, "backend": "ov"}],
    }
    found = [cell.values() for cell in suite_of(content, "mine.toml").cells()]
    assert len(found) == 16 - 4 - 3
    assert not [v for v in found if v["model"] == "b" and v["precision"] == "int8"]
    assert not [v for v in found if v["size"] == "320x320" and v["backend"] == "ov"]


def test_the_shipped_suites_can_be_read_and_take_other_models() -> None:
    assert "x86" in suite_names()
    for name in suite_names():
        assert load_suite(name).cells()
        suite = load_suite(name, {"mine": "mine.pt", "other": "other.pt"})
        assert set(suite.models) == {"mine", "other"} == {cell.file.model for cell in suite.cells()}


MODELS = {"models": {"a": "student"}}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({**MODELS, "matrix": {"precision": ["fp32"]}}, "precision"),
        ({**MODELS, "matrices": {}}, "matrices"),
        ({**MODELS, "matrix": {"precisions": "fp32"}}, "not a list"),
        ({**MODELS, "matrix": {"precisions": ["fp8"]}}, "fp8"),
        ({**MODELS, "matrix": {"precisions": [["fp32"]]}}, "fp32"),
        ({**MODELS, "matrix": {"backends": ["ort", "ort"]}}, "twice"),
        ({**MODELS, "matrix": {"backends": []}}, "no cells"),
        ({**MODELS, "matrix": {"threads": [0]}}, "threads is 0"),
        ({**MODELS, "matrix": {"threads": [True]}}, "threads is True"),
        ({**MODELS, "matrix": {"threads": ["two"]}}, "threads is 'two'"),
        ({**MODELS, "matrix": {"threads": list(range(1, 6000)), "sizes": [32, 64]}}, "cells"),
        ({**MODELS, "matrix": {"visits": 0}}, "visits is 0"),
        ({**MODELS, "matrix": {"visits": 1.5}}, "visits is 1.5"),
        ({**MODELS, "matrix": {"duration_s": float("nan")}}, "duration_s is nan"),
        ({**MODELS, "matrix": {"sizes": ["big"]}}, "HxW"),
        ({**MODELS, "matrix": {"sizes": ["1x2x3"]}}, "HxW"),
        ({**MODELS, "matrix": []}, "matrix is not a table"),
        ({**MODELS, "leave_out": [{"colour": "red"}]}, "colour"),
        ({**MODELS, "leave_out": ["ort"]}, "no table"),
        ({**MODELS, "leave_out": [{"model": "a"}]}, "no cells"),
        ({"models": {"../a": "student"}}, "no name of a model"),
        ({"models": {"a": 3}}, "not a table of checkpoints"),
        ({}, "no cells"),
    ],
)
def test_what_is_no_suite_is_refused(content: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        suite_of(content, "mine.toml")


def test_a_missing_file_and_one_that_is_no_toml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no suite is called 'x68'") as error:
        load_suite("x68")
    assert "x86" in error.value.hint
    broken = tmp_path / "broken.toml"
    broken.write_text("[matrix\n")
    with pytest.raises(UsageError, match="not TOML"):
        load_suite(str(broken))
