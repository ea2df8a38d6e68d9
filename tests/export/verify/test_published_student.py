"""What ruins an INT8 file without a word is caught before it is published: the student on drawn streets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from distill.datasets.synth.scene import render
from edgestill.checkpoint import Checkpoint, read_checkpoint
from edgestill.dataset import Dataset
from edgestill.errors import VerificationError
from edgestill.shipped import SHIPPED
from edgestill.target import Target
from export.build import export
from export.graph.detector_graph import DetectorGraph
from export.graph.interface import Interface
from export.graph.yolov5 import build_onnx
from export.job import INT8_SETTINGS, Job
from export.quantize.calibration import observer_cache
from export.quantize.calibration.images import Calibration, choose_images
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.observer_cache import SUFFIX
from export.quantize.qdq_placement import QdqPlan, for_onnxruntime
from export.quantize.ranges import Range
from export.verify.compare import DetectorRun, Sample, compare, run_detector
from export.verify.gate import LIMITS, describe, refuse_beyond
from runtime.detector import open_detector
from runtime.metrics.evaluate import EVAL_CONF, EVAL_IOU

pytestmark = pytest.mark.slow
SIZE = (640, 384)
SEED, MOST = 1, 60  # pictures that are drawn at most until enough lights are found in them
LIGHTS = 10  # that FP32 is sure of


@pytest.fixture(scope="module")
def student() -> Checkpoint:
    return read_checkpoint(SHIPPED / "student")


def opened(path: Path) -> Any:
    return open_detector(path, conf=EVAL_CONF, iou=EVAL_IOU, multi_label=True, threads=1)


@pytest.fixture(scope="module")
def street(student: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, DetectorRun]:
    """Drawn streets: three to calibrate on, and those in which FP32 is sure of lights, with what it finds."""
    folder = tmp_path_factory.mktemp("street")
    source = folder / "source.onnx"
    source.write_bytes(build_onnx(student.spec, student.weights).SerializeToString())
    detector = opened(source)
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
    for i in range(MOST, MOST + 3):
        cv2.imwrite(str(folder / "images" / "train" / f"{i}.png"), render(SEED, i, SIZE).image_bgr)
    found: dict[Path, Any] = {}
    for i in range(MOST):
        image = render(SEED, i, SIZE).image_bgr
        seen = detector(image)
        if (seen.score >= 0.5).any():
            path = folder / "images" / "val" / f"{i:02}.png"
            cv2.imwrite(str(path), image)
            found[path] = seen
        if sum(int((s.score >= 0.5).sum()) for s in found.values()) >= LIGHTS:
            break
    words = "train: images/train\nval: images/val\nnames: [red, yellow, green, off]\n"
    (folder / "data.yaml").write_text(words)
    return Dataset.open(folder / "data.yaml"), DetectorRun(
        tuple(found.values()), ((SIZE[1], SIZE[0]),) * len(found)
    )


@pytest.fixture
def publish(
    street: tuple[Dataset, DetectorRun], student: Checkpoint, tmp_path: Path, seen_before: Path
) -> Any:
    """Exports as the verb does, with INT8's own limits, and the reference looked at once."""
    dataset, true = street
    samples = [Sample(path, None) for path in dataset.images("val")]

    def check(built: Path, source: Path) -> Mapping[str, Any]:
        seen = run_detector(opened(built), samples, "look")
        comparison = compare(true, seen, samples, student.spec.classes)
        refuse_beyond(comparison, LIMITS["int8"], "it differs", "calibrate again")
        return describe(comparison, LIMITS["int8"])

    def run(target: Target = "onnx", name: str = "m", cache: Path | None = None) -> bytes:
        calibration = choose_images(dataset, student.spec, count=3)
        job = Job(
            checkpoint=student,
            target=target,
            precision="int8",
            calibration=calibration,
            cache=cache or seen_before,
            interface=Interface(output="raw"),
        )
        return export(job, tmp_path / name, "m", check=check).files[0].read_bytes()

    return run


def refused(publish: Any, tmp_path: Path, **options: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        publish(**options)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "m").exists()
    return caught.value.what


def has_amx() -> bool:
    """Whether this CPU multiplies INT8 matrices in tiles, which OpenVINO uses other kernels for."""
    facts = Path("/proc/cpuinfo")
    return facts.exists() and "amx_int8" in facts.read_text()


def unscaled(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Calibration._tensor
    monkeypatch.setattr(Calibration, "_tensor", lambda self, path: real(self, path) * np.float32(255))


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_sound_file_passes(target: Target, publish: Any) -> None:
    """Without this, the tests below would show nothing."""
    publish(target=target)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_calibration_on_images_that_were_not_scaled_is_caught(
    target: Target, publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unscaled(monkeypatch)
    assert "detections are matched" in refused(publish, tmp_path, target=target)


def test_a_quantised_head_is_caught(publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of 640 pixels and scores below 1 on one scale: the classic way to an mAP of 0."""

    def with_head(graph: DetectorGraph, statistics: TensorStatistics, tuning: Any) -> QdqPlan:
        plan = for_onnxruntime(graph, statistics, tuning)
        decoded = dict.fromkeys(graph.nodes[-1].input, Range(0.0, 640.0))
        return replace(plan, activations={**plan.activations, **decoded})

    monkeypatch.setitem(INT8_SETTINGS, "onnx", replace(INT8_SETTINGS["onnx"], placement=with_head))
    assert "0 of " in refused(publish, tmp_path)


def test_a_symmetric_file_on_openvino_is_caught(
    publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form that TensorRT needs runs fast there, and wrongly, but on a CPU with AMX rightly."""
    monkeypatch.setitem(INT8_SETTINGS, "openvino", replace(INT8_SETTINGS["tensorrt"], float_is_fp16=False))
    if has_amx():
        publish(target="openvino")
    else:
        assert "scores drifted by" in refused(publish, tmp_path, target="openvino")


def test_a_stale_entry_of_the_cache_is_not_used(
    publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even under the name of the entry that is looked for."""
    sound = publish(name="sound", cache=tmp_path / "cache")
    [entry] = (tmp_path / "cache").glob(f"*{SUFFIX}")
    with monkeypatch.context() as patch:
        unscaled(patch)
        refused(publish, tmp_path, cache=tmp_path / "stale")
    [stale] = (tmp_path / "stale").glob(f"*{SUFFIX}")
    entry.write_bytes(stale.read_bytes())
    assert publish(name="again", cache=tmp_path / "cache") == sound


def test_a_stale_entry_that_was_used_all_the_same_is_caught(
    publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache forgets that pixels count: the gate does not depend on it."""
    real = observer_cache.depends_on
    blind = {"first_input": "", "images": [], "preprocessing": {}}
    monkeypatch.setattr(observer_cache, "depends_on", lambda *of: {**real(*of), **blind})
    with monkeypatch.context() as patch:
        unscaled(patch)
        refused(publish, tmp_path, cache=tmp_path / "cache")
    assert "detections are matched" in refused(publish, tmp_path, cache=tmp_path / "cache")
