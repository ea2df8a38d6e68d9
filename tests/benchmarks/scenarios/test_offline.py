"""bench --scenario offline."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.measure import cold
from benchmarks.measure.collect import Settings
from benchmarks.measure.footage import draw_street
from benchmarks.report.blocks import Details, Prose, Table
from benchmarks.report.sections import build_sections
from benchmarks.scenarios.offline import Rates, bench
from benchmarks.statistics.compare import LEAST_ROUNDS
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.frames import Frame


class Together:
    """Answers once as many calls are in it as there are threads."""

    spec = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))

    def __init__(self, calls: int) -> None:
        self._all = Barrier(calls, timeout=5)

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        self._all.wait()
        found = Detections(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
        return found, {"inference": 2.0}

    def timed_batch(self, images_bgr: Any) -> tuple[list[Detections], dict[str, float]]:
        raise AssertionError


@pytest.fixture(scope="module", autouse=True)
def one_fresh_process() -> Iterator[None]:
    """Each costs a second of starting Python; one shows what there is to show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cold, "RUNS", 1)
        yield


@pytest.fixture(scope="module")
def measured(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    picture = tmp_path_factory.mktemp("offline") / "street.png"
    cv2.imwrite(str(picture), draw_street(0)[:96, :160])
    settings = Settings(
        source=str(picture), duration_s=0, min_samples=16, warmup_s=0, interleave=True, threads=2
    )
    return bench([tiny_model, tiny_model], settings)


def test_frames_are_in_progress_at_the_same_time_and_those_at_the_edges_are_not_counted() -> None:
    frame = Frame(image_bgr=np.zeros((4, 4, 3), np.uint8), index=0, captured_s=0.0, name="x", decode_ms=0.0)
    with ThreadPoolExecutor(2) as threads:
        rates = Rates(Together(2), threads, 2)
        assert rates.turn([frame], 6) > 0
    assert (rates.frames, len(rates.stages_ms["inference"]), rates.found) == (6, 10, 10)


def test_the_result_keeps_the_contract_of_bench(measured: dict[str, Any]) -> None:
    first, second = measured["models"]
    assert (measured["kind"], measured["scenario"]) == ("offline", "offline")
    assert first["concurrency"] == 2
    assert first["throughput_fps"] > 0
    assert len(first["samples_frame_ms"]) == LEAST_ROUNDS
    assert first["samples"] >= 16
    assert first["p50_ms"] is None
    assert "--scenario single" in first["p50_reason"]
    measured_stages = {stage for stage, ms in first["stages_ms"].items() if ms is not None}
    assert measured_stages == {"letterbox", "inference", "postprocess"}
    (ratio,) = measured["ratios"]
    assert (ratio["a"], ratio["b"], ratio["measure"]) == (first["name"], second["name"], "throughput")
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert ratio["verdict"] in {"faster", "slower", "can't tell"}


def test_cold_start_and_memory_are_measured_and_energy_has_a_value_or_a_reason(
    measured: dict[str, Any],
) -> None:
    for model in measured["models"]:
        assert model["cold_start_ms"] > 0
        assert model["rss_mib"] > 20
        assert model["energy_mj"] is not None or model["energy_reason"]
        assert model["environment"]["monitors"]["samples"] > 0


def test_it_is_a_section_of_a_report(measured: dict[str, Any]) -> None:
    (section,) = build_sections([("offline.json", measured)])
    assert section.title == "Throughput"
    table = next(block for block in section.blocks if isinstance(block, Table))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["throughput\nframes per second"] == measured["models"][0]["throughput_fps"]
    (missing,) = (
        b for b in section.blocks if isinstance(b, Details) and b.summary.startswith("Not measured")
    )
    assert any("--scenario single" in b.text for b in missing.blocks if isinstance(b, Prose))
