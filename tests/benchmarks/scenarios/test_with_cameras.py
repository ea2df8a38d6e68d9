"""bench --scenario paced and multi: the result, in simulated time and with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.measure import cold
from benchmarks.measure.cameras import CameraSamples, Decision
from benchmarks.measure.collect import Settings
from benchmarks.measure.footage import draw_street
from benchmarks.report.sections import build_sections
from benchmarks.scenarios import multi, paced
from benchmarks.scenarios._cameras import SHARED, camera_figures
from benchmarks.statistics.compare import compare_results
from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.detector import ModelDetector
from runtime.frames import Frame
from tests.benchmarks.measure.simulated_time import SimulatedTime


@pytest.fixture(autouse=True)
def no_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cold start has its own tests."""
    monkeypatch.setattr(cold, "measure", lambda *_, **__: dict.fromkeys(cold.KEYS, 1.0))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("picture") / "street.png"
    cv2.imwrite(str(path), draw_street(0)[:96, :160])
    return str(path)


def simulated(
    scenario: Any, model: Path, service_s: float, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> dict[str, Any]:
    """Measure with cameras in simulated time and a model that needs ``service_s`` for what it gets."""
    time = SimulatedTime()

    def timed_batch(_: Any, images_bgr: Any) -> tuple[list[Detections], dict[str, float]]:
        time.advance(service_s)
        stages_ms = {"letterbox": 1.0, "inference": service_s * 1e3 - 2, "postprocess": 1.0}
        return [Detections.empty() for _ in images_bgr], stages_ms

    monkeypatch.setattr(ModelDetector, "timed_batch", timed_batch)
    given = Settings(**{"duration_s": 24, "min_samples": 1, "warmup_s": 1, **settings})
    found: dict[str, Any] = scenario.bench([model], given, timeline=lambda: time)
    return found


def test_a_camera_faster_than_the_model_has_an_age_and_dropped_frames(
    tiny_model: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = simulated(paced, tiny_model, 0.05, monkeypatch, source=picture, fps=30, streams=7)
    assert (result["kind"], result["scenario"], result["fps"], result["streams"]) == ("bench", "paced", 30, 1)
    assert "a camera at 30 frames/s" in result["measures"]
    (model,) = result["models"]
    assert model["dropped_share"] == pytest.approx(1 - (1 / 30) / 0.05, abs=0.01)
    assert model["throughput_fps"] == pytest.approx(20, abs=0.1)
    assert model["busy_share"] == pytest.approx(1)
    assert 50 <= model["age_ms"]["p50"] <= model["age_ms"]["p95"] <= model["age_ms"]["p99"] <= 84
    assert model["decided"] == model["samples"] == len(model["samples_age_ms"])
    assert model["drops"] == {"replaced": model["dropped"], "missed": 0}
    assert model["stages_ms"]["inference"] == 48
    assert max(model["rounds"]) == 15
    assert model["energy_mj"] is not None or model["energy_reason"]


def test_few_decisions_have_no_p99_of_their_age_but_a_reason(
    tiny_model: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = simulated(paced, tiny_model, 0.01, monkeypatch, source=picture, fps=5)["models"]
    assert model["age_ms"]["p99"] is None
    assert set(model["age_reason"]) == {"p99"}
    assert "p99 needs 459 samples" in model["age_reason"]["p99"]


def test_several_cameras_are_told_apart(
    tiny_model: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = simulated(multi, tiny_model, 0.05, monkeypatch, source=picture, fps=10, streams=3)
    assert (result["scenario"], result["streams"]) == ("multi", 3)
    (model,) = result["models"]
    assert len(model["cameras"]) == 3
    assert sum(camera["decided"] for camera in model["cameras"]) == model["decided"]
    assert sum(camera["dropped"] for camera in model["cameras"]) == model["dropped"]


def test_a_result_with_cameras_is_reported_and_compared(
    tiny_model: Path, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (
        simulated(paced, tiny_model, service_s, monkeypatch, source=picture, fps=30, duration_s=8)
        for service_s in (0.02, 0.03)
    )
    (section,) = build_sections([("paced.json", a)])
    assert len(section.blocks) > 1
    frame = compare_results(a, b)["comparisons"][0]
    assert (frame["measure"], frame["a_ms"] < frame["b_ms"]) == ("frame", True)
    slower = simulated(paced, tiny_model, 0.03, monkeypatch, source=picture, fps=15, duration_s=8)
    doubts = compare_results(b, slower)["doubts"]
    assert "how frames arrived differs: a camera at 30 frames/s / a camera at 15 frames/s" in doubts
    assert not any("how frames arrived" in doubt for doubt in compare_results(a, b)["doubts"])


def test_percentiles_of_frames_that_share_the_network_are_null_with_the_reason() -> None:
    taken = CameraSamples(start_s=0.0, end_s=1.0, replaced=[0, 0], missed=[0, 3])
    frame = Frame(image_bgr=draw_street(0), index=0, captured_s=0.0, name="x", decode_ms=1.0)
    for k in range(100):
        taken.samples.add(frame, {"letterbox": 1.0, "inference": 8.0, "postprocess": 1.0}, 0, 1)
        taken.decisions.append(Decision(at=k % 2, age_ms=30.0, decided_s=k / 100, together=2))
    figures = camera_figures(taken)
    assert [figures[f"{name}_ms"] for name in ("p50", "p90", "p99")] == [None] * 3
    assert figures["p50_reason"] == SHARED
    assert "p50_upper_ms" not in figures
    assert any("3 of 103 frames were left out" in doubt for doubt in figures["doubts"])


def test_a_real_model_reads_real_cameras(tiny_model: Path, picture: str) -> None:
    given = Settings(source=picture, duration_s=0, min_samples=12, warmup_s=0, fps=200, streams=2, threads=1)
    (model,) = multi.bench([tiny_model], given)["models"]
    assert model["decided"] >= 12
    assert min(model["samples_age_ms"]) > 0
    assert set(model["samples_camera"]) == {0, 1}


def test_models_cannot_take_turns_at_one_camera(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="--interleave with --scenario paced"):
        paced.bench([tiny_model, tiny_model], Settings(interleave=True))


@pytest.mark.parametrize("wrong", [{"fps": 0.0}, {"fps": float("nan")}, {"fps": 1e6}, {"streams": 0}])
def test_cameras_that_there_are_not_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="frames per second"):
        Settings(**wrong)
