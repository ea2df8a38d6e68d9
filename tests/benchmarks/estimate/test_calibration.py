"""Calibration by a user's own measurements."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.estimate.bench_points import read_points
from benchmarks.estimate.calibration import (
    Calibration,
    Point,
    calibrate,
    calibration_file,
    load,
    remove,
    save,
)
from benchmarks.estimate.estimate import Case, estimate
from benchmarks.estimate.yolo_models import published_model
from devices.profile import load_profile
from edgestill.errors import DataError, UsageError

DEVICE = "jetson-orin-nano"
MODELS = ("yolov5n", "yolov5s", "yolov5m", "yolov5l")

Result = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def gpu_ms(model: str) -> float:
    case = Case(precision="fp16", tf32=False)
    return estimate(published_model(model), load_profile(DEVICE), case).gpu_ms


def measured(models: Sequence[str], scale: float, constant_ms: float) -> list[Point]:
    return [
        Point(
            model=model,
            precision="fp16",
            gpu_ms=gpu_ms(model),
            measured_ms=scale * gpu_ms(model) + constant_ms,
            started="2026-01-01T00:00:00+00:00",
        )
        for model in models
    ]


@pytest.fixture
def result(tmp_path: Path) -> Result:
    """A result of bench on the device."""

    def write(*models: str, scale: float = 1.3, **changes: Any) -> Path:
        entries = [
            {
                "name": f"{model}.engine",
                "file": f"/gone/{model}.engine",
                "model": model,
                "precision": "fp16",
                "input_hw": [640, 640],
                "backend": "trt",
                "tile": "1x1",
                "stages_ms": {"inference": scale * gpu_ms(model) + 2.0},
                "environment": {"machine": {"key": DEVICE}, "started": "2026-01-01T00:00:00+00:00"},
                **changes,
            }
            for model in models
        ]
        path = tmp_path / "bench.json"
        path.write_text(json.dumps({"kind": "bench", "scenario": "single", "models": entries}))
        return path

    return write


@pytest.mark.parametrize(("scale", "constant_ms"), [(1.4, 2.0), (0.7, 0.3), (1.0, 0.0)])
def test_scale_and_constant_of_a_device_are_found(scale: float, constant_ms: float) -> None:
    found = calibrate(DEVICE, measured(MODELS[:3], scale, constant_ms))
    assert found.scale == pytest.approx(scale, rel=1e-3)
    assert found.constant_ms == pytest.approx(constant_ms, abs=0.01)


def test_a_calibrated_estimate_is_what_was_measured_and_has_a_narrower_interval() -> None:
    points = measured(MODELS[:3], 1.5, 1.0)
    work, profile, case = published_model("yolov5l"), load_profile(DEVICE), Case(precision="fp16")
    before, after = (estimate(work, profile, case, c) for c in (None, calibrate(DEVICE, points)))
    (wanted,) = measured(["yolov5l"], 1.5, 1.0)
    assert after.latency_ms == pytest.approx(wanted.measured_ms, rel=0.02)
    assert after.high_ms / after.low_ms < before.high_ms / before.low_ms
    assert after.basis["calibration"]["measurements"] == 3


def test_measurements_that_do_not_agree_widen_the_interval() -> None:
    points = measured(MODELS, 1.0, 1.0)
    odd = Point(
        **{**{f: getattr(points[1], f) for f in Point.__slots__}, "measured_ms": 3 * points[1].measured_ms}
    )
    narrow, wide = (calibrate(DEVICE, some) for some in (points, [points[0], odd, *points[2:]]))
    assert wide.interval_factor > 2 > narrow.interval_factor


def test_too_few_or_too_equal_measurements_are_refused() -> None:
    with pytest.raises(UsageError, match=r"2 usable measurements of .* needs at least 3"):
        calibrate(DEVICE, measured(MODELS[:2], 1.0, 1.0))
    with pytest.raises(UsageError, match="too much alike"):
        calibrate(DEVICE, measured(["yolov5n"] * 3, 1.0, 1.0))


def test_it_is_stored_shown_and_removed(own_config: Path) -> None:
    assert load(DEVICE) is None
    made = calibrate(DEVICE, measured(MODELS[:3], 1.5, 1.0))
    path = save(made)
    assert path.is_relative_to(own_config)
    assert load(DEVICE) == made
    assert remove(DEVICE) == path
    assert load(DEVICE) is None
    with pytest.raises(UsageError, match="has no calibration"):
        remove(DEVICE)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"scale": "x"},
        {"scale": -1},
        {"constant_ms": float("nan")},
        {"interval_factor": 0.5},
        {"points": None},
        {"more": 1},
        {"device": "t4"},
    ],
)
def test_a_damaged_calibration_is_refused_with_the_command_that_removes_it(change: Mapping[str, Any]) -> None:
    path = save(calibrate(DEVICE, measured(MODELS[:3], 1.5, 1.0)))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError) as caught:
        load(DEVICE)
    assert "--remove-calibration" in caught.value.hint


def test_results_of_bench_give_points(result: Result) -> None:
    points, unusable = read_points([result(*MODELS)], DEVICE)
    assert [point.model for point in points] == [f"{model}.engine" for model in MODELS]
    assert unusable == []
    assert calibrate(DEVICE, points).scale == pytest.approx(1.3, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"backend": "ort"}, "no whole-frame latency of TensorRT"),
        ({"tile": "2x2"}, "no whole-frame latency of TensorRT"),
        (
            {"environment": {"machine": {"key": DEVICE}, "started": "x", "arrival": "a camera"}},
            "no whole-frame",
        ),
        ({"precision": None}, "in a known precision"),
        ({"model": "mine"}, "the layers of 'mine' are not known"),
        ({"input_hw": [32, 32]}, "megapixels"),
    ],
)
def test_measurements_that_are_not_usable_are_named(
    changes: Mapping[str, Any], why: str, result: Result
) -> None:
    points, unusable = read_points([result("yolov5n", **changes)], DEVICE)
    assert points == []
    assert why in unusable[0]


def test_a_result_of_another_device_is_refused(result: Result) -> None:
    with pytest.raises(UsageError, match="was measured on jetson-orin-nano, not on t4"):
        read_points([result("yolov5n")], "t4")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"kind": "eval", "map50": 1, "per_class": {}}',
        '{"kind": "bench", "models": [1], "scenario": 1}',
    ],
)
def test_what_is_no_result_of_bench_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content)
    with pytest.raises(DataError):
        read_points([path], DEVICE)


def test_the_file_of_a_device_has_its_name() -> None:
    assert calibration_file(DEVICE).name == f"{DEVICE}.json"
    assert isinstance(calibrate(DEVICE, measured(MODELS[:3], 1.0, 0.5)), Calibration)
