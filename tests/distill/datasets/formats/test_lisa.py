"""LISA: folders that are not those of the CSVs, tags in any case, frames without rows."""

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
    assert result.skipped_pictures == {"the image is not there": 1}
    assert "dayClip1--00007.jpg" in result.examples[0]


def test_a_clip_that_nobody_annotated_is_not_taken_for_empty(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, [])
    lisa.clip("dayClip2", 3, [])
    next(lisa.root.rglob("dayClip2/frameAnnotationsBOX.csv")).unlink()
    result = convert_dataset("lisa", lisa.root, out.path)
    assert result.images == {"train": 1}
    assert result.skipped_pictures == {"its clip has no frameAnnotationsBOX.csv": 3}


@pytest.mark.parametrize("row", ["0;stop;10;5;20", "0;;10;5;20;25", "0;stop;a;5;20;25"])
def test_a_broken_row_stops_nothing(lisa: Any, out: Any, row: str) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    csv = next(lisa.root.rglob("*BOX.csv"))
    csv.write_text(csv.read_text() + f"dayTraining/dayClip1--0000{row}\n".replace("00000;", "00000.jpg;"))
    result = convert_dataset("lisa", lisa.root, out.path)
    assert len(out.rows("lisa-day_dayClip1--00000")) == 1
    assert sum(result.skipped_objects.values()) == 1


def test_a_csv_with_commas_is_a_data_error(lisa: Any, out: Any) -> None:
    lisa.clip("dayClip1", 1, ["0;stop;10;5;20;25"])
    csv = next(lisa.root.rglob("*BOX.csv"))
    csv.write_text(csv.read_text().replace(";", ","))
    with pytest.raises(DataError, match="lacks the column"):
        convert_dataset("lisa", lisa.root, out.path)
