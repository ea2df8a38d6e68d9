"""The TensorRT backend beyond what all backends share: whose engine it is, and where it may run."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.manifest import Manifest, manifest_path, read_manifest, write_manifest
from runtime.backend import open_backend
from runtime.detector import open_detector
from tests.standins.versions import VERSIONS

Build = Callable[..., Path]


def feed() -> dict[str, Any]:
    return {"images": np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)}


@VERSIONS
def test_every_version_runs_the_network_that_it_was_built_from(
    version: str, lamp_engine: Build, lamp_model: Path
) -> None:
    engine = lamp_engine(version)
    reference = open_backend(lamp_model, threads=1).infer(feed())["output0"]
    np.testing.assert_allclose(open_backend(engine).infer(feed())["output0"], reference, atol=1e-6)


@VERSIONS
def test_the_inspector_tells_the_layers(version: str, lamp_engine: Build) -> None:
    assert open_backend(lamp_engine(version)).layers_by_dtype() == {"float32": 1}


def test_closing_frees_everything(lamp_engine: Build, on_gpu: Callable[..., Any]) -> None:
    engine = lamp_engine("10.3.0")
    cuda = ctypes.CDLL("libcuda.so.1")
    loaded = open_backend(engine)
    # A stream, six events, and for one input and one output a buffer on the host and one on the device.
    assert len(cuda.live) == 11
    loaded.infer(feed())
    assert len(cuda.live) == 12  # and the CUDA graph
    loaded.close()
    assert (cuda.live, cuda.retained) == ({}, [0])


def test_an_engine_is_loaded_and_run_on_the_device_that_is_asked_for(
    lamp_engine: Build, lamp_model: Path
) -> None:
    engine = lamp_engine("10.3.0", cuda={"count": 3})
    cuda = ctypes.CDLL("libcuda.so.1")
    loaded = open_backend(engine, device="cuda:2")
    assert cuda.retained == [0, 0, 1]
    assert loaded.device == "cuda:2: NVIDIA L4"
    wanted = open_backend(lamp_model, threads=1).infer(feed())["output0"]
    for _ in range(3):
        np.testing.assert_allclose(loaded.infer(feed())["output0"], wanted, atol=1e-6)
    assert cuda.current == 0
    loaded.close()
    assert cuda.retained == [0, 0, 0]


def test_a_device_that_is_not_there_is_an_error_of_two_lines(lamp_engine: Build) -> None:
    engine = lamp_engine("10.3.0", cuda={"count": 2})
    with pytest.raises(DeviceError, match="there is no CUDA device 2; 2 are visible") as caught:
        open_backend(engine, device="cuda:2")
    assert "cuda:0 to cuda:1" in caught.value.hint


@pytest.mark.parametrize("integrated", [False, True])
def test_an_engine_gives_the_same_with_and_without_copies(
    integrated: bool, lamp_engine: Build, lamp_model: Path
) -> None:
    engine = lamp_engine("10.3.0", cuda={"integrated": integrated})
    loaded = open_backend(engine)
    wanted = open_backend(lamp_model, threads=1).infer(feed())["output0"]
    np.testing.assert_allclose(loaded.infer(feed())["output0"], wanted, atol=1e-6)
    copies = [name for name in ctypes.CDLL("libcuda.so.1").calls if "Memcpy" in name]
    assert bool(copies) != integrated
    assert loaded.conditions["cuda_memory"].startswith("mapped" if integrated else "copied")


def test_a_fixed_engine_is_captured_after_its_first_run(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0"))
    assert loaded.conditions["cuda_graph"] == "not captured before the first run"
    first = loaded.infer(feed())["output0"]
    assert loaded.conditions["cuda_graph"] == "yes"
    runs: list[int] = []
    context = sys.modules["tensorrt"].IExecutionContext
    context.execute_async_v3 = lambda self, stream: runs.append(stream)
    other = {"images": 1 - feed()["images"]}
    assert not np.array_equal(loaded.infer(other)["output0"], first)
    np.testing.assert_array_equal(loaded.infer(feed())["output0"], first)
    assert runs == []  # TensorRT is not called again


def test_gpu_time_is_that_of_the_events(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0"))
    assert loaded.gpu_ms == 0
    loaded.infer(feed())
    loaded.infer(feed())
    assert loaded.gpu_ms == 3.0  # 1.5 ms a run; the run that checks the graph does not count
    assert loaded.transfers_ms == (3.0, 3.0)


def test_mapped_memory_has_no_copies_to_time(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0", cuda={"integrated": True}))
    loaded.infer(feed())
    assert loaded.conditions["cuda_memory"] == "mapped"
    assert loaded.transfers_ms is None


def refuse_capture(self: Any, stream: int) -> bool:
    """As TensorRT does if a layer waits for the GPU."""
    library: Any = ctypes.CDLL("libcuda.so.1")
    return bool(library.cuStreamSynchronize(stream) == 0)


def test_an_engine_that_cannot_be_captured_runs_without_a_graph(
    lamp_engine: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = open_backend(lamp_engine("10.3.0"))
    context = sys.modules["tensorrt"].IExecutionContext
    run = context.execute_async_v3
    context.execute_async_v3 = lambda self, stream: run(self, stream) and refuse_capture(self, stream)
    first = loaded.infer(feed())["output0"]
    assert loaded.conditions["cuda_graph"] == "no: TensorRT refused to run the engine"
    np.testing.assert_array_equal(loaded.infer(feed())["output0"], first)
    loaded.close()
    cuda: Any = ctypes.CDLL("libcuda.so.1")
    assert (cuda.live, cuda.retained) == ({}, [0])


def test_a_graph_with_other_outputs_is_not_used(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0"))
    context = sys.modules["tensorrt"].IExecutionContext
    run, calls = context.execute_async_v3, []

    def once(self: Any, stream: int) -> bool:
        calls.append(stream)
        return True if len(calls) == 2 else bool(run(self, stream))  # nothing is captured

    context.execute_async_v3 = once
    first = loaded.infer(feed())["output0"]
    assert loaded.conditions["cuda_graph"] == "no: its outputs differ from those of a run without it"
    np.testing.assert_array_equal(loaded.infer(feed())["output0"], first)
    assert len(calls) == 3
    loaded.close()
    cuda: Any = ctypes.CDLL("libcuda.so.1")
    assert (cuda.live, cuda.retained) == ({}, [0])


def test_a_driver_without_graphs_runs_the_engine(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0", cuda={"graphs": False}))
    first = loaded.infer(feed())["output0"]
    assert loaded.conditions["cuda_graph"] == "no: the driver is older than CUDA 11.4"
    np.testing.assert_array_equal(loaded.infer(feed())["output0"], first)


def test_an_engine_without_a_manifest_is_refused(lamp_engine: Build) -> None:
    engine = lamp_engine("10.3.0")
    manifest_path(engine).unlink()
    with pytest.raises(ArtifactError, match="native code without a manifest") as caught:
        open_backend(engine)
    assert "--trust-engine" in caught.value.hint


def test_an_engine_that_was_changed_is_refused(lamp_engine: Build) -> None:
    engine = lamp_engine("10.3.0")
    engine.write_bytes(engine.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="is not the file that its manifest describes"):
        open_backend(engine)


def test_a_strangers_manifest_does_not_make_an_engine_ours(
    lamp_engine: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever ships an engine can ship a manifest that names this machine; the mark he cannot make."""
    engine = lamp_engine("10.3.0")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another user"))
    with pytest.raises(ArtifactError, match="was not built by you on this machine"):
        open_backend(engine)
    assert open_backend(engine, trust_engine=True).layers_by_dtype() == {"float32": 1}


def test_a_mark_of_another_engine_does_not_count(lamp_engine: Build) -> None:
    engine = lamp_engine("10.3.0")
    manifest = read_manifest(engine)
    assert manifest is not None
    assert manifest.built_on is not None
    write_manifest(engine, replace(manifest, built_on={**manifest.built_on, "mark": "0" * 64}))
    with pytest.raises(ArtifactError, match="was not built by you"):
        open_backend(engine)


@pytest.mark.parametrize(
    ("version", "cuda", "said"),
    [
        ("10.4.0", {}, r"version is 10\.4\.0, was 10\.3\.0"),
        (
            "10.3.0",
            {"name": "NVIDIA A10", "capability": (8, 6), "sms": 72},
            "the GPU is NVIDIA A10, was NVIDIA L4",
        ),
        ("10.3.0", {"sms": 20}, "multiprocessors is 20, was 58"),
    ],
)
def test_an_engine_of_another_machine_is_refused_by_what_differs(
    version: str,
    cuda: dict[str, Any],
    said: str,
    lamp_engine: Build,
    on_gpu: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = lamp_engine("10.3.0")
    home = os.environ["XDG_DATA_HOME"]
    on_gpu(version, cuda=cuda)
    monkeypatch.setenv("XDG_DATA_HOME", home)
    with pytest.raises(ArtifactError, match=said) as caught:
        open_backend(engine)
    assert "edgestill export CKPT --to tensorrt" in caught.value.hint


def test_a_later_version_may_run_what_was_built_for_it(
    lamp_engine: Build, make_tensorrt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lamp_engine("10.3.0", portable=("version",))
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt("11.4.0"))
    assert open_backend(engine).infer(feed())["output0"].shape == (1, 6, 9)


def test_no_driver_is_a_device_error(lamp_engine: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = lamp_engine("10.3.0")

    def absent(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        open_backend(engine)


def test_a_v100_under_a_tensorrt_that_left_it_is_a_device_error(
    lamp_engine: Build, on_gpu: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lamp_engine("10.16.1")
    on_gpu("10.16.1", cuda={"name": "Tesla V100-SXM2-16GB", "capability": (7, 0)})
    with pytest.raises(DeviceError, match=r"10\.4 is the last"):
        open_backend(engine, trust_engine=True)


@pytest.mark.parametrize("device", ["cpu", "gpu", "cuda:x"])
def test_an_engine_runs_on_nothing_but_cuda(device: str, lamp_engine: Build) -> None:
    with pytest.raises(DeviceError, match="trt has no device"):
        open_backend(lamp_engine("10.3.0"), device=device)


def test_another_format_is_no_engine(lamp_model: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an engine"):
        open_backend(lamp_model, "trt")


def test_what_tensorrt_cannot_load_is_told(lamp_engine: Build, tmp_path: Path) -> None:
    lamp_engine("10.3.0")
    (tmp_path / "x.engine").write_bytes(b"\x00" * 64)
    with pytest.raises(ArtifactError, match=r"TensorRT 10\.3\.0 cannot load"):
        open_backend(tmp_path / "x.engine", trust_engine=True)


def test_an_engine_of_yolo_export_runs_once_it_is_trusted(
    lamp_engine: Build, lamp_spec: Any, tmp_path: Path
) -> None:
    """It begins with the length of a JSON text, and the text."""
    names = dict(enumerate(lamp_spec.classes))
    about = json.dumps({"task": "detect", "names": names, "stride": 32, "imgsz": [64, 96]}).encode()
    foreign = tmp_path / "foreign.engine"
    plan = lamp_engine("10.3.0").read_bytes()
    foreign.write_bytes(len(about).to_bytes(4, "little", signed=True) + about + plan)
    detector = open_detector(foreign, trust_engine=True)
    assert detector.spec.classes == lamp_spec.classes
    with pytest.raises(ArtifactError, match="native code"):
        open_detector(foreign)


@pytest.mark.parametrize("about", [b"[" * 60_000, b'{"a":' * 60_000, b"\xff{}"])
def test_a_header_that_is_no_json_is_none(about: bytes, lamp_engine: Build, tmp_path: Path) -> None:
    plan = lamp_engine("10.3.0").read_bytes()
    (tmp_path / "x.engine").write_bytes(len(about).to_bytes(4, "little", signed=True) + about + plan)
    with pytest.raises(ArtifactError, match=r"TensorRT 10\.3\.0 cannot load"):
        open_backend(tmp_path / "x.engine", trust_engine=True)


def test_a_closed_engine_says_so(lamp_engine: Build) -> None:
    loaded = open_backend(lamp_engine("10.3.0"))
    loaded.close()
    with pytest.raises(UsageError, match="the model is closed"):
        loaded.infer(feed())


def test_the_key_of_the_mark_is_the_users_alone(lamp_engine: Build) -> None:
    lamp_engine("10.3.0")
    key = Path(os.environ["XDG_DATA_HOME"]) / "edgestill" / "engine.key"
    assert key.stat().st_mode & 0o077 == 0
    assert len(key.read_bytes()) == 32
    assert [path.name for path in key.parent.iterdir()] == ["engine.key"]


def test_the_manifest_survives_its_file(lamp_engine: Build) -> None:
    manifest = read_manifest(lamp_engine("10.3.0"))
    assert isinstance(manifest, Manifest)
    assert asdict(manifest)["built_on"]["gpu"] == "NVIDIA L4"
