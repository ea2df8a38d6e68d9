"""The steps of a job, in this process: the words of their commands, and what is left out."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgestill.remote.far import steps
from edgestill.remote.far.places import read_json
from edgestill.remote.far.steps import Bundle, run_steps
from export.bundle.reading import unpack_bundle

NAMES = st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), max_size=12)


@pytest.fixture
def there(bundle: Path, tmp_path: Path) -> Path:
    unpack_bundle(bundle, tmp_path / "there; touch hacked")
    return tmp_path / "there; touch hacked"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for name in ("out", "results"):
        (tmp_path / "job" / name).mkdir(parents=True)
    return tmp_path / "job"


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "models": [], "words": [], "if_missing": True, "python": None, **more}


def run(there: Path, job: Path, *todo: dict[str, Any]) -> dict[str, Any]:
    run_steps(Bundle(there), job, list(todo))
    found: dict[str, Any] = read_json(job / "state.json")
    return found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(NAMES, max_size=5))
@example(words=["$(touch hacked)", "`touch hacked`", "; touch hacked", "' \" \\", "--source", "-x", "", "*"])
def test_no_shell_reads_the_words_of_a_request(words: list[str], there: Path, job: Path) -> None:
    assert run(there, job, step("bench", words=words))["state"] == "done"
    assert (there / "words-bench").read_bytes().decode().split("\n")[1:-1] == words
    assert list(there.parent.rglob("hacked")) == []


def test_an_engine_is_built_once_for_each_tensorrt_and_then_measured(there: Path, job: Path) -> None:
    todo = [step(name) for name in ("install", "build", "layers", "bench")]
    first = run(there, job, *todo)
    assert first["skipped"] == {"build": "there is no TensorRT", "layers": "there is no engine"}
    assert (there / "words-bench").read_text() == f"{there / 'models/tiny/tiny.onnx'}\n"

    (there / "tensorrt").write_text("10.3.0\n")
    second = run(there, job, *todo)
    engine = there / "installed/engines/tiny.trt.engine"
    assert second["skipped"] == {"install": "done before"}
    assert read_json(job / "results" / "layers-tiny.json")["verb"] == "inspect"
    assert (there / "words-inspect").read_text() == f"{engine}\n--layers\n"
    assert (there / "words-bench").read_text() == f"{engine}\n"

    third = run(there, job, *todo)
    assert third["skipped"]["build"] == "done before, by TensorRT 10.3.0"
    assert "build" not in run(there, job, step("build", if_missing=False))["skipped"]

    (there / "tensorrt").write_text("10.7.0\n")
    assert "build" not in run(there, job, *todo)["skipped"]


def test_what_a_step_leaves_running_is_ended_with_it(
    there: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(steps, "end_group", lambda group: (ended.append(group), os.killpg)[0])
    run(there, job, step("verify"))
    assert ended == [read_json(job / "state.json")["group"]]


def test_a_step_that_was_killed_says_by_what(there: Path, job: Path) -> None:
    (there / "run.sh").write_text("kill -9 $$\n")
    found = run(there, job, step("verify"))
    assert (found["state"], found["code"]) == ("failed", 5)
    assert found["what"] == f"it was ended there by {signal.SIGKILL.name}"
    assert "dmesg" in found["hint"]


@pytest.mark.parametrize("text", ["", "x" * 100_000, "run.sh verify: a\n  hint: b\n"])
def test_the_last_words_of_a_step_are_its_error(text: str, there: Path, job: Path) -> None:
    (there / "fail-verify").write_text(text)
    (there / "run.sh").write_text('cat "$(dirname "$0")/fail-verify" >&2\nexit 6\n')
    found = run(there, job, step("verify"))
    assert found["code"] == 6
    assert found["what"] in {"a", "verify ...", "x" * len(found["what"])}
    assert found["hint"] in {"b", "fetch brings the log"}


def test_a_folder_that_cannot_be_written_is_told(there: Path, job: Path) -> None:
    (job / "results").rmdir()
    found = run(there, job, step("verify"))
    assert (found["state"], found["code"]) == ("failed", 5)
    assert "No such file" in found["what"]


def test_a_process_is_told_from_a_later_one_of_its_number() -> None:
    mine = steps._began(os.getpid())
    assert mine is not None
    assert steps.is_left_over({"group": os.getpid(), "began": mine})
    assert not steps.is_left_over({"group": os.getpid(), "began": f"{mine}0"})
    assert not steps.is_left_over({"group": os.getpid(), "began": None})
    assert not steps.is_left_over({})
