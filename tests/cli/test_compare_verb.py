"""``edgestill compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgestill.cli.main import main
from edgestill.cli.verbs import compare


def write(path: Path, inference_ms: float) -> str:
    samples = {stage: [1.0] * 80 for stage in ("decode", "letterbox", "postprocess")}
    model: dict[str, Any] = {
        "name": path.stem,
        "samples_ms": {**samples, "inference": [inference_ms + 0.01 * (i % 7) for i in range(80)]},
        "rounds": [i // 8 for i in range(80)],
        "environment": {},
    }
    path.write_text(json.dumps({"kind": "bench", "models": [model]}))
    return str(path)


def test_the_verdict_and_its_interval_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", write(tmp_path / "a.json", 20), write(tmp_path / "b.json", 10)]) == 0
    result = json.loads(capsys.readouterr().out)
    inference = next(c for c in result["comparisons"] if c["measure"] == "inference")
    assert inference["verdict"] == "faster"
    assert inference["low"] <= inference["ratio"] <= inference["high"]


def test_a_person_gets_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", write(tmp_path / "a.json", 20), write(tmp_path / "b.json", 10)])
    console = Console(width=200, record=True)
    console.print(compare.show(json.loads(capsys.readouterr().out)))
    text = console.export_text()
    assert "b against a, inference: 0.50" in text
    assert "warning: measured in two runs" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "does not exist", id="missing"),
        pytest.param("{", "is not readable JSON", id="broken"),
        pytest.param('{"kind": "eval"}', "wrong.json is not a result of bench (kind 'eval')", id="other"),
        pytest.param("{}", "wrong.json is not a result of bench (kind None)", id="empty"),
        pytest.param("[]", "wrong.json is not a result of bench (kind 'list')", id="list"),
        pytest.param('"bench"', "wrong.json is not a result of bench (kind 'str')", id="text"),
        pytest.param("[" * 100_000, "wrong.json is not readable JSON", id="deep"),
        pytest.param('{"kind": "bench"}', "wrong.json is not a result of bench", id="no-models"),
        pytest.param('{"kind": "bench", "models": 3}', "wrong.json is not a result", id="models-is-a-number"),
        pytest.param('{"kind": "bench", "models": [3]}', "wrong.json is not a result", id="model-is-3"),
        pytest.param('{"kind": "bench", "models": [{"name": "m"}]}', "wrong.json has no samples", id="none"),
    ],
)
def test_what_is_no_result_of_bench_is_a_data_error(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    if content is not None:
        wrong.write_text(content)
    good = write(tmp_path / "b.json", 10)
    for pair in ([str(wrong), good], [good, str(wrong)]):
        assert main(["compare", *pair]) == 3
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 2
