"""``edgestill export --to tensorrt`` and ``--to tensorrt-rtx`` through the door, and verbs that follow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgestill.cli.main import main
from edgestill.shipped import SHIPPED

SMALL = ("--imgsz", "64x96")
OnGpu = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path, draw_light: Callable[[int], Any]) -> Path:
    seeds = itertools.count()
    for split, count in (("train", 2), ("val", 2)):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.png"), draw_light(next(seeds)))
            (tmp_path / "labels" / split / f"{i}.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [red, yellow, green, off]\n")
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from importlib.util import find_spec

    # The FP32 graph is the reference: torch has its own tests, and costs seconds.
    monkeypatch.setattr(
        "edgestill.cli.verbs.export.find_spec", lambda name: None if name == "torch" else find_spec(name)
    )

    def run(*words: object) -> Any:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


def test_tensorrt_writes_an_engine_its_graph_and_its_papers(
    data: Path, tmp_path: Path, on_gpu: OnGpu, call: Callable[..., Any]
) -> None:
    on_gpu("10.3.0", cuda={"count": 2})
    out = tmp_path / "out"
    told = call(
        *("export", "student", "--to", "tensorrt", "--precision", "int8", *SMALL, "--device", "cuda:1"),
        *("--calib", data, "--max-drop", "100", "--out", out),
    )
    stem = "student-64x96-int8.trt"
    assert [Path(name).name for name in told["files"]] == [f"{stem}.engine", f"{stem}.onnx"]
    assert told["precision_proved"]["executed"]["int8"] >= 50
    assert told["precision_proved"]["executed"]["float16"] <= 10
    assert told["unproved"] == {}
    assert told["verify"]["images"] == 2
    assert "lost accuracy with INT8 on TensorRT 10.3" in told["doubts"][-1]
    papers = json.loads(Path(told["manifest"]).read_text())
    assert papers["built_on"]["version"] == "10.3.0"
    assert papers["calibration"]["method"].startswith("activations s8 symmetric")
    engine = told["files"][0]
    assert call("inspect", engine)["layers_executed"] == told["precision_proved"]["executed"]
    image = data.parent / "images" / "val" / "0.png"
    ran = call("run", engine, "--source", image)
    assert (ran["backend"], ran["device"]) == ("trt", "cuda: NVIDIA L4")
    assert call("run", engine, "--source", image, "--device", "cuda:1")["device"] == "cuda:1: NVIDIA L4"


@pytest.mark.slow
def test_a_bench_of_an_engine_has_gpu_times_and_tells_how_it_ran(
    tmp_path: Path, on_gpu: OnGpu, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu("10.3.0", cuda={"count": 2})
    monkeypatch.setattr("benchmarks.measure.cold.RUNS", 1)
    made = call("export", "student", "--to", "tensorrt", "--precision", "fp16", *SMALL, "--out", tmp_path)
    words = ("--device", "cuda:1", "--duration-s", "0", "--min-samples", "4", "--warmup-s", "0")
    (model,) = call("bench", made["files"][0], *words)["models"]
    assert model["device"] == "cuda:1: NVIDIA L4"
    assert model["gpu_compute_ms"]["mean"] == 1.5  # of the stand-in's events
    assert model["gpu_compute_samples_ms"] == [1.5] * 4
    assert (model["stages_ms"]["host_to_device"], model["stages_ms"]["device_to_host"]) == (1.5, 1.5)
    assert (model["pure_inference_ms"], model["pure_inference_covers"]) == (
        1.5,
        "the network on the GPU, by CUDA events",
    )
    environment = model["environment"]
    assert environment["cuda_calls"].startswith("ctypes on libcuda.so.1; pycuda")
    assert (environment["cuda_memory"], environment["cuda_graph"]) == ("copied", "yes")
    assert model["cold_start"]["load_ms"] > 0  # the fresh process found the device too


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--to", "tensorrt", "--device", "cuda:2"), 5, "no CUDA device 2; 2 are visible"),
        (("--to", "tensorrt", "--device", "cpu"), 2, "--device cpu is no GPU for an engine"),
        (("--to", "onnx", "--device", "cuda:1"), 2, "--device: only for engines"),
        (("--to", "tensorrt-rtx", "--device", "cuda:1"), 2, "TensorRT-RTX builds without a GPU"),
        (("--to", "tensorrt", "--build-memory-mib", "much"), 2, "--build-memory-mib much is no number"),
        (("--to", "tensorrt", "--build-memory-mib", "0"), 2, "--build-memory-mib 0 is no number"),
        (("--to", "tensorrt", "--build-memory-mib", "9" * 5000), 2, "is no number of MiB"),
    ],
)
def test_a_wrong_device_or_limit_is_two_lines(
    words: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    on_gpu: OnGpu,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_gpu("10.3.0", cuda={"count": 2})
    command = ["export", "student", "--precision", "fp16", *SMALL, "--out", str(tmp_path / "out"), *words]
    assert main(command) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 2)
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_engine_is_built_without_a_memory_limit(
    tmp_path: Path, on_gpu: OnGpu, call: Callable[..., Any]
) -> None:
    on_gpu("10.3.0")
    made = call(
        *("export", "student", "--to", "tensorrt", "--precision", "fp16", *SMALL),
        *("--build-memory-mib", "none", "--out", tmp_path),
    )
    assert json.loads(Path(made["manifest"]).read_text())["built_on"]["options"]["memory_mib"] == 0


def test_a_copied_engine_is_refused_until_it_is_trusted(
    tmp_path: Path,
    on_gpu: OnGpu,
    call: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_gpu("11.4.0")
    out = tmp_path / "out"
    told = call("export", "student", "--to", "tensorrt", "--precision", "fp16", *SMALL, "--out", out)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert main(["inspect", told["files"][0]]) == 4
    assert "--trust-engine" in capsys.readouterr().err
    assert call("inspect", told["files"][0], "--trust-engine")["layers_executed"] == {"float16": 60}


def test_tensorrt_without_a_gpu_is_a_device_error_before_anything_is_built(
    tmp_path: Path, on_gpu: OnGpu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_gpu("10.16.1", cuda={"count": 0})
    out = tmp_path / "out"
    assert main(["export", "student", "--to", "tensorrt", "--precision", "fp16", "--out", str(out)]) == 5
    assert "writes the graph for TensorRT beside its engine" in capsys.readouterr().err
    assert not out.exists()


def test_a_silent_fp32_engine_is_not_published(
    tmp_path: Path, on_gpu: OnGpu, capsys: pytest.CaptureFixture[str]
) -> None:
    on_gpu("11.4.0", obeys=False)
    out = tmp_path / "out"
    words = ["export", "student", "--to", "tensorrt", "--precision", "fp16", *SMALL, "--out", str(out)]
    assert main(words) == 6
    assert "0 of 60 convolutions are executed in float16" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_tensorrt_rtx_is_built_for_real_and_claims_no_more_than_it_knows(
    tmp_path: Path, data: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    told = call(
        *("export", SHIPPED / "student", "--to", "tensorrt-rtx", "--precision", "fp16", *SMALL),
        *("--verify", data, "--compute-capability", "8.6", "--out", tmp_path / "out"),
    )
    stem = "student-64x96-fp16.rtx"
    assert [Path(name).name for name in told["files"]] == [f"{stem}.engine", f"{stem}.onnx"]
    assert told["precision_proved"]["planned"] == {"float16": 60}
    assert "executed" not in told["precision_proved"]
    assert told["unproved"]["executed"].startswith("needs the device")
    assert told["unproved"]["verify"].startswith("needs the device")
    assert told["verify"]["failures"] == []
    assert any("was not proved: needs the device" in doubt for doubt in told["doubts"])
    assert json.loads(Path(told["manifest"]).read_text())["built_on"]["compute_capability"] == "8.6"


@pytest.mark.slow
def test_an_engine_of_free_sizes_says_for_which_it_was_built(
    data: Path, tmp_path: Path, on_gpu: OnGpu, call: Callable[..., Any]
) -> None:
    on_gpu("10.3.0")
    told = call(
        *("export", "student", "--to", "tensorrt", "--precision", "fp16", *SMALL, "--dynamic", "both"),
        *("--profile-batch", "1,1,2", "--profile-size", "32x64,64x96,96x128", "--out", tmp_path / "out"),
    )
    papers = json.loads(Path(told["manifest"]).read_text())
    assert papers["built_on"]["profile"] == [[1, 3, 32, 64], [1, 3, 64, 96], [2, 3, 96, 128]]
    image = data.parent / "images" / "val" / "0.png"
    assert call("run", told["files"][0], "--source", image, "--imgsz", "96x128")["backend"] == "trt"
    assert main(["run", told["files"][0], "--source", str(image), "--imgsz", "256"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "onnx", "--profile-batch", "1,2,3"), "--profile-batch: only for engines"),
        (("--to", "tensorrt", "--profile-batch", "1,2,x"), "is not numbers"),
        (("--to", "tensorrt", "--profile-batch", "1,2"), "not the smallest, optimal and largest"),
        (("--to", "tensorrt", "--profile-size", "64,100,128"), "not HxW in multiples of 32"),
        (("--to", "tensorrt-rtx", "--profile-batch", "1,2,4"), "is for a free batch"),
        (("--to", "onnx", "--dla", "0"), "--dla: only for engines"),
        (("--to", "onnx", "--name", "../elsewhere"), "--name ../elsewhere is a path"),
        (("--to", "openvino", "--version-compatible"), "--version-compatible: only for engines"),
        (("--to", "tensorrt", "--workspace-mib", "0"), "workspace mib is 0"),
        (("--to", "tensorrt-rtx", "--compute-capability", "8.7"), "not build for compute capability 8.7"),
    ],
)
def test_flags_that_make_no_sense_are_usage_errors(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "out"))
    assert main(["export", "student", "--precision", "fp16", *words, *out]) == 2
    assert said in capsys.readouterr().err
