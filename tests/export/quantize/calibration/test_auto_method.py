"""A method is chosen on images that nothing else was asked of, and only where it gains."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError
from edgestill.spec import ModelSpec
from export.quantize.calibration import auto_method
from export.quantize.calibration.auto_method import MethodTrial, choose_method, trial_images
from export.quantize.calibration.images import choose_images
from export.quantize.calibration.range_methods import METHODS
from export.verify.compare import make_samples


def paths(trial: MethodTrial) -> list[Path]:
    return [sample.path for sample in trial.samples]


def test_val_is_the_third_split_where_another_is_verified_on(dataset: Dataset, spec: ModelSpec) -> None:
    calibration = choose_images(dataset, spec, count=4)
    trial = trial_images(dataset, spec.classes, calibration, [])
    assert paths(trial) == dataset.images("val")
    assert trial.where == "4 other images of val"


def test_otherwise_it_is_what_is_left_of_train(dataset: Dataset, spec: ModelSpec) -> None:
    calibration = choose_images(dataset, spec, count=4)
    trial = trial_images(dataset, spec.classes, calibration, dataset.images("val"))
    assert set(paths(trial)) == set(dataset.images("train")) - set(calibration.paths)


def test_a_copy_of_a_calibrated_image_is_left_out(dataset: Dataset, spec: ModelSpec) -> None:
    calibration = choose_images(dataset, spec, count=4)
    copy = dataset.path.parent / "images" / "train" / "copy.png"
    shutil.copy(calibration.paths[0], copy)
    trial = trial_images(dataset, spec.classes, calibration, dataset.images("val"))
    assert copy in dataset.images("train")
    assert copy not in paths(trial)


def test_nothing_left_is_told(dataset: Dataset, spec: ModelSpec) -> None:
    calibration = choose_images(dataset, spec, count=12)
    with pytest.raises(DataError, match="no images to choose a method on"):
        trial_images(dataset, spec.classes, calibration, dataset.images("val"))


@pytest.fixture
def open_as(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace detectors by ones that find the light in the middle, off by so many pixels, by file name."""

    class Fake:
        def __init__(self, off: float) -> None:
            side = np.float32(0.1 * 64)
            box = np.array([[32, 24, 32, 24]], np.float32) + np.array([[-side, -side, side, side]]) / 2 + off
            self.found = Detections(box.astype(np.float32), np.array([0.9], np.float32), np.array([0]))

        def __call__(self, image: Any) -> Detections:
            return self.found

        def close(self) -> None:
            pass

    def believe(offs: dict[str, float]) -> None:
        monkeypatch.setattr(auto_method, "open_for_evaluation", lambda path: Fake(offs[path.stem]))

    return believe


def trial_of(dataset: Dataset, classes: tuple[str, ...]) -> MethodTrial:
    samples = make_samples(dataset, dataset.images("val"), classes)
    return MethodTrial(samples=samples, classes=classes, where="4 images")


@pytest.mark.parametrize(
    ("classes", "truth"),
    [(("red", "green"), "labels"), (("other", "names"), "FP32's detections above 0.3")],
)
def test_the_method_of_the_best_map_is_taken(
    classes: tuple[str, ...], truth: str, dataset: Dataset, open_as: Any
) -> None:
    open_as({"source": 0, "mse": 2.0, "max": 2.0, "entropy": 0.0, "percentile": 2.0})
    method, record = choose_method(
        trial_of(dataset, classes), Path("source.onnx"), lambda m: Path(f"{m}.onnx"), "mse"
    )
    assert method == "entropy"
    assert (record["truth"], record["images"]) == (truth, "4 images")
    assert set(record["map50_95"]) == set(METHODS)
    assert record["map50_95"]["entropy"] > record["map50_95"]["mse"]


def test_the_default_stays_unless_another_gains(dataset: Dataset, open_as: Any) -> None:
    open_as(dict.fromkeys(("source", *METHODS), 0.0))
    method, _ = choose_method(
        trial_of(dataset, ("red", "green")), Path("source.onnx"), lambda m: Path(f"{m}.onnx"), "percentile"
    )
    assert method == "percentile"


@pytest.mark.parametrize("classes", [("red", "green"), ("other", "names")])
def test_a_choice_between_methods_that_find_nothing_is_none(
    classes: tuple[str, ...], dataset: Dataset, open_as: Any
) -> None:
    open_as(dict.fromkeys(METHODS, 30.0) | {"source": 0})
    method, record = choose_method(
        trial_of(dataset, classes), Path("source.onnx"), lambda m: Path(f"{m}.onnx"), "mse"
    )
    assert method == "mse"
    [doubt] = record["doubts"]
    assert "none has an mAP50-95 above 0 on 4 images" in doubt
