"""The choice of images covers what there is, and is the same every time."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import Dataset
from export.quantize.calibration.stratify import stratify

HEIGHTS = {"small": 0.05, "middling": 0.2, "large": 0.6, "no lights": None}
LEVELS = {"dark": 20, "medium": 110, "bright": 220}


def write(root: Path, kinds: dict[tuple[str, str], int], *, labels: bool = True) -> Dataset:
    """A data set with so many images of each kind."""
    for folder in ("images", "labels"):
        (root / folder / "train").mkdir(parents=True)
    number = 0
    for (light, size), count in kinds.items():
        for _ in range(count):
            # The brightness differs a little, so that no two images are the same file.
            image = np.full((16, 16, 3), LEVELS[light] + number % 7, np.uint8)
            cv2.imwrite(str(root / "images" / "train" / f"{number}.png"), image)
            height = HEIGHTS[size]
            if labels and height is not None:
                label = root / "labels" / "train" / f"{number}.txt"
                label.write_text(f"0 0.5 0.5 0.1 {height}\n")
            number += 1
    (root / "data.yaml").write_text("train: images/train\nnames: [red]\n")
    return Dataset.open(root / "data.yaml")


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    """All twelve kinds, four of each."""
    return write(tmp_path, {(light, size): 4 for light in LEVELS for size in HEIGHTS})


def test_every_stratum_that_exists_is_covered(mixed: Dataset) -> None:
    taken = stratify(mixed, mixed.images("train"), 12).strata
    assert taken == {
        f"{light}, {size if size == 'no lights' else f'{size} lights'}": 1
        for light in LEVELS
        for size in HEIGHTS
    }


def test_many_images_without_lights_do_not_hide_the_sizes_of_the_others(tmp_path: Path) -> None:
    kinds = {("dark", "no lights"): 20, ("dark", "small"): 2, ("dark", "middling"): 2, ("dark", "large"): 2}
    dataset = write(tmp_path, kinds)
    taken = stratify(dataset, dataset.images("train"), 12)
    found = {name.split(", ")[1] for name in taken.strata}
    assert found == {"small lights", "middling lights", "large lights", "no lights"}


def test_without_labels_brightness_alone_decides(tmp_path: Path) -> None:
    dataset = write(tmp_path, {(light, "small"): 10 for light in LEVELS}, labels=False)
    assert stratify(dataset, dataset.images("train"), 9).strata == {"dark": 3, "medium": 3, "bright": 3}


def test_a_stratum_that_is_used_up_leaves_its_turns_to_the_others(mixed: Dataset) -> None:
    taken = stratify(mixed, mixed.images("train"), 47)
    assert len(taken.paths) == len(set(taken.paths)) == 47
    assert sorted(taken.strata.values()) == [3, *[4] * 11]


def test_all_are_taken_where_there_are_fewer(mixed: Dataset) -> None:
    images = mixed.images("train")
    assert sorted(stratify(mixed, images, 1000).paths) == images


def test_the_order_of_the_folder_does_not_matter(mixed: Dataset) -> None:
    images = mixed.images("train")
    assert stratify(mixed, images[::-1], 7) == stratify(mixed, images, 7)
