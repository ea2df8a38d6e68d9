"""LISA: folders that are not those of the CSVs, tags in any case, frames without rows."""

from pathlib import Path
from typing import Any

import pytest

from distill.datasets.convert import convert_dataset
from edgestill.errors import DataError

SIZE_WH = (64, 48)


def test_pictures_are_found_by_name_behind_folders_that_do_not_exist(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    convert_dataset("lisa", lisa.root, out.path)
    assert out.boxes("lisa-day_dayClip1--00000", SIZE_WH) == [[0, 10, 5, 20, 25]]


def test_the_case_of_tags_varies(lisa: Any, out: Any) -> None:
    tags = ("stop", "STOPLEFT", "Warning", "warningleft", "go", "goForward", "GOLEFT")
    lisa.clip("dayClip1", 1, [f"0;{tag};{8 * i};5;{8 * i + 5};25" for i, tag in enumerate(tags)])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert [row[0] for row in out.rows("lisa-day_dayClip1--00000")] == [0, 0, 1, 1, 2, 2, 2]
    assert result.skipped_objects == {}


def test_frames_without_rows_are_negatives(lisa: Any, out: Any) -> None:
    lisa.clip("nightClip2", 3, ["1;go;10;5;20;25", "1;go;30;5;40;25"])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.images == {"train": 3}
    assert result.without_boxes == {"train": 2}
    assert len(out.rows("lisa-night_nightClip2--00001")) == 2


def test_clips_are_for_training_and_sequences_for_testing(lisa: Any, out: Any) -> None:
    for clip in ("dayClip1", "dayClip2", "nightClip1", "daySequence1", "nightSequence2"):
        lisa.clip(clip, 2, [])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.split == "official"
    assert result.images["test"] == 4
    assert {s for name, s in out.splits().items() if "Sequence" in name} == {"test"}
    assert result.sequences == {"train": 2, "val": 1, "test": 2}


def test_bulbs_have_boxes_of_their_own(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    lisa.clip("dayClip1", 1, ["0;stop;12;6;18;12"], kind="BULB")
    convert_dataset("lisa", lisa.root, out.path, options={"bulbs": True})
    assert out.boxes("lisa-day_dayClip1--00000", SIZE_WH) == [[0, 12, 6, 18, 12]]


def test_a_sample_that_repeats_a_clip_is_left_out(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip6", 2, ["0;stop;10;5;20;25"])
    lisa.clip("sample-dayClip6", 2, ["0;go;1;1;2;2"])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert out.boxes("lisa-day_dayClip6--00000", SIZE_WH) == [[0, 10, 5, 20, 25]]
    assert result.skipped_pictures == {"a second copy of an image": 2}


def test_a_sample_serves_where_it_is_alone(lisa: Any, out: Any) -> None:
    lisa.clip("sample-dayClip6", 2, ["0;go;10;5;20;25"])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.boxes["train"]["green"] == 1


def test_a_row_whose_picture_is_not_there_is_counted(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25", "7;stop;10;5;20;25"])
    result = convert_dataset("lisa", lisa.root, out.path)
    assert any("--images DIR" in warning for warning in result.warnings)
    assert any("1 objects belong to no known image" in warning for warning in result.warnings)
    assert result.skipped_pictures == {"the image is not there": 1}
    assert "dayClip1--00007.jpg" in result.examples[0]


def test_a_clip_that_nobody_annotated_is_not_taken_for_empty(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, [])
    lisa.clip("dayClip2", 3, [])
    next(lisa.root.rglob("dayClip2/frameAnnotationsBOX.csv")).unlink()
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.images == {"train": 1}
    assert result.skipped_pictures == {"its clip has no frameAnnotationsBOX.csv": 3}


def add_rows(lisa: Any, *rows: str) -> None:
    csv = next(lisa.root.rglob("*BOX.csv"))
    header, *others = csv.read_text().splitlines()
    csv.write_text("".join(f"{row}\n" for row in (header, *rows, *others)), "utf-8")


FRAME = "dayTraining/dayClip1--00000.jpg"
GOOD = [f"1;stop;{3 * i};5;{3 * i + 2};25" for i in range(20)]


@pytest.mark.parametrize(
    "row",
    [
        f"{FRAME};stop;10;5;20",
        f"{FRAME};;10;5;20;25",
        f"{FRAME};stop;a;5;20;25",
        f"{FRAME};stop;10,5;5;20;25",
        f"{FRAME};stop;0.1;0.2;0.3;0.4",
        f'{FRAME};"stop;10;5;nan;25',
        f"{FRAME}",
        f"{FRAME};stop;10;5;20;25;x.avi;0;x;{FRAME};stop;30;5;40;25",
    ],
)
def test_a_frame_with_a_row_that_cannot_be_read_is_left_out(lisa: Any, out: Any, row: str) -> None:
    lisa.clip("dayClip1", 2, ["0;stop;10;5;20;25", *GOOD])
    add_rows(lisa, row)
    result = convert_dataset("lisa", lisa.root, out.path)
    assert set(out.splits()) == {"lisa-day_dayClip1--00001"}
    assert result.skipped_pictures == {"an object in it could not be read": 1}
    assert sum(result.unreadable_objects.values()) == 1
    assert "dayClip1--00000" in result.warnings[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "a row without file name"),
        ("dayTraining/day--00000.jpg", "a row without the name of a frame of its clip"),
    ],
)
def test_a_row_of_no_frame_is_told_since_its_frame_stays(lisa: Any, out: Any, name: str, reason: str) -> None:
    lisa.clip("dayClip1", 2, GOOD)
    add_rows(lisa, f"{name};stop;10;5;20;25")
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.unreadable_objects == {reason: 1}
    assert any("images without boxes may show them" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "row",
    [f'"{FRAME}";"stop";"10";" 5 ";"20.0";"25"', f"{FRAME};stop;20;25;10;5", f'{FRAME};"stop;10;5;20;25'],
)
def test_quotes_spaces_and_swapped_corners_are_read(lisa: Any, out: Any, row: str) -> None:
    lisa.clip("dayClip1", 1, [])
    add_rows(lisa, "", ";;;;;;;;;", row)
    result = convert_dataset("lisa", lisa.root, out.path)
    assert out.boxes("lisa-day_dayClip1--00000", SIZE_WH) == [[0, 10, 5, 20, 25]]
    assert result.skipped_objects == {}


def test_frames_saved_under_another_suffix_keep_their_rows(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 2, ["0;stop;10;5;20;25", "1;stop;10;5;20;25"])
    for path in list(lisa.root.rglob("*.jpg")):
        path.rename(path.with_suffix(".JPG"))
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.without_boxes == {"train": 0}


def test_a_file_that_ends_within_a_row_is_a_data_error(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 3, ["0;stop;10;5;20;25", "1;stop;10;5;20;25", "2;stop;10;5;20;25"])
    csv = next(lisa.root.rglob("*BOX.csv"))
    csv.write_text(csv.read_text().rpartition(";25;")[0])
    with pytest.raises(DataError, match="ends within a row"):
        convert_dataset("lisa", lisa.root, out.path)


def test_hidden_copies_of_frames_are_no_frames(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    (frame,) = lisa.root.rglob("*--00000.jpg")
    for name in (".ipynb_checkpoints/dayClip1--00000-checkpoint.jpg", "@eaDir/dayClip1--00001.jpg"):
        copy = frame.parent / name
        copy.parent.mkdir()
        copy.write_bytes(frame.read_bytes())
    result = convert_dataset("lisa", lisa.root, out.path)
    assert (result.images, result.without_boxes) == ({"train": 1}, {"train": 0})


def test_rows_of_which_no_frame_is_there_are_not_frames_without_lights(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 2, ["7;stop;10;5;20;25", "8;stop;10;5;20;25"])
    with pytest.raises(DataError, match=r"no object could be converted: the image is not there \(2\)"):
        convert_dataset("lisa", lisa.root, out.path)
    assert not out.path.exists()


def test_frames_may_lie_elsewhere(lisa: Any, out: Any, tmp_path: Path) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    (lisa.root / "dayTrain").rename(tmp_path / "frames")
    convert_dataset("lisa", lisa.root, out.path, options={"images": tmp_path / "frames"})
    assert len(out.rows("lisa-day_dayClip1--00000")) == 1


def test_a_csv_with_commas_is_a_data_error(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    csv = next(lisa.root.rglob("*BOX.csv"))
    csv.write_text(csv.read_text().replace(";", ","))
    with pytest.raises(DataError, match="lacks the column"):
        convert_dataset("lisa", lisa.root, out.path)
