"""The builder's process: what it leaves when it succeeds, gives up, crashes, or takes too much."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgestill.errors import ArtifactError, DeviceError
from export.tensorrt.child import build_in_child
from export.tensorrt.options import EngineOptions

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
