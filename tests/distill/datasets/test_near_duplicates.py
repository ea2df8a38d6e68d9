"""Copies and neighbours are found, other images are not, however alike their skies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from distill.datasets.check import check_dataset
from distill.datasets.near_duplicates import BITS, BLOCK, LISTED, NEAR, Hash, near_duplicates, perceptual_hash
from edgestill.dataset import Dataset, read_image

Image = NDArray[np.uint8]


def street(seed: int, hw: tuple[int, int] = (90, 160)) -> Image:
    """Patches of many sizes, as streets have them."""
    random = np.random.default_rng(seed)
    image = np.full((*hw, 3), random.integers(40, 200, 3), np.uint8)
    for _ in range(60):
        x, y = random.integers(0, hw[1]), random.integers(0, hw[0])
        w, h = random.integers(4, hw[1] // 3), random.integers(4, hw[0] // 3)
        cv2.rectangle(
            image, (int(x), int(y)), (int(x + w), int(y + h)), random.integers(0, 255, 3).tolist(), -1
        )
    return image


def sky(seed: int) -> Image:
    """The same evening sky, each time with the noise of another exposure."""
    light = np.linspace(90, 210, 90)[:, None, None] + np.array([20, 0, -20])
    noise = np.random.default_rng(seed).normal(0, 4, (90, 160, 3))
    return np.clip(light + noise, 0, 255).astype(np.uint8)


def jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def hashed(image: Image) -> Hash:
    found = perceptual_hash(image)
    assert found is not None
    return found


def differing(one: Image, other: Image) -> int:
    return int(np.unpackbits(hashed(one) ^ hashed(other)).sum())


COPIES: dict[str, Callable[[Image], Image]] = {
    "compressed-hard": lambda image: jpeg(image, 30),
    "half-the-size": lambda image: np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5), np.uint8),
    "another-shape": lambda image: np.asarray(cv2.resize(image, (416, 416)), np.uint8),
    "brighter": lambda image: np.asarray(cv2.convertScaleAbs(image, alpha=1.1, beta=12), np.uint8),
    "darker-and-compressed": lambda image: jpeg(
        np.asarray(cv2.convertScaleAbs(image, alpha=0.8), np.uint8), 60
    ),
    "a-pixel-further": lambda image: np.roll(image, 1, axis=1),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_copy_is_near(change: Callable[[Image], Image]) -> None:
    assert max(differing(image, change(image)) for image in map(street, range(8))) <= NEAR


@pytest.mark.parametrize("make", [street, sky], ids=["streets", "the-same-empty-sky"])
def test_different_pictures_are_not_near(make: Callable[[int], Image]) -> None:
    assert min(differing(make(i), make(j)) for i, j in combinations(range(9), 2)) > NEAR


def test_a_picture_that_shows_nothing_has_no_hash() -> None:
    assert perceptual_hash(np.full((90, 160, 3), 7, np.uint8)) is None


def test_near_pairs_are_those_that_a_slow_count_finds() -> None:
    random = np.random.default_rng(0)
    base = random.integers(0, 256, (6, BITS // 8), np.uint8)

    # More than a block on one side; each a base of which some bits are turned.
    def rows(count: int) -> list[tuple[Path, Hash]]:
        bits = np.unpackbits(base[random.integers(0, 6, count)], axis=1)
        bits ^= random.random((count, BITS)) < random.uniform(0, 0.16, (count, 1))
        return [(Path(str(i)), h) for i, h in enumerate(np.packbits(bits, axis=1))]

    train, val = rows(BLOCK + 30), rows(40)
    found = near_duplicates({"train": train, "val": val, "test": []})
    table = np.array(
        [[int(np.unpackbits(a ^ b).sum()) for _, b in val] for _, a in train[:: len(train) // 50]]
    )
    everything = near_duplicates({"train": train[:: len(train) // 50], "val": val})
    assert everything.count == (table <= NEAR).sum() > LISTED
    assert everything.twins == (("train", "val", int((table <= NEAR).any(axis=0).sum())),)
    assert [pair.bits for pair in everything.pairs] == sorted(table[table <= NEAR])[:LISTED]
    assert found.count > everything.count
    for pair in found.pairs:
        one, other = train[int(pair.paths[0].name)][1], val[int(pair.paths[1].name)][1]
        assert pair.bits == np.unpackbits(one ^ other).sum()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits of three different streets with a box each."""
    for s, split in enumerate(("train", "val")):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.png"), street(10 * s + i))
            (tmp_path / "labels" / split / f"{i}.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red]\n")
    return tmp_path / "data.yaml"


def test_a_copy_in_another_split_is_a_warning(data: Path) -> None:
    here, there = data.parent / "images/train/1.png", data.parent / "images/val/copy.jpg"
    cv2.imwrite(str(there), read_image(here), [cv2.IMWRITE_JPEG_QUALITY, 80])
    report = check_dataset(data)
    assert report.errors == ()
    assert [(p.splits, p.paths) for p in report.near_duplicates.pairs] == [(("train", "val"), (here, there))]
    (warning,) = (w for w in report.warnings if "near duplicates of" in w)
    assert warning.startswith(
        f"1 of 4 images of val are near duplicates of one in train, e.g. {there} of {here} ("
    )


def test_a_copy_in_the_same_split_is_none_of_its_business(data: Path) -> None:
    image = read_image(data.parent / "images/train/1.png")
    cv2.imwrite(str(data.parent / "images/train/copy.jpg"), image)
    assert check_dataset(data).near_duplicates.count == 0


def test_equal_pixels_are_an_error_and_no_warning(data: Path) -> None:
    image = read_image(data.parent / "images/train/1.png")
    cv2.imwrite(str(data.parent / "images/val/same.bmp"), image)
    report = check_dataset(data)
    assert report.error_counts == {"duplicate": 1}
    assert report.near_duplicates.count == 0


def test_the_street_pictures_are_split_by_scene(shared_data: Path) -> None:
    dataset = Dataset.open(shared_data / "street" / "data.yaml")
    # Every sixth of the training images: all would take long to decode.
    paths = {split: dataset.images(split)[:: 6 if split == "train" else 2] for split in dataset.splits}
    hashes = {split: [(p, hashed(read_image(p))) for p in some] for split, some in paths.items()}
    assert near_duplicates(hashes).count == 0
