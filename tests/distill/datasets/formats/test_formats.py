"""What holds for every format there is: the sets pass the check, open, and threads change nothing."""

from pathlib import Path
from typing import Any

import cv2
import pytest

from distill.datasets.check import check_dataset
from distill.datasets.convert import FORMATS, WriteOptions, convert_dataset
from edgestill.dataset import Dataset, read_image
from edgestill.errors import DataError, UsageError


@pytest.fixture(params=FORMATS.names())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(kind: str, request: pytest.FixtureRequest) -> Path:
    """A small data set of the format, with all splits and an image that shows nothing."""
    made = request.getfixturevalue(kind)
    if kind == "dtld":
        for i, split in enumerate(("train", "train", "test")):
            where = f"Berlin/Berlin1/2015-04-17_10-50-0{i}"
            made.add(split, where, [made.light(4, 4, 5, 9), made.light(20, 4, 5, 9, state="green")])
            made.add(split, where, [])
    elif kind == "bstld":
        for i, (file, folder) in enumerate((("train", "train/a"), ("train", "train/b"), ("test", "test"))):
            made.add(
                file, f"rgb/{folder}/{i}.png", [made.lamp(4, 4, 9, 15), made.lamp(20, 4, 25, 15, "Green")]
            )
            made.add(file, f"rgb/{folder}/{i + 10}.png", [])
    elif kind == "lisa":
        for clip in ("dayClip1", "dayClip2", "nightSequence1"):
            made.clip(clip, 2, ["0;stop;4;4;9;15", "0;go;20;4;25;15"])
        return made.root
    elif kind == "coco":
        for split in ("train", "val", "test"):
            made.add(split, [{"category_id": i, "bbox": [4, 4, 5, 9]} for i in (1, 10, 90)])
            made.add(split, [])
    else:
        for split in ("train", "val", "test"):
            made.add(split, ["dog 4 4 9 15", "cat 20 4 25 15"])
            made.add(split + "0")
            made.image_set(split, split, split + "0")
        return made.root
    return made.write()


def test_the_outcome_passes_the_check_and_opens(kind: str, source: Path, out: Any) -> None:
    result = convert_dataset(kind, source, out.path)
    report = check_dataset(result.data_yaml)
    assert report.errors == ()
    assert {split: r.images for split, r in report.splits.items()} == result.images
    assert {split: r.boxes for split, r in report.splits.items()} == result.boxes
    assert {split: r.without_boxes for split, r in report.splits.items()} == result.without_boxes
    dataset = Dataset.open(result.data_yaml)
    assert dataset.classes == result.classes
    assert set(dataset.splits) == {"train", "val", "test"}
    for split in dataset.splits:
        for image in dataset.images(split):
            read_image(image)
            dataset.labels(image)
    assert result.skipped_pictures == {}


def test_the_outcome_opens_in_the_ultralytics_package(
    kind: str, source: Path, out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = pytest.importorskip("ultralytics.data.utils")
    monkeypatch.setattr(utils, "check_font", lambda *_: None)  # it would download one
    result = convert_dataset(kind, source, out.path)
    found = utils.check_det_dataset(str(result.data_yaml))
    assert tuple(found["names"].values()) == result.classes
    for split in ("train", "val", "test"):
        assert Path(found[split]) == out.path / "images" / split


def test_threads_change_nothing(kind: str, source: Path, out: Any, tmp_path: Path) -> None:
    one = convert_dataset(kind, source, tmp_path / "one", workers=1)
    many = convert_dataset(kind, source, out.path, workers=4)
    assert (one.images, one.boxes, one.pictures) == (many.images, many.boxes, many.pictures)
    for path in (tmp_path / "one").rglob("*.*"):
        if path.suffix in {".txt", ".yaml"} or path.name == "objects.jsonl":
            assert (out.path / path.relative_to(tmp_path / "one")).read_bytes() == path.read_bytes()


def test_ordinary_pictures_are_not_touched_and_raw_ones_decoded(kind: str, source: Path, out: Any) -> None:
    result = convert_dataset(kind, source, out.path)
    assert set(result.pictures) == {"decoded" if kind == "dtld" else "linked"}


def test_png_keeps_every_decoded_pixel(dtld: Any, out: Any) -> None:
    from distill.datasets.formats.dtld import bayer_to_bgr

    dtld.add("train", "Berlin/Berlin1/2015-04-17_10-50-05", [])
    convert_dataset("dtld", dtld.write(), out.path, write_options=WriteOptions(png=True))
    (png,) = out.path.glob("images/*/*.png")
    (raw,) = dtld.root.rglob("*.tiff")
    assert (cv2.imread(str(png)) == bayer_to_bgr(raw)).all()


def test_open_cv_gets_its_threads_back(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    before = cv2.getNumThreads()
    convert_dataset("voc", voc.root, out.path)
    assert cv2.getNumThreads() == before


def test_a_source_that_is_not_there_is_a_data_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        convert_dataset(kind, tmp_path / "gone", tmp_path / "out")


def test_an_option_of_another_format_is_a_usage_error(kind: str, source: Path, out: Any) -> None:
    with pytest.raises(UsageError, match=f"{kind} has no --wings"):
        convert_dataset(kind, source, out.path, options={"wings": True})


def test_a_set_of_which_nothing_is_usable_is_a_data_error(kind: str, source: Path, out: Any) -> None:
    for path in source.rglob("*"):
        if path.suffix in {".png", ".jpg", ".tiff"}:
            path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no image could be converted"):
        convert_dataset(kind, source, out.path)


def test_a_format_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set format is called 'kitti'"):
        convert_dataset("kitti", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("where", [".", "yolo"])
def test_the_target_cannot_be_in_the_source(voc: Any, where: str) -> None:
    voc.add("a")
    with pytest.raises(UsageError, match="is inside the source"):
        convert_dataset("voc", voc.root, voc.root / where)
