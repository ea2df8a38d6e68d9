"""Crops and label files: safe names, normalised rows, nothing overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.dataset import read_image, read_labels
from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.frames import Frame
from runtime.pipeline import FrameResult
from runtime.sinks.crop_writer import CropSink, class_folders
from runtime.sinks.label_writer import LabelSink

IMAGE = np.arange(60 * 100 * 3, dtype=np.uint8).reshape(60, 100, 3)


def result(name: str, *rows: tuple[float, float, float, float, int], index: int = 0) -> FrameResult:
    table = np.array(rows, np.float32).reshape(-1, 5)
    found = Detections(table[:, :4], np.full(len(table), 0.5, np.float32), table[:, 4].astype(np.int64))
    frame = Frame(image_bgr=IMAGE, index=index, captured_s=0.0, name=name, decode_ms=0.0)
    rest: dict[str, Any] = {"track_id": None, "states": None, "age_ms": 0.0, "rate_fps": None}
    return FrameResult(frame=frame, detections=found, stages_ms={}, is_live=False, **rest)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def labels(tmp_path: Path, **changes: bool) -> LabelSink:
    return LabelSink(tmp_path / "t", **{"is_numbered": False, "with_score": False, "force": False, **changes})


def test_labels_are_read_back_as_the_boxes_they_were(tmp_path: Path) -> None:
    labels(tmp_path).write(result("x.jpg", (10, 6, 30, 36, 1), (0, 0, 100, 60, 0)), IMAGE)
    read = read_labels(tmp_path / "t/x.txt", nc=2)
    assert read.class_id.tolist() == [1, 0]
    np.testing.assert_allclose(read.xyxy_px((60, 100)), [[10, 6, 30, 36], [0, 0, 100, 60]], atol=1e-3)


@pytest.mark.parametrize("box", [(-20, -5, 30, 36, 0), (90, 50, 140, 90, 0), (99.9, 59.9, 100, 60, 0)])
def test_a_box_over_the_border_is_a_valid_label(tmp_path: Path, box: Any) -> None:
    labels(tmp_path).write(result("x.jpg", box), IMAGE)
    assert len(read_labels(tmp_path / "t/x.txt", nc=1)) == 1


def test_a_box_without_area_is_no_label(tmp_path: Path) -> None:
    labels(tmp_path).write(result("x.jpg", (10, 10, 10, 20, 0), (120, 5, 130, 9, 0)), IMAGE)
    assert (tmp_path / "t/x.txt").read_text() == ""


def test_the_score_is_the_sixth_column_where_it_is_wanted(tmp_path: Path) -> None:
    labels(tmp_path, with_score=True).write(result("x.jpg", (0, 0, 50, 60, 3)), IMAGE)
    assert (tmp_path / "t/x.txt").read_text() == "3 0.250000 0.500000 0.500000 1.000000 0.5000\n"


def test_label_files_have_the_names_of_the_images(tmp_path: Path) -> None:
    sink = labels(tmp_path)
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "y.tar.png", "../z.jpg"):
        sink.write(result(name), IMAGE)
    assert files(tmp_path / "t") == ["a/x.txt", "b/x.png.txt", "b/x.txt", "y.tar.txt", "z.txt"]
    assert sink.written == 5


def test_frames_of_a_video_are_numbered(tmp_path: Path) -> None:
    sink = labels(tmp_path, is_numbered=True)
    for index in (0, 12):
        sink.write(result("clip.mp4", index=index), IMAGE)
    sink.write(result("rtsp://user:secret@camera/street", index=3), IMAGE)
    assert files(tmp_path / "t") == ["clip_000000.txt", "clip_000012.txt", "rtsp_camera_street_000003.txt"]


@pytest.mark.parametrize("kind", ["crops", "labels"])
def test_a_folder_that_is_not_empty_is_refused_without_force(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t").mkdir()
    make: Any = {
        "crops": lambda force: CropSink(tmp_path / "t", ["red"], force=force),
        "labels": lambda force: labels(tmp_path, force=force),
    }[kind]
    make(force=False)  # an empty one is taken
    (tmp_path / "t/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        make(force=False)
    make(force=True).write(result("x.jpg", (0, 0, 9, 9, 0)), IMAGE)
    assert (tmp_path / "t/mine.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="is a file"):
        CropSink(tmp_path / "t/mine.txt", ["red"], force=True)


def test_a_crop_holds_the_pixels_of_its_box(tmp_path: Path) -> None:
    sink = CropSink(tmp_path / "c", ["red", "green"], force=False)
    sink.write(
        result("a/x.jpg", (10, 6, 30, 36, 1), (95, 55, 120, 80, 0), (50, 20, 50, 20, 0), index=7), IMAGE
    )
    assert files(tmp_path / "c") == [
        "green/a_x_000007_0.jpg",
        "red/a_x_000007_1.jpg",
        "red/a_x_000007_2.jpg",
    ]
    assert read_image(tmp_path / "c/green/a_x_000007_0.jpg").shape == (30, 20, 3)
    assert read_image(tmp_path / "c/red/a_x_000007_1.jpg").shape == (5, 5, 3)  # cut at the border
    assert read_image(tmp_path / "c/red/a_x_000007_2.jpg").shape == (1, 1, 3)
    assert sink.written == 3


ODD = ("a/b", "a:b", "..", "", "CON", "x" * 250, "x" * 251, "红灯", "Red", "red", "tail. ", "q?*<>|\n")


def test_classes_of_any_name_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = class_folders(ODD)
    assert len({name.casefold() for name in folders}) == len(ODD)
    assert all(len(name.encode()) <= 120 and not set(name) & set('/\\:*?"<>|\n') for name in folders)
    assert not {".", "..", "CON", ""} & set(folders)
    assert folders[7] == "红灯"
    sink = CropSink(tmp_path / "c", ODD, force=False)
    sink.write(result("x.jpg", *((0, 0, 9, 9, k) for k in range(len(ODD)))), IMAGE)
    assert len(list((tmp_path / "c").iterdir())) == len(ODD)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_an_image_with_a_name_of_250_characters_has_a_label_file(tmp_path: Path) -> None:
    labels(tmp_path).write(result("y" * 246 + ".jpg"), IMAGE)
    CropSink(tmp_path / "c", ["red"], force=False).write(result("y" * 246 + ".jpg", (0, 0, 9, 9, 0)), IMAGE)
    assert files(tmp_path / "t") == ["y" * 246 + ".txt"]
    assert len(files(tmp_path / "c")) == 1
