"""The pictures of a data set show what is in it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from distill.plots import dataset
from distill.plots.dataset import plot_dataset, positions
from edgestill.dataset import read_image
from edgestill.errors import DataError, UsageError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits with boxes of two classes, a split without any, and a class without any."""
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(count):
            image = random.integers(0, 255, (90, 160, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.jpg"), image)
            rows = ["0 .25 .5 .1 .2", "1 .9 .9 .02 .03"][: 0 if split == "test" else i + 1]
            (tmp_path / "labels" / split / f"{i}.txt").write_text("\n".join(rows))
    description = {split: f"images/{split}" for split in ("train", "val", "test")}
    description |= {"names": ["red", "green", "off"]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(description))
    return tmp_path / "data.yaml"


def test_every_file_is_drawn_and_named(data: Path, tmp_path: Path) -> None:
    done = plot_dataset(data, tmp_path / "plots")
    assert done.images == {"train": 3, "val": 2, "test": 1}
    assert done.boxes == {"train": 5, "val": 3, "test": 0}
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "positions.png",
        "samples-test.jpg",
        "samples-train.jpg",
        "samples-val.jpg",
        "sizes.png",
    ]
    for path in done.files.values():
        assert read_image(path).std() > 5  # something is drawn


@pytest.mark.slow
def test_nothing_is_overwritten_unasked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "sizes.png").write_text("mine")
    with pytest.raises(UsageError, match=r"sizes\.png exists already"):
        plot_dataset(data, tmp_path)
    assert not (tmp_path / "positions.png").exists()
    plot_dataset(data, tmp_path, force=True)
    assert read_image(tmp_path / "sizes.png").shape[2] == 3


def test_sizes_are_in_pixels_of_each_picture(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cv2.imwrite(str(data.parent / "images/val/0.jpg"), np.zeros((180, 320, 3), np.uint8))
    seen = {}

    def look(path: Path, splits: list[dataset._SplitBoxes], classes: object) -> None:
        seen.update({split.name: split.side_px for split in splits})

    monkeypatch.setattr(dataset, "plot_sizes", look)
    plot_dataset(data, tmp_path / "plots")
    large = (16 * 18) ** 0.5  # .1 of 160 and .2 of 90 px
    small = (3.2 * 2.7) ** 0.5
    np.testing.assert_allclose(sorted(seen["train"]), [small, small, large, large, large], rtol=1e-5)
    np.testing.assert_allclose(sorted(seen["val"]), [small, large, 2 * large], rtol=1e-5)


@pytest.mark.parametrize(("orientation", "wanted"), [(1, (160, 90)), (3, (160, 90)), (6, (90, 160))])
def test_a_turned_photograph_has_the_size_that_opencv_gives_it(
    tmp_path: Path, orientation: int, wanted: tuple[int, int]
) -> None:
    from PIL import Image

    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (160, 90)).save(path, exif=exif)
    assert dataset._size_wh(path) == wanted == read_image(path).shape[1::-1]


def test_a_broken_picture_is_a_data_error(data: Path, tmp_path: Path) -> None:
    (data.parent / "images/val/0.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.jpg cannot be read"):
        plot_dataset(data, tmp_path / "plots")


def test_positions_count_the_middles_of_boxes() -> None:
    boxes = np.array(
        [[0.1, 0.9, 0.1, 0.1], [0.1, 0.9, 0.5, 0.5], [1, 1, 0.1, 0.1], [0.5, 0, 1, 1]], np.float32
    )
    assert positions(boxes, (2, 4)).tolist() == [[0, 0, 1, 0], [2, 0, 0, 1]]
    assert positions(boxes[:0], (2, 4)).sum() == 0


@pytest.mark.parametrize("box", [(0, 0, 4, 8), (152, 80, 160, 90), (70, 40, 90, 60), (0, 0, 160, 90)])
def test_a_detail_lies_in_the_picture_and_holds_its_box(box: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = dataset._around(np.array(box, np.float32), (90, 160))
    assert 0 <= x0 <= box[0] < box[2] <= x1 <= 160
    assert 0 <= y0 <= box[1] < box[3] <= y1 <= 90


@pytest.mark.slow
def test_many_classes_leave_the_rare_ones_unnamed(data: Path, tmp_path: Path) -> None:
    names = [f"class {k}" for k in range(40)]
    description = yaml.safe_load(data.read_text()) | {"names": names}
    data.write_text(yaml.safe_dump(description))
    plot_dataset(data, tmp_path / "plots")
    assert max(read_image(tmp_path / "plots/sizes.png").shape) < 3000
