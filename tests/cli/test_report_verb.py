"""``edgestill report``."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import main


@pytest.fixture
def result(tmp_path: Path) -> str:
    path = tmp_path / "doctor.json"
    path.write_text(json.dumps({"kind": "doctor", "matched": 12345}))
    return str(path)


def test_results_and_pictures_become_a_page(
    result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = tmp_path / "frame.png", tmp_path / "page.html"
    cv2.imwrite(str(picture), np.zeros((4, 4, 3), np.uint8))
    assert main(["report", result, str(picture), "--out", str(out), "--title", "My page"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(out)
    text = out.read_text("utf-8")
    assert "<h1>My page</h1>" in text
    assert "12345" in text
    assert "data:image/png" in text


def test_a_page_is_not_replaced_without_force(
    result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    out.write_text("mine")
    assert main(["report", result, "--out", str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_force_replaces_a_page(result: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("mine")
    assert main(["report", result, "--out", str(out), "--force"]) == 0
    assert "12345" in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "does not exist", id="missing"),
        pytest.param("[1]", "a result is a JSON object, this is list", id="a-list"),
        pytest.param("{}", "a result is a JSON object, this is empty", id="nothing"),
        pytest.param('"bench"', "a result is a JSON object, this is str", id="text"),
        pytest.param("null", "a result is a JSON object, this is NoneType", id="null"),
        pytest.param("[" * 100_000, "is not readable JSON", id="deep"),
        pytest.param('{"kind": "bench"}', "a whole result of bench: no models, scenario", id="no-models"),
        pytest.param('{"kind": "verify", "matched": 1}', "verify: no reference_sure", id="half-a-verify"),
        pytest.param('{"kind": "compare", "comparisons": [3]}', "not a whole result: as compare", id="3"),
        pytest.param(
            '{"kind": "bench", "models": [], "scenario": "single"}',
            "is not a whole result: as bench",
            id="no-model",
        ),
        pytest.param(
            '{"kind": "eval", "map50": "high", "map50_95": 1, "per_class": []}',
            "is not a whole result: as eval it has no",
            id="other-types",
        ),
    ],
)
def test_what_is_no_result_is_a_data_error(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    if content is not None:
        wrong.write_text(content)
    good = tmp_path / "good.json"
    good.write_text('{"kind": "doctor"}')
    assert main(["report", str(good), str(wrong), "--out", str(tmp_path / "page.html")]) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"edgestill report: {wrong}")
    assert message in error
    assert error.count("\n") == 2
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("suffix", [".md", ".csv"])
def test_the_suffix_says_the_format(
    suffix: str, result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"page{suffix}"
    assert main(["report", result, "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(out)
    text = out.read_text("utf-8")
    assert "12345" in text
    assert "<html" not in text
    assert main(["report", result, "--out", str(out)]) == 2


def test_a_format_that_is_none_is_a_usage_error(
    result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", result, "--out", str(tmp_path / "page.pdf")]) == 2
    assert ".html, .htm, .md, .csv" in capsys.readouterr().err
    assert not (tmp_path / "page.pdf").exists()
