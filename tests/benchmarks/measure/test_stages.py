"""All stages of a frame: values where they were measured, null with the reason elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.measure import cold, later_stages
from benchmarks.measure.collect import Settings
from benchmarks.measure.footage import draw_street
from benchmarks.measure.gpu_time import GpuTotals
from benchmarks.measure.later_stages import MOST_ENCODERS, AfterBoxes, LaterStages
from benchmarks.measure.samples import Samples, figures_of
from benchmarks.measure.stages import ORDER, complete
from benchmarks.scenarios.single import bench
from edgestill.cli.options.benchmark import arrival, stages
from edgestill.detections import Detections
from edgestill.errors import DeviceError, UsageError
from runtime.frames import Frame
from runtime.streams.results import FrameResult
from runtime.tracking import Tracker

TO_BOXES = ("decode", "letterbox", "inference", "postprocess")


def backend(name: str, device: str) -> Any:
    return SimpleNamespace(name=name, device=device, transfers_ms=None)


def figures(**more: Any) -> Mapping[str, Any]:
    samples = Samples()
    for _ in range(20):
        frame = Frame(image_bgr=draw_street(0), index=0, captured_s=0, name="x", decode_ms=4.0)
        samples.add(frame, {"letterbox": 1.0, "inference": 6.0, "postprocess": 1.0}, 0, 1)
        samples.add_other({stage: ms for stage, ms in more.items() if stage in ORDER})
    return {**figures_of(samples), **{key: value for key, value in more.items() if key not in ORDER}}


@pytest.mark.parametrize(
    ("ran_on", "reason"),
    [
        pytest.param(
            backend("ort", "CPUExecutionProvider"), "there are no copies: the network runs", id="cpu"
        ),
        pytest.param(backend("ov", "CPU"), "there are no copies: the network runs on the CPU", id="ov-cpu"),
        pytest.param(backend("ov", "GPU.0"), "the backend ov makes the copies within its call", id="ov-gpu"),
        pytest.param(
            backend("ort", "CUDAExecutionProvider"), "makes the copies within its call", id="ort-cuda"
        ),
        pytest.param(
            backend("trt", "cuda: Orin"), "the GPU reads and writes the memory of the host", id="mapped"
        ),
    ],
)
def test_copies_that_there_are_not_are_null_with_the_reason_and_not_zero(ran_on: Any, reason: str) -> None:
    found = complete(figures(gpu_compute_ms=None), ran_on)
    for stage in ("host_to_device", "device_to_host"):
        assert found["stages_ms"][stage] is None
        assert reason in found["stages_reason"][stage]


def test_all_stages_are_in_the_order_of_the_frame_and_each_has_a_value_or_a_reason() -> None:
    found = complete(figures(gpu_compute_ms=None), backend("ort", "CPUExecutionProvider"))
    assert list(found["stages_ms"]) == list(ORDER)
    assert {s for s, ms in found["stages_ms"].items() if ms is None} == set(found["stages_reason"])
    assert "--stages all" in found["stages_reason"]["encoding"]


def test_pure_inference_and_end_to_end_are_told_apart() -> None:
    found = complete(figures(gpu_compute_ms=None), backend("ort", "CPUExecutionProvider"))
    assert (found["pure_inference_ms"], found["pure_inference_covers"]) == (6, "the call of the backend ort")
    assert (found["end_to_end_ms"], found["end_to_end_covers"]) == (12, " + ".join(TO_BOXES))


def test_the_stages_after_the_boxes_are_part_of_end_to_end() -> None:
    found = complete(
        figures(gpu_compute_ms=None, tracking=0.5, drawing=2.0, encoding=10.0), backend("ov", "CPU")
    )
    assert found["end_to_end_ms"] == 24.5
    assert found["end_to_end_covers"].endswith("postprocess + tracking + drawing + encoding")
    assert set(found["stages_reason"]) == {"host_to_device", "device_to_host"}


def test_of_an_engine_copies_are_parts_of_inference_and_pure_inference_is_the_gpus() -> None:
    given = figures(gpu_compute_ms={"p50": 3.0, "mean": 3.1}, host_to_device=0.4, device_to_host=0.2)
    found = complete(given, backend("trt", "cuda: NVIDIA L4"))
    assert (found["stages_ms"]["host_to_device"], found["stages_ms"]["inference"]) == (0.4, 6)
    assert found["stages_within"] == {"inference": ["host_to_device", "device_to_host"]}
    assert (found["pure_inference_ms"], found["end_to_end_ms"]) == (3, 12)


def test_without_percentiles_end_to_end_is_null_with_their_reason() -> None:
    given = {
        "stages_ms": {"letterbox": 1.0, "inference": 2.0, "postprocess": 0.5},
        "p50_ms": None,
        "p50_reason": "all at once",
    }
    found = complete(given, backend("ort", "CPUExecutionProvider"))
    assert (found["end_to_end_ms"], found["end_to_end_reason"]) == (None, "all at once")
    assert "decoded before" in found["stages_reason"]["decode"]
    copying = SimpleNamespace(name="trt", device="cuda: NVIDIA L4", transfers_ms=(1.0, 1.0))
    assert "--scenario single" in complete(given, cast("Any", copying))["stages_reason"]["host_to_device"]


def test_a_stage_that_failed_during_the_run_is_not_part_of_end_to_end() -> None:
    given = dict(figures(gpu_compute_ms=None, tracking=0.5, encoding=10.0))
    given["samples_other_ms"] = {**given["samples_other_ms"], "encoding": [10.0] * 3}
    found = complete(given, backend("ov", "CPU"))
    assert (found["end_to_end_ms"], "encoding" in found["end_to_end_covers"]) == (12.5, False)


def test_gpu_times_of_a_group_are_shared_equally() -> None:
    samples = Samples()
    GpuTotals(13.0, (2.0, 1.0)).add_since(GpuTotals(10.0, (1.0, 0.4)), samples, 3)
    assert samples.gpu_ms == [1.0] * 3
    assert samples.other_ms == {"host_to_device": [0.3333] * 3, "device_to_host": [0.2] * 3}
    GpuTotals(None, None).add_since(GpuTotals(None, None), samples)
    assert len(samples.gpu_ms) == 3


class Plain:
    """An overlay that notes what it got."""

    def __init__(self) -> None:
        self.results: list[FrameResult] = []

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        self.results.append(result)
        return result.frame.image_bgr


class Recorder:
    """An encoder that notes its frames."""

    codec = "h264"
    opened: list[Recorder]

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        self.path, self.size_wh, self.is_open = path, size_wh, True
        self.times_s: list[float] = []
        Recorder.opened.append(self)

    def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
        self.times_s.append(time_s)

    def close(self) -> None:
        self.is_open = False


def frame(width: int) -> Frame:
    image = np.zeros((32, width, 3), np.uint8)
    return Frame(image_bgr=image, index=0, captured_s=0.0, name="x", decode_ms=0.0)


def box(x: int) -> Detections:
    xyxy = np.asarray([[x, 4, x + 16, 20]], np.float32)
    return Detections(xyxy, np.ones(1, np.float32), np.zeros(1, np.int64))


def test_frames_are_tracked_drawn_and_encoded_by_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Recorder.opened = []
    monkeypatch.setattr(later_stages, "open_encoder", Recorder)
    overlay = Plain()
    parts = AfterBoxes(tracker=Tracker(), track_classifier=None, overlay=overlay)
    with LaterStages(parts, ("red",)) as later:
        for k, width in enumerate((32, 64, 32, 32)):
            stages_ms = later.timed(frame(width), box(k), {"inference": 5.0})
            assert list(stages_ms) == ["tracking", "drawing", "encoding"]
        assert [r.size_wh for r in Recorder.opened] == [(32, 32), (64, 32)]
        assert Recorder.opened[0].times_s == pytest.approx([0, 0.04, 0.08])
        assert overlay.results[-1].track_id is not None
        assert overlay.results[-1].found()[0].track_id is not None
        folder = Recorder.opened[0].path.parent
        for width in range(100, 100 + MOST_ENCODERS):
            later.timed(frame(width), box(0), {})
        assert sum(r.is_open for r in Recorder.opened) == MOST_ENCODERS
    assert not any(r.is_open for r in Recorder.opened)
    assert not folder.exists()


def test_a_machine_without_an_encoder_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise DeviceError("there is no encoder", hint="pip install av")

    monkeypatch.setattr(later_stages, "open_encoder", refuse)
    parts = AfterBoxes(tracker=Tracker(), track_classifier=None, overlay=Plain())
    with LaterStages(parts, ("red",)) as later:
        assert list(later.timed(frame(32), Detections.empty(), {})) == ["tracking", "drawing"]
        assert later.reasons == {"encoding": "there is no encoder"}


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    arrival.add_arguments(parser)
    stages.add_argument(parser)
    return parser.parse_args(words)


def test_bench_measures_the_real_tracker_overlay_and_encoder(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold, "measure", lambda *_, **__: dict.fromkeys(cold.KEYS, 1.0))
    picture = tmp_path / "street.png"
    cv2.imwrite(str(picture), draw_street(0)[:96, :160])
    given = Settings(
        source=str(picture),
        duration_s=0,
        min_samples=8,
        warmup_s=0,
        threads=1,
        after_boxes=stages.after_boxes(arguments("--stages", "all")),
    )
    (model,) = bench([tiny_model], given)["models"]
    assert set(model["stages_reason"]) == {"host_to_device", "device_to_host"}
    assert all(model["stages_ms"][stage] > 0 for stage in ("tracking", "drawing", "encoding"))
    assert model["end_to_end_ms"] > model["p50_ms"]
    assert len(model["samples_other_ms"]["encoding"]) == model["samples"]


@pytest.mark.parametrize("words", ["--scenario paced", "--scenario offline", "--preset mlperf-offline"])
def test_the_flag_is_refused_where_it_would_do_nothing(words: str) -> None:
    with pytest.raises(UsageError, match="only single measures them"):
        stages.after_boxes(arguments("--stages", "all", *words.split()))
    assert stages.after_boxes(arguments(*words.split())) is None
