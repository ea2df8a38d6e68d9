"""The check of a built file against its source: one run of the reference, the limits, the doubts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from export.verify import source_check
from export.verify.gate import BeyondLimitsError
from export.verify.source_check import EvaluationSet, SourceCheck, comparison_doubts


class Fake:
    """Finds one box with a score on every image."""

    def __init__(self, spec: ModelSpec, score: float) -> None:
        self.spec, self.score = spec, score

    def __call__(self, image_bgr: Any) -> Detections:
        box = np.array([[10, 10, 30, 30]], np.float32)
        return Detections(box, np.array([self.score], np.float32), np.zeros(1, np.int64))


@pytest.fixture
def evaluation(dataset: Dataset, spec: ModelSpec) -> EvaluationSet:
    return EvaluationSet.open(dataset.path, None, spec.classes, limit=2)


def checked(evaluation: EvaluationSet, spec: ModelSpec, opened: list[Path], **options: Any) -> SourceCheck:
    def reference(source: Path) -> tuple[Any, str]:
        opened.append(source)
        return Fake(spec, 0.9), "a fake"

    return SourceCheck(evaluation, spec.classes, "int8", open_reference=reference, **options)


def test_the_split_is_val_unless_named_and_all_its_images_are_known(
    dataset: Dataset, evaluation: EvaluationSet
) -> None:
    assert (evaluation.split, len(evaluation.samples)) == ("val", 2)
    assert evaluation.images == dataset.images("val")


def test_the_reference_runs_once_for_several_files(
    evaluation: EvaluationSet, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "open_for_evaluation", lambda path, device: Fake(spec, 0.9))
    opened: list[Path] = []
    check = checked(evaluation, spec, opened)
    records = [check(Path(name), Path("source.onnx")) for name in ("a.onnx", "b.onnx")]
    assert opened == [Path("source.onnx")]
    assert records[0] == records[1]
    assert (records[0]["reference"], records[0]["split"], records[0]["matched"]) == ("a fake", "val", 2)


def test_a_file_beyond_the_limits_is_refused_with_its_comparison(
    evaluation: EvaluationSet, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "open_for_evaluation", lambda path, device: Fake(spec, 0.1))
    with pytest.raises(BeyondLimitsError, match=r"x\.onnx was not published") as caught:
        checked(evaluation, spec, [])(Path("x.onnx"), Path("source.onnx"))
    assert caught.value.comparison["missed"] == 2


def test_an_engine_is_compared_on_its_device_and_other_files_are_not(
    evaluation: EvaluationSet, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str | None] = []

    def open_there(path: Path, device: str | None) -> Fake:
        devices.append(device)
        return Fake(spec, 0.9)

    monkeypatch.setattr(source_check, "open_for_evaluation", open_there)
    check = checked(evaluation, spec, [], device="cuda:1")
    for name in ("m.trt.engine", "m.trt.onnx"):
        check(Path(name), Path("source.onnx"))
    assert devices == ["cuda:1", None]


def test_the_limit_of_the_drop_can_be_set(
    evaluation: EvaluationSet, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_check, "open_for_evaluation", lambda path, device: Fake(spec, 0.9))
    record = checked(evaluation, spec, [], max_drop=7.5)(Path("a.onnx"), Path("source.onnx"))
    assert record["limits"]["max_drop"] == 7.5


def test_doubts_name_a_missing_comparison_and_foreign_classes(
    dataset: Dataset, evaluation: EvaluationSet
) -> None:
    assert comparison_doubts(evaluation) == ()
    assert "not compared" in comparison_doubts(None)[0]
    other = EvaluationSet.open(dataset.path, "val", ("cat",), limit=1)
    assert "mAP was not" in comparison_doubts(other)[0]
