"""Which images INT8 is fitted to, and that they are not those it is judged by."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError, UsageError
from edgestill.files import sha256_file
from edgestill.spec import ModelSpec
from export.quantize.calibration.images import choose_images
from runtime.letterbox import prepare


def test_images_come_from_the_training_split(dataset: Dataset, spec: ModelSpec) -> None:
    chosen = choose_images(dataset, spec, count=6)
    assert {path.parent.name for path in chosen.paths} == {"train"}
    assert chosen.record.split == "train"


def test_each_image_is_recorded_by_its_content(dataset: Dataset, spec: ModelSpec) -> None:
    chosen = choose_images(dataset, spec, count=6)
    root = dataset.path.parent
    assert chosen.record.images == {str(p.relative_to(root)): sha256_file(p) for p in chosen.paths}


def test_the_choice_is_the_same_every_time(dataset: Dataset, spec: ModelSpec) -> None:
    assert choose_images(dataset, spec, count=5).paths == choose_images(dataset, spec, count=5).paths


def test_dark_and_bright_and_small_and_large_are_all_there(dataset: Dataset, spec: ModelSpec) -> None:
    chosen = choose_images(dataset, spec, count=4).paths
    bright = {bool(read_image(p).mean() > 100) for p in chosen}
    large = {bool(dataset.labels(p).cxcywh[0, 3] > 0.2) for p in chosen}
    assert (bright, large) == ({True, False}, {True, False})


def test_a_copy_of_a_verified_image_is_found_by_its_content(dataset: Dataset, spec: ModelSpec) -> None:
    root = dataset.path.parent / "images"
    shutil.copy(root / "train" / "3.png", root / "val" / "renamed.png")
    with pytest.raises(
        DataError,
        match=r"1 of 12 calibration images are also used for verification, e\.g\. 3\.png is renamed",
    ):
        choose_images(dataset, spec, verified_on=dataset.images("val"))


def test_a_copy_in_the_data_set_s_own_test_split_is_found_unasked(dataset: Dataset, spec: ModelSpec) -> None:
    root = dataset.path.parent
    (root / "images" / "test").mkdir()
    shutil.copy(root / "images" / "train" / "5.png", root / "images" / "test" / "zebra.png")
    dataset.path.write_text(dataset.path.read_text() + "test: images/test\n")
    with pytest.raises(DataError, match=r"5\.png is zebra\.png") as caught:
        choose_images(Dataset.open(dataset.path), spec)
    assert (caught.value.exit_code, caught.value.hint[:38]) == (3, "calibrate on images that are not in va")


def test_what_is_fitted_to_nothing_may_look_at_any_image(dataset: Dataset, spec: ModelSpec) -> None:
    assert len(choose_images(dataset, spec, split="val", fits=False).paths) == 4


def test_ranges_may_not_come_from_an_evaluation_split(dataset: Dataset, spec: ModelSpec) -> None:
    with pytest.raises(DataError, match="4 of 4 calibration images are also used for verification"):
        choose_images(dataset, spec, split="val")


def test_a_test_split_that_is_not_on_this_disk_is_no_hindrance(dataset: Dataset, spec: ModelSpec) -> None:
    dataset.path.write_text(dataset.path.read_text() + "test: images/elsewhere\n")
    assert len(choose_images(Dataset.open(dataset.path), spec).paths) == 12


def test_a_picture_of_equal_size_but_other_content_is_another(dataset: Dataset, spec: ModelSpec) -> None:
    train = dataset.images("train")[0]
    data = bytearray(train.read_bytes())
    data[-20] ^= 1
    (dataset.path.parent / "images" / "val" / "twin.png").write_bytes(data)
    assert len(choose_images(dataset, spec).paths) == 12


def test_the_record_names_strata_pre_processing_and_tools(dataset: Dataset, spec: ModelSpec) -> None:
    record = choose_images(dataset, spec, count=8).record
    assert sum(record.strata.values()) == 8
    assert record.preprocessing["scale"] == spec.scale
    assert (record.preprocessing["pixel_order"], record.preprocessing["pad_value"]) == ("rgb", 114)
    assert set(record.tools) == {"edgestill", "numpy", "onnxruntime", "opencv"}


def test_other_images_in_the_same_data_set_are_fine(dataset: Dataset, spec: ModelSpec) -> None:
    assert len(choose_images(dataset, spec, verified_on=dataset.images("val")).paths) == 12


def test_calibration_sees_what_the_runtime_sees(dataset: Dataset, spec: ModelSpec) -> None:
    chosen = choose_images(dataset, spec, count=2)
    for path, tensor in zip(chosen.paths, chosen.tensors(), strict=True):
        np.testing.assert_array_equal(tensor, prepare(read_image(path), spec)[0])


def test_another_preprocessing_is_another_record(dataset: Dataset, spec: ModelSpec) -> None:
    first = choose_images(dataset, spec, count=2).record
    second = choose_images(dataset, spec.resized((96, 96)), count=2).record
    assert first.preprocessing_sha256 != second.preprocessing_sha256


def test_no_images_are_refused(dataset: Dataset, spec: ModelSpec) -> None:
    with pytest.raises(UsageError, match="0 calibration images"):
        choose_images(dataset, spec, count=0)


def test_data_without_a_training_split_is_refused(tmp_path: Path, dataset: Dataset, spec: ModelSpec) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("val: images/val\nnames: [red, green]\n")
    with pytest.raises(UsageError, match="no split 'train'"):
        choose_images(Dataset.open(path), spec)
