"""Batches: order, content and layout are functions of seed, epoch and position."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.data.augment import Augment
from distill.data.disk_cache import DiskCache, ScaledImage
from distill.data.loader import (
    Batch,
    Batches,
    collate,
    find_unlabelled,
    open_datasets,
    open_disk_cache,
)
from distill.data.mixup import MixUp
from distill.data.sample import Sample
from distill.data.training_images import TrainingImages
from distill.recipe import Recipe
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
    (sample,) = TrainingImages(datasets, SPEC, cache_mib=1)
    assert sample.image_bgr.shape == (90, 160, 3)
    np.testing.assert_allclose(sample.xyxy, [[64, 27, 96, 63]], atol=1e-3)


@pytest.mark.parametrize("cache_mib", [0, 1])
def test_an_image_is_the_same_from_memory_and_from_its_file(
    tmp_path: Path, cache_mib: int, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = open_datasets([write_dataset(tmp_path, 3)])
    images = TrainingImages(datasets, SPEC, cache_mib=cache_mib)
    for _ in range(2):
        grey: list[NDArray[np.uint8]] = [np.unique(images[i].image_bgr) for i in range(3)]
        assert [g.tolist() for g in grey] == [[0], [1], [2]]
    assert capsys.readouterr().err.count("0 of 3 training images fit") == (cache_mib == 0)


def test_memory_is_bounded_and_the_message_says_what_the_disk_would_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = SPEC.resized((384, 640))  # 675 KiB an image
    images = TrainingImages(open_datasets([write_dataset(tmp_path, 4, hw=(9, 16))]), wide, cache_mib=2)
    for _ in range(2):
        for image in images:
            assert image.image_bgr.shape == (360, 640, 3)
    assert len(images._images._kept) == 3
    assert "3 of 4 training images fit into memory" in (said := capsys.readouterr().err)
    assert "disk_cache_mib = 3 would cache all on disk" in said


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path, 3)])
    images = TrainingImages(datasets, SPEC, cache_mib=1)
    (tmp_path / "images/train/001.png").write_bytes(b"broken")
    assert images[0].image_bgr.shape == images[2].image_bgr.shape
    with pytest.raises(DataError, match=r"001\.png"):
        images[1]


def photographs(root: Path) -> Path:
    """Twelve JPEGs of noise in two sizes with up to three boxes each."""
    data, random = write_dataset(root, 0), np.random.default_rng(0)
    for i in range(12):
        image = random.integers(0, 256, (90, 160) if i % 3 else (200, 170), np.uint8)
        cv2.imwrite(str(root / f"images/train/{i}.jpg"), cv2.merge([image, 255 - image, image // 2]))
        boxes = [f"{k % 2} {0.3 + 0.1 * k} 0.5 0.2 0.3" for k in range(i % 4)]
        (root / f"labels/train/{i}.txt").write_text("\n".join(boxes))
    return data


def test_batches_are_the_same_bit_for_bit_with_and_without_caches(tmp_path: Path) -> None:
    datasets = open_datasets([photographs(tmp_path / "set")])

    def epochs(cache_mib: int, disk: DiskCache | None) -> list[Batch]:
        images = TrainingImages(datasets, SPEC, cache_mib=cache_mib, disk=disk)
        loader = batches(images, threads=3)
        with loader:
            return [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]

    plain = epochs(0, None)
    assert same(plain, epochs(1, None))
    for _ in ("cold", "warm"):
        assert same(plain, epochs(0, DiskCache(tmp_path / "cache", 100, spare_mib=0)))
    assert same(plain, epochs(1, DiskCache(tmp_path / "cache", 100, spare_mib=0)))
    assert len(list((tmp_path / "cache").rglob("*.bgr"))) == 12


def test_a_changed_image_is_decoded_anew(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path / "set", 1)])
    path = tmp_path / "set/images/train/000.png"

    def grey() -> int:
        disk = DiskCache(tmp_path / "cache", 100, spare_mib=0)
        return int(TrainingImages(datasets, SPEC, cache_mib=0, disk=disk)[0].image_bgr.max())

    assert grey() == grey() == 0
    cv2.imwrite(str(path), np.full((90, 160, 3), 77, np.uint8))
    os.utime(path, ns=(1, 1))  # however coarse the clock of the disk is
    assert grey() == 77


def test_an_entry_is_used_instead_of_the_file(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path / "set", 1)])
    path, disk = tmp_path / "set/images/train/000.png", DiskCache(tmp_path / "cache", 100, spare_mib=0)
    key = disk.key(path, SPEC.input_hw)
    assert key is not None
    disk.put(key, ScaledImage(np.full((90, 160, 3), 9, np.uint8), (90, 160)))
    assert TrainingImages(datasets, SPEC, cache_mib=0, disk=disk)[0].image_bgr.max() == 9


@pytest.mark.parametrize("mib", [0, 5])
def test_a_recipe_decides_about_the_disk_cache(tmp_path: Path, mib: int) -> None:
    recipe = Recipe(name="x", disk_cache_mib=mib, disk_cache=str(tmp_path / "here"))
    assert (open_disk_cache(recipe) is not None) == (tmp_path / "here").is_dir() == bool(mib)


def test_data_sets_are_trained_on_together(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path / "a", 2), write_dataset(tmp_path / "b", 3)])
    assert len(TrainingImages(datasets, SPEC, cache_mib=1)) == 5


def test_data_sets_with_different_classes_are_refused(tmp_path: Path) -> None:
    paths = [write_dataset(tmp_path / "a", 1), write_dataset(tmp_path / "b", 1, ("green", "red"))]
    with pytest.raises(DataError, match=r"green, red.*red, green"):
        open_datasets(paths)


def count_by_kind(loader: Batches, epoch: int) -> list[tuple[int, int]]:
    """Labelled and unlabelled images of each batch, by what the batch itself says."""
    return [
        (len(batch.images), 0)
        if batch.labelled is None
        else (int(batch.labelled.sum()), int((~batch.labelled).sum()))
        for batch in all_of(loader, epoch)
    ]


def unlabelled_at_the_end(labelled: int, count: int) -> list[Sample]:
    """Grey 100 with a box, and grey 200 without one."""
    nothing = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    return [
        Sample(np.full((96, 160, 3), 100, np.uint8), np.array([0]), np.array([[70, 40, 90, 60]], np.float32))
        if i < labelled
        else Sample(np.full((96, 160, 3), 200, np.uint8), *nothing)
        for i in range(count)
    ]


PLAIN = Augment(hue=0, saturation=0, value=0, mosaic=1.0, zoom=(1.0, 1.0), visible=0.0)


@pytest.mark.parametrize(("labelled", "count"), [(8, 16), (12, 16), (4, 16), (15, 16)])
def test_every_batch_has_its_share_of_unlabelled_images(labelled: int, count: int) -> None:
    images = unlabelled_at_the_end(labelled, count)
    loader = Batches(images, SPEC, PLAIN, batch=4, seed=0, threads=1, labelled=labelled)
    seen = count_by_kind(loader, 2)
    assert sum(known for known, _ in seen) == labelled
    assert {unknown for _, unknown in seen} <= {
        4 * (count - labelled) // count,
        -(-4 * (count - labelled) // count),
    }


def test_no_mosaic_mixes_labelled_and_unlabelled_images() -> None:
    loader = Batches(unlabelled_at_the_end(6, 12), SPEC, PLAIN, batch=4, seed=0, threads=2, labelled=6)
    for batch in all_of(loader, 0):
        assert batch.labelled is not None
        greys = {100: batch.images[batch.labelled], 200: batch.images[~batch.labelled]}
        for grey, images in greys.items():
            assert set(images.unique().tolist()) <= {grey, SPEC.pad_value}
        assert set(batch.targets[:, 0].tolist()) <= set(batch.labelled.nonzero().flatten().tolist())


def test_no_blend_mixes_labelled_and_unlabelled_images() -> None:
    blended = replace(PLAIN, mixup=MixUp(share=1))
    loader = Batches(unlabelled_at_the_end(6, 12), SPEC, blended, batch=4, seed=0, threads=2, labelled=6)
    for batch in all_of(loader, 0):
        assert batch.labelled is not None
        # grey 100 and 200, and the border's level between them
        assert int(batch.images[batch.labelled].max()) <= SPEC.pad_value
        assert int(batch.images[~batch.labelled].min()) >= SPEC.pad_value


def test_unlabelled_images_change_with_the_epoch_and_not_with_a_resume() -> None:
    def loader() -> Batches:
        return Batches(samples(12), SPEC, Augment(), batch=4, seed=0, threads=2, labelled=7)

    assert same(all_of(loader(), 1)[1:], all_of(loader(), 1, start=1))
    assert not same(all_of(loader(), 1), all_of(loader(), 2))


def test_training_images_without_labels_follow_the_labelled_ones(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path / "known", 3)])
    (tmp_path / "frames/a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "frames/a/1.png"), np.full((90, 160, 3), 77, np.uint8))
    unlabelled = find_unlabelled([tmp_path / "frames"], datasets)
    images = TrainingImages(datasets, SPEC, cache_mib=1, unlabelled=unlabelled)
    assert (len(images), images.labelled) == (4, 3)
    assert images[3].image_bgr[0, 0, 0] == 77
    assert [len(images[i].class_id) for i in range(4)] == [1, 1, 1, 0]


def test_an_image_of_a_split_is_not_an_unlabelled_one(tmp_path: Path) -> None:
    datasets = open_datasets([write_dataset(tmp_path, 2)])
    with pytest.raises(DataError, match=r"000.png belongs to the train split of .*data.yaml"):
        find_unlabelled([tmp_path / "images"], datasets)


def test_unlabelled_images_are_somewhere(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for name in ("labels", "nowhere"):
        with pytest.raises(DataError, match=f"{name} is not a folder with images"):
            find_unlabelled([tmp_path / name], [])


def sources(root: Path) -> Path:
    """Three images of source a, one of b, and one of c among them for validation only."""
    for split, names in (("train", ("a_0", "a_1", "a_2", "b_0")), ("val", ("a_3", "b_1", "c_0"))):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i, name in enumerate(names):
            cv2.imwrite(str(root / f"images/{split}/{name}.png"), np.full((90, 160, 3), i, np.uint8))
            (root / f"labels/{split}/{name}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return root / "data.yaml"


def test_a_source_that_is_left_out_is_in_no_split_and_not_among_the_unlabelled(tmp_path: Path) -> None:
    data = sources(tmp_path)
    (tmp_path / "more").mkdir()
    for name in ("a_9", "b_9"):
        cv2.imwrite(str(tmp_path / f"more/{name}.png"), np.zeros((90, 160, 3), np.uint8))
    (kept,) = open_datasets([data], ["a"])
    assert [path.stem for path in kept.images("train")] == ["b_0"]
    assert [path.stem for path in kept.images("val")] == ["b_1", "c_0"]
    assert [path.stem for path in find_unlabelled([tmp_path / "more"], [kept])] == ["b_9"]


def test_leaving_out_an_unknown_source_or_all_is_refused(tmp_path: Path) -> None:
    data = sources(tmp_path)
    with pytest.raises(UsageError, match="no image is of the source d") as caught:
        open_datasets([data], ["a", "d"])
    assert "there are a, b, c" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no training image is left"):
        open_datasets([data], ["a", "b"])


def test_a_source_is_repeated_within_an_epoch(tmp_path: Path) -> None:
    images = TrainingImages(open_datasets([sources(tmp_path)]), SPEC, cache_mib=1, repeat={"b": 3})
    assert len(images) == images.labelled == 6
    assert [int(images[i].image_bgr[0, 0, 0]) for i in range(6)] == [0, 1, 2, 3, 3, 3]
