"""``edgestill estimate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgestill.cli.main import call, main
from edgestill.errors import ArtifactError, DeviceError, UsageError

CASE = ["--device", "jetson-orin-nano", "--precision", "fp16"]


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def test_a_result_says_that_it_is_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "yolov5n", *CASE]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["kind"] == "estimate"
    assert 0 < result["low_ms"] < result["latency_ms"] < result["high_ms"]
    assert result["basis"]["fitted_rows"] == 60


def test_a_checkpoint_is_estimated_by_its_graph() -> None:
    result = call(["estimate", "student", *CASE])
    assert result["input_hw"] == [512, 896] or result["input_hw"] == (512, 896)
    assert result["basis"]["kernels"] == 60


def test_several_models_make_a_list() -> None:
    result = call(["estimate", "yolov5n", "yolov5s", *CASE, "--imgsz", "384x640", "--batch", "4"])
    small, large = result["estimates"]
    assert (result["kind"], small["model"], small["batch"]) == ("estimates", "yolov5n", 4)
    assert small["latency_ms"] < large["latency_ms"]


def test_a_power_mode_has_its_clock() -> None:
    fast, slow = (
        call(
            [
                "estimate",
                "yolov5m",
                "--device",
                "jetson-agx-orin",
                "--precision",
                "int8",
                "--power-mode",
                mode,
            ]
        )
        for mode in ("MAXN", "15W")
    )
    assert fast["latency_ms"] < slow["latency_ms"]


@pytest.mark.slow
def test_all_devices_are_drawn_and_those_without_an_estimate_are_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ["estimate", "yolov5n", "yolov5m", "--all", "--precision", "int8"]
    result = call(words)
    assert result["plot"] == "estimates.png"
    assert (tmp_path / "estimates.png").read_bytes().startswith(b"\x89PNG")
    devices, refused = ({one["device"] for one in result[name]} for name in ("estimates", "refused"))
    assert {"jetson-orin-nano", "t4", "v100"} <= devices
    assert {"jetson-nano", "generic-x86"} <= refused
    with pytest.raises(UsageError, match="exists already"):
        call(words)


def test_the_table_calls_them_estimates(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main(["estimate", "yolov5n", *CASE]) == 0
    text = capsys.readouterr().out
    assert "Estimates, not measurements" in text
    assert "no published latency of this device was fitted" in text


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["yolov5n", "--device", "jetson-nano", "--precision", "int8"], DeviceError),
        (["yolov5n", "--device", "generic-x86", "--precision", "fp32"], DeviceError),
        (["yolov5n", "--device", "jetson-orin-nano", "--precision", "fp16", "--imgsz", "64"], UsageError),
        (["yolov5n", "--device", "jetson-orin-nano", "--precision", "fp16", "--batch", "0"], UsageError),
        (["yolov5n", "--device", "jetson-orin-nanno", "--precision", "fp16"], UsageError),
        (["yolov5n", *CASE, "--power-mode", "99W"], UsageError),
        (["yolov5n", *CASE, "--all"], UsageError),
        (["yolov5n", "--all", "--precision", "fp16", "--out", "plot.json"], UsageError),
        (["yolov5n", "--precision", "fp16"], UsageError),
        (["yolov5n", "--device", "t4"], UsageError),
        ([*CASE], UsageError),
        (["gone.onnx", *CASE], ArtifactError),
        (["gone.engine", *CASE], ArtifactError),
        (["yolov5q", *CASE], ArtifactError),
        (["yolov5n", *CASE, "--calibrate", "gone.json"], UsageError),
        (["--calibrate", "gone.json"], UsageError),
        (["--device", "t4", "--remove-calibration"], UsageError),
    ],
)
def test_what_cannot_be_estimated_is_refused(words: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(["estimate", *words])


def measured(model: str, latency_ms: float) -> dict[str, Any]:
    return {
        "name": model,
        "file": f"{model}.engine",
        "model": model,
        "precision": "fp16",
        "input_hw": [640, 640],
        "backend": "trt",
        "tile": "1x1",
        "stages_ms": {"inference": latency_ms},
        "environment": {"machine": {"key": "jetson-orin-nano"}, "started": "2026-01-01T00:00:00+00:00"},
    }


def test_own_measurements_change_the_estimates_until_they_are_removed(tmp_path: Path) -> None:
    models = ("yolov5n", "yolov5s", "yolov5m")
    before = [call(["estimate", model, *CASE]) for model in models]
    entries = [measured(model, 2 * one["latency_ms"]) for model, one in zip(models, before, strict=True)]
    Path("bench.json").write_text(json.dumps({"kind": "bench", "scenario": "single", "models": entries}))

    made = call(["estimate", "--device", "jetson-orin-nano", "--calibrate", "bench.json"])
    assert made["scale"] == pytest.approx(2, rel=0.01)
    assert Path(made["out"]).is_relative_to(tmp_path / "config")
    after = call(["estimate", "yolov5s", *CASE])
    assert after["latency_ms"] == pytest.approx(2 * before[1]["latency_ms"], rel=0.02)
    assert after["basis"]["calibration"]["file"] == made["out"]

    call(["estimate", "--device", "jetson-orin-nano", "--remove-calibration"])
    assert call(["estimate", "yolov5s", *CASE]) == before[1]
