"""The builder's process: what it leaves when it succeeds, gives up, crashes, or takes too much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import ArtifactError, DeviceError
from export.tensorrt import child, worker
from export.tensorrt.child import build_in_child
from export.tensorrt.options import NO_LIMIT, EngineOptions

VERSION = "10.16.1"


@pytest.fixture
def graph(graphs: dict[str, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs["fp16"])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def test_the_answer_is_the_engine_its_layers_and_the_timing_cache(
    graph: Path, folder: Path, on_gpu: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    on_gpu(VERSION, breaks="chatter")
    (folder / "timing.cache").write_bytes(b"seen")
    answer = build_in_child("tensorrt", graph, "fp16", EngineOptions(), folder)
    assert answer.plan.stat().st_size > 1000
    assert answer.inspected is not None
    assert answer.timing_cache.read_bytes() == b"seen."
    assert answer.strongly_typed
    assert capfd.readouterr().out == ""  # what the library prints is not among our results
    assert "a line that TensorRT prints" in (folder / "log.txt").read_text()


def test_a_crash_is_an_error_with_the_last_words(
    graph: Path, folder: Path, on_gpu: Callable[..., Any]
) -> None:
    on_gpu(VERSION, breaks="abort")
    with pytest.raises(DeviceError, match="was killed by SIGABRT: terminate called after throwing") as caught:
        build_in_child("tensorrt", graph, "fp16", EngineOptions(memory_mib=2000), folder)
    assert "its memory limit is 2000 MiB: raise --build-memory-mib" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.slow
def test_memory_runs_out_in_the_builder_and_not_on_the_machine(
    graph: Path, folder: Path, on_gpu: Callable[..., Any]
) -> None:
    on_gpu(VERSION, breaks="memory")
    with pytest.raises(DeviceError, match=r"ended with status 1: .*MemoryError"):
        build_in_child("tensorrt", graph, "fp16", EngineOptions(memory_mib=1500), folder)


def test_an_error_of_ours_comes_through_as_it_was(
    folder: Path, tmp_path: Path, on_gpu: Callable[..., Any]
) -> None:
    on_gpu(VERSION)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match="failed to parse") as caught:
        build_in_child("tensorrt", tmp_path / "broken.onnx", "fp16", EngineOptions(), folder)
    assert "edgestill inspect" in caught.value.hint


def test_a_builder_without_a_limit_has_none(
    graph: Path, folder: Path, on_gpu: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    on_gpu(VERSION, breaks="abort")
    with pytest.raises(DeviceError, match="was killed by SIGABRT") as caught:
        build_in_child("tensorrt", graph, "fp16", EngineOptions(memory_mib=NO_LIMIT), folder)
    assert "memory limit" not in caught.value.hint


@pytest.mark.parametrize(("asked", "limited"), [(3000, True), (NO_LIMIT, False)])
def test_the_limit_is_that_of_the_options(asked: int, limited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(worker.resource, "setrlimit", lambda which, pair: limits.append((which, pair[0])))
    monkeypatch.setattr(worker, "WORST_OOM_SCORE", 0)
    assert worker._limit(asked) is None
    assert ((worker.resource.RLIMIT_DATA, 3000 << 20) in limits) is limited


def test_a_limit_that_cannot_be_set_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, pair: tuple[int, int]) -> None:
        if which == worker.resource.RLIMIT_DATA:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(worker.resource, "setrlimit", refuse)
    monkeypatch.setattr(worker, "WORST_OOM_SCORE", 0)
    warning = worker._limit(3000)
    assert warning is not None
    assert "runs without its memory limit of 3000 MiB: not allowed" in warning


def test_a_warning_of_the_builder_is_shown(
    graph: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: Path, log: Path, label: str) -> int:
        fields = {"inspected": None, "listed": None, "fallbacks": [], "strongly_typed": True}
        (request.parent / "answer.json").write_text(json.dumps({**fields, "warning": "no limit here"}))
        return 0

    monkeypatch.setattr(child, "_run", answer)
    build_in_child("tensorrt", graph, "fp16", EngineOptions(), folder)
    assert "no limit here" in capsys.readouterr().err
