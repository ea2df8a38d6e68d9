"""The map gives a file the operating point of its source, on images that nothing else was asked of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.manifest import read_manifest
from export.build import export
from export.job import Job
from export.quantize.calibration.images import choose_images
from export.verify.compare import DetectorRun, Sample
from export.verify.score_calibration import (
    BAND,
    FLOOR,
    HeldOutImages,
    ScoreCalibration,
    choose_held_out,
    fit_score_map,
    measure_effect,
)
from runtime.detector import open_detector
from runtime.metrics.coco import Truth
from runtime.score_map import reported

Scores = NDArray[np.float64]


def drawn(count: int, seed: int = 0) -> Scores:
    """Scores as a detector has them: many low, some high."""
    return np.random.default_rng(seed).beta(0.5, 1.2, count).clip(0.011, 0.99)


def squeezed(scores: Scores) -> Scores:
    """What rounding does: all scores move towards zero, the high ones most."""
    odds = np.log(scores / (1 - scores))
    return np.asarray(1 / (1 + np.exp(-(0.8 * odds - 0.7))), np.float64)


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5, 0.75])
def test_as_many_boxes_are_above_each_threshold_as_in_the_source(threshold: float) -> None:
    true = drawn(2000)
    ours = squeezed(true)
    told = reported(ours, fit_score_map(true, ours))
    wanted = (true > threshold).sum()
    assert abs((ours > threshold).sum() - wanted) > 50
    assert abs((told > threshold).sum() - wanted) < 0.02 * wanted


def test_the_map_holds_on_images_that_it_was_not_fitted_on() -> None:
    true, others = drawn(2000), drawn(2000, seed=1)
    told = reported(squeezed(others), fit_score_map(true, squeezed(true)))
    np.testing.assert_allclose(told, others, atol=0.02)


def test_equal_scores_are_left_alone() -> None:
    true = drawn(1000)
    for network, told in fit_score_map(true, true):
        assert network == pytest.approx(told, abs=0.01)


def test_few_boxes_make_few_knots_and_too_few_none() -> None:
    true = np.linspace(0.1, 0.9, 2 * BAND)
    knots = fit_score_map(true, squeezed(true))
    assert knots[0] == (FLOOR, FLOOR)
    assert len(knots) == 3
    assert fit_score_map(true[: BAND - 1], true[: BAND - 1]) == ()
    assert fit_score_map(true, np.zeros(0)) == ()


def test_one_odd_box_hardly_moves_the_map() -> None:
    """A single rank would: the surest box of the file at 0.6, of FP32 at 0.9."""
    true = drawn(400)
    ours = np.where(true == true.max(), 0.6, true)
    np.testing.assert_allclose(reported(true, fit_score_map(true, ours)), true, atol=0.03)


def test_a_map_is_the_same_every_time_whatever_the_order() -> None:
    true = drawn(500)
    ours = squeezed(true)
    assert fit_score_map(true, ours) == fit_score_map(true[::-1], np.random.default_rng(3).permutation(ours))


# Which images


def test_images_that_are_verified_on_are_refused_under_any_name(dataset: Dataset, tmp_path: Path) -> None:
    other = tmp_path / "other" / "zz.png"
    other.parent.mkdir()
    shutil.copy(dataset.images("val")[0], other)
    with pytest.raises(
        DataError, match=r"1 of 4 images of val are also used for verification, e.g. 0.png is zz.png"
    ):
        choose_held_out(dataset, "val", calibrated=(), verified=[other])


def test_the_test_split_is_for_the_end(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="flatters the test"):
        choose_held_out(dataset, "test", calibrated=(), verified=())


def test_calibrated_images_are_left_out(dataset: Dataset) -> None:
    train = dataset.images("train")
    made = choose_held_out(dataset, None, calibrated=train[:9], verified=dataset.images("val"))
    assert made.split == "train"
    assert [sample.path for sample in made.samples] == train[9:]
    with pytest.raises(DataError, match="are left to fit a map on"):
        choose_held_out(dataset, "train", calibrated=train, verified=())


def test_val_is_taken_where_nothing_judges_by_it(dataset: Dataset) -> None:
    made = choose_held_out(dataset, None, calibrated=dataset.images("train"), verified=())
    assert (made.split, len(made.samples)) == ("val", 4)


# Through the whole export


@pytest.fixture
def lively(checkpoint: Checkpoint) -> Checkpoint:
    """A network whose scores reach from 0 to 1."""
    weights = dict(checkpoint.weights)
    for i in range(3):
        weights[f"model.24.m.{i}.weight"] = weights[f"model.24.m.{i}.weight"] * np.float32(4)
    return Checkpoint(spec=checkpoint.spec, weights=weights, sha256="0" * 64)


@pytest.fixture
def images(dataset: Dataset) -> HeldOutImages:
    return choose_held_out(dataset, "val", calibrated=(), verified=())


@pytest.mark.default_cases("onnx")
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_map_is_in_the_file_its_manifest_and_what_the_runtime_reports(
    target: Any, lively: Checkpoint, dataset: Dataset, images: HeldOutImages, tmp_path: Path
) -> None:
    calibration = choose_images(dataset, lively.spec, count=2)
    job = Job(
        checkpoint=lively, target=target, precision="int8", calibration=calibration, recalibration=images
    )
    seen: list[Path] = []

    def check(built: Path, source: Path) -> None:
        seen.append(source)
        assert open_detector(source, threads=1).spec.score_map == ()

    made = export(job, tmp_path / "out", "m", check=check)
    assert len(seen) == 1
    record = made.record.recalibration
    assert record is not None
    knots = tuple((a, b) for a, b in record["score_map"])
    assert len(knots) > 2
    assert (record["split"], record["images"]) == ("val", 4)
    detector = open_detector(made.files[0], conf=0.25, threads=1)
    manifest = read_manifest(made.files[0])
    assert manifest is not None
    assert detector.spec.score_map == knots == manifest.spec.score_map
    assert manifest.recalibration == record


@pytest.mark.slow
def test_the_same_images_make_the_same_file(
    lively: Checkpoint, dataset: Dataset, images: HeldOutImages, tmp_path: Path
) -> None:
    calibration = choose_images(dataset, lively.spec, count=2)
    job = Job(
        checkpoint=lively, target="onnx", precision="fp16", calibration=calibration, recalibration=images
    )
    for name in ("a", "b"):
        export(job, tmp_path / name, "m", check=lambda *_: None)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_too_little_to_see_is_a_data_error(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = ScoreCalibration(HeldOutImages(samples=(), data="d", split="val"), tmp_path)
    monkeypatch.setattr(ScoreCalibration, "_scores", lambda *_: np.zeros(3))
    with pytest.raises(DataError, match="FP32 finds 0 boxes on 0 images of val: too few to fit a map"):
        fitted.fit(tmp_path)


# What it does


def side(scores: list[float]) -> DetectorRun:
    boxes = np.array([[10.0 * i, 0, 10.0 * i + 8, 8] for i in range(len(scores))], np.float32)
    found = Detections(boxes, np.array(scores, np.float32), np.zeros(len(scores), np.int64))
    return DetectorRun((found,), ((100, 100),))


def test_the_effect_is_told_by_labels_before_and_after() -> None:
    """Of three lights the file finds one at the threshold, and all three with the map; FP32 had all three."""
    knots = ((0.01, 0.01), (0.15, 0.3), (0.6, 0.8))
    network = [0.5, 0.2, 0.15]
    true, ours = side([0.7, 0.5, 0.3]), side(reported(np.array(network), knots).tolist())
    truth = Truth(true.found[0].xyxy, true.found[0].class_id)
    told = measure_effect(true, ours, [Sample(Path("x"), truth)], ("red",), knots)
    assert told["truth"] == "labels"
    assert told["before"]["boxes"] == 1
    assert told["before"]["recall"] == pytest.approx(1 / 3)
    assert told["before"]["precision"] == 1.0
    assert told["after"] == told["reference"]
    assert told["after"]["f1"] == 1.0
    drift = told["score_drift_mean"]
    assert abs(drift["after"]) < abs(drift["before"])


def test_without_labels_the_sources_boxes_are_the_truth() -> None:
    told = measure_effect(
        side([0.7, 0.1]), side([0.6, 0.3]), [Sample(Path("x"), None)], ("red",), ((0.2, 0.21),)
    )
    assert told["truth"] == "the reference's boxes above 0.25"
    assert told["reference"]["precision"] == told["reference"]["recall"] == 1.0
    assert told["after"]["boxes"] == 2
    assert told["after"]["precision"] == 0.5


def test_nothing_found_has_no_precision() -> None:
    told = measure_effect(side([0.7]), side([0.1]), [Sample(Path("x"), None)], ("red",), ((0.2, 0.21),))
    assert (told["after"]["precision"], told["after"]["recall"], told["after"]["f1"]) == (None, 0.0, 0.0)
