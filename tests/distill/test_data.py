"""Batches: order, content and layout are functions of seed, epoch and position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.augment import Augment, Sample
from distill.data import Batch, Batches, TrainingImages, collate, open_datasets
from edgestill.errors import DataError, UsageError
from edgestill.spec import ModelSpec

SPEC = ModelSpec(name="yolov5n", input_hw=(96, 160), classes=("red", "green"))


def write_dataset(
    root: Path, count: int, classes: Sequence[str] = SPEC.classes, *, hw: tuple[int, int] = (90, 160)
) -> Path:
    for name in ("images/train", "labels/train"):
        (root / name).mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(root / f"images/train/{i:03}.png"), np.full((*hw, 3), i, np.uint8))
        (root / f"labels/train/{i:03}.txt").write_text(f"{i % len(classes)} 0.5 0.5 0.2 0.4\n")
    (root / "data.yaml").write_text(f"train: images/train\nnames: [{', '.join(classes)}]\n")
    return root / "data.yaml"


def samples(count: int) -> list[Sample]:
    return [
        Sample(np.full((96, 160, 3), i, np.uint8), np.array([0]), np.array([[70, 40, 90, 60]], np.float32))
        for i in range(count)
    ]


def batches(images: Sequence[Sample], *, batch: int = 4, threads: int = 2, seed: int = 0) -> Batches:
    return Batches(images, SPEC, Augment(), batch=batch, seed=seed, threads=threads)


def all_of(loader: Batches, epoch: int, start: int = 0) -> list[Batch]:
    with loader:
        return list(loader.epoch(epoch, start))


def same(one: Sequence[Batch], two: Sequence[Batch]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        for a, b in zip(one, two, strict=True)
    )


def test_an_epoch_is_the_same_whatever_the_threads_do() -> None:
    images = samples(12)
    assert same(all_of(batches(images, threads=1), 3), all_of(batches(images, threads=4), 3))


def test_an_epoch_that_goes_on_is_the_rest_of_the_whole_one() -> None:
    images = samples(20)
    assert same(all_of(batches(images), 1)[2:], all_of(batches(images), 1, start=2))


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)], ids=["seed", "epoch"])
def test_another_seed_or_epoch_has_another_order(seed: int, epoch: int) -> None:
    images = samples(12)
    assert not same(all_of(batches(images), 0), all_of(batches(images, seed=seed), epoch))


def test_an_incomplete_batch_is_left_out() -> None:
    assert [len(b.images) for b in all_of(batches(samples(11)), 0)] == [4, 4]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    assert [len(b.images) for b in all_of(batches(samples(3)), 0)] == [3]


def test_the_parts_of_several_processes_are_the_batches_of_one() -> None:
    images = samples(19)
    parts = [
        all_of(Batches(images, SPEC, Augment(), batch=8, seed=0, threads=2, share=(rank, 2)), 3, start=1)
        for rank in (0, 1)
    ]
    for whole, first, second in zip(all_of(batches(images, batch=8), 3, start=1), *parts, strict=True):
        assert torch.equal(torch.cat((first.images, second.images)), whole.images)
        moved = second.targets + torch.tensor([4, 0, 0, 0, 0, 0])
        assert torch.equal(torch.cat((first.targets, moved)), whole.targets)


def test_few_images_are_shared_evenly() -> None:
    parts = [Batches(samples(7), SPEC, Augment(), batch=8, seed=0, threads=1, share=(r, 2)) for r in (0, 1)]
    assert [[len(batch.images) for batch in all_of(part, 0)] for part in parts] == [[3], [3]]
    assert parts[0].batch == 6


@pytest.mark.parametrize(
    ("count", "batch", "processes", "message"),
    [(8, 4, 3, "batch = 4 images for 3 processes"), (1, 4, 2, "1 training images for 2 processes")],
)
def test_what_cannot_be_shared_is_refused(count: int, batch: int, processes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Batches(samples(count), SPEC, Augment(), batch=batch, seed=0, threads=1, share=(0, processes))


def test_images_are_channels_last_in_memory() -> None:
    (batch,) = all_of(batches(samples(4)), 0)
    assert batch.images.shape == (4, 3, 96, 160)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_targets_are_numbered_by_image() -> None:
    rows = [np.array([[1, 0.5, 0.5, 0.1, 0.1]], np.float32), np.zeros((0, 5), np.float32)] * 2
    made = collate([(np.zeros((32, 32, 3), np.uint8), r) for r in rows])
    assert made.targets[:, 0].tolist() == [0, 2]
    assert made.targets.dtype == torch.float32


def test_a_batch_without_any_object_has_no_targets() -> None:
    empty = [(np.zeros((32, 32, 3), np.uint8), np.zeros((0, 5), np.float32))] * 2
    assert collate(empty).targets.shape == (0, 6)


def test_colours_come_in_the_order_that_the_spec_states() -> None:
    image = np.zeros((96, 160, 3), np.uint8)
    image[..., 2] = 200  # red, as OpenCV orders them
    red = [Sample(image, np.zeros(0, np.int64), np.zeros((0, 4), np.float32))]
    (batch,) = all_of(
        Batches(red, SPEC, Augment(hue=0, saturation=0, value=0), batch=1, seed=0, threads=1), 0
    )
    assert batch.images.amax((0, 2, 3)).tolist()[0] == 200


@pytest.mark.parametrize("hw", [(90, 160), (180, 320), (45, 80)])
def test_images_are_kept_at_the_scale_of_the_letterbox(tmp_path: Path, hw: tuple[int, int]) -> None:
    datasets = open_datasets([write_dataset(tmp_path, 1, hw=hw)])
    (sample,) = TrainingImages(datasets, SPEC, cache_mib=1, threads=1)
    assert sample.image_bgr.shape == (90, 160, 3)
    np.testing.assert_allclose(sample.xyxy, [[64, 27, 96, 63]], atol=1e-3)


@pytest.mark.parametrize("cache_mib", [0, 1])
def test_an_image_is_the_same_from_memory_and_from_disk(
    tmp_path: Path, cache_mib: int, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = open_datasets([write_dataset(tmp_path, 3)])
    images = TrainingImages(datasets, SPEC, cache_mib=cache_mib, threads=1)
    grey: list[NDArray[np.uint8]] = [np.unique(images[i].image_bgr) for i in range(3)]
    assert [g.tolist() for g in grey] == [[0], [1], [2]]
    assert ("0 of 3 images fit" in capsys.readouterr().err) == (cache_mib == 0)


def test_data_sets_are_trained_on_together(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path / "a", 2), write_dataset(tmp_path / "b", 3)])
    assert len(TrainingImages(datasets, SPEC, cache_mib=1, threads=1)) == 5


def test_data_sets_with_different_classes_are_refused(tmp_path: Path) -> None:
    paths = [write_dataset(tmp_path / "a", 1), write_dataset(tmp_path / "b", 1, ("green", "red"))]
    with pytest.raises(DataError, match=r"green, red.*red, green"):
        open_datasets(paths)
