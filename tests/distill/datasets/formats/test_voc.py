"""VOC: pixels that count from 1, difficult objects, parts of objects, XML that must not be trusted."""

import re
from pathlib import Path
from typing import Any

import pytest

from distill.datasets.convert import convert_dataset
from distill.datasets.formats._records import UnusableError
from distill.datasets.formats.voc import parse_xml
from edgestill.errors import DataError

SIZE_WH = (64, 48)
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FETCH = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


def test_pixels_count_from_1_and_both_corners_belong_to_the_box(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 1 1 64 48", "dog 11 5 20 24"])
    result = convert_dataset("voc", voc.root, out.path)
    assert out.boxes(name, SIZE_WH) == [[0, 0, 0, 64, 48], [0, 10, 4, 20, 24]]
    assert result.clipped_boxes == 0


def test_files_that_count_from_0_are_read_so_on_request(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 10 4 20 24.5"])
    convert_dataset("voc", voc.root, out.path, options={"zero_based": True})
    assert out.boxes(name, SIZE_WH) == [[0, 10, 4, 20, 24.5]]


def test_difficult_objects_are_left_out_unless_a_map_says_otherwise(
    voc: Any, out: Any, tmp_path: Path
) -> None:
    name = voc.add("a", ["dog 11 5 20 24", "dog 31 5 40 24 1"])
    result = convert_dataset("voc", voc.root, out.path)
    assert len(out.rows(name)) == 1
    assert result.skipped_objects == {"dropped by the class map: difficult 1": 1}
    own = tmp_path / "own.toml"
    own.write_text('names = ["dog"]\n[voc]\nby = "name"\nclasses = { dog = "dog" }\n')
    convert_dataset("voc", voc.root, out.path, classes=str(own), force=True)
    assert len(out.rows(name)) == 2


def test_parts_of_an_object_are_no_objects(voc: Any, out: Any) -> None:
    name = voc.add("a", ["person 11 5 20 24"])
    result = convert_dataset("voc", voc.root, out.path)
    assert result.classes == ("person",)
    assert len(out.rows(name)) == 1


def test_without_a_map_classes_are_the_names_in_order(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24", "cat 31 5 40 24", "Bus 1 1 9 9"])
    assert convert_dataset("voc", voc.root, out.path).classes == ("Bus", "cat", "dog")


def test_states_by_name_are_a_shipped_map(voc: Any, out: Any) -> None:
    name = voc.add("a", ["Green 11 5 20 24", "red 31 5 40 24", "wait_on 1 1 9 9"])
    result = convert_dataset("voc", voc.root, out.path, classes="state")
    assert [row[0] for row in out.rows(name)] == [2, 0]
    assert result.skipped_objects == {"no class for name wait_on": 1}


def test_the_image_sets_are_the_split(voc: Any, out: Any) -> None:
    names = {voc.add(stem): split for stem, split in (("a", "train"), ("b", "val"), ("c", "test"))}
    voc.add("d")
    for stem, split in (("a", "train"), ("b", "val"), ("c", "test")):
        voc.image_set(split, stem)
    voc.image_set("trainval", "a", "b")
    result = convert_dataset("voc", voc.root, out.path)
    assert out.splits() == names
    assert result.skipped_pictures == {"it is in none of the image sets": 1}


def test_two_years_in_one_folder_do_not_mix_their_names(voc: Any, out: Any) -> None:
    root = voc.root
    for year in ("VOC2007", "VOC2012"):
        voc.root = root / year
        voc.add("000001", ["dog 11 5 20 24"])
        voc.image_set("train", "000001")
    result = convert_dataset("voc", root, out.path)
    assert set(out.splits()) == {"voc_VOC2007_000001", "voc_VOC2012_000001"}
    assert result.split == "official"


def test_pictures_may_lie_beside_their_files(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 11 5 20 24"])
    for path in [*voc.root.rglob("*.xml"), *voc.root.rglob("*.jpg")]:
        path.rename(voc.root / path.name)
    convert_dataset("voc", voc.root, out.path)
    assert len(out.rows(name)) == 1


def test_frames_of_a_video_stay_together_by_a_pattern(voc: Any, out: Any) -> None:
    for i in range(30):
        voc.add(f"drive{i // 3}_{i}")
    convert_dataset("voc", voc.root, out.path, options={"sequence": re.compile(r"drive\d+")})
    places: dict[str, set[str]] = {}
    for name, split in out.splits().items():
        places.setdefault(name.split("_")[1], set()).add(split)
    assert all(len(found) == 1 for found in places.values())
    assert len(set().union(*places.values())) > 1


@pytest.mark.parametrize("head", [BOMB, FETCH, "<!DOCTYPE annotation>"])
def test_xml_that_declares_entities_is_refused(voc: Any, out: Any, head: str) -> None:
    voc.add("a")
    voc.add("evil", head=head)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {"its XML declares a document type, which VOC files do not have": 1}


def test_no_entity_is_ever_expanded(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(FETCH + "<annotation><filename>&a;</filename></annotation>")
    with pytest.raises(UnusableError, match="document type"):
        parse_xml(tmp_path / "x.xml")


@pytest.mark.parametrize("text", ["", "<annotation>", "no xml", "\x00"])
def test_broken_xml_stops_nothing(voc: Any, out: Any, text: str) -> None:
    voc.add("a")
    (voc.root / "Annotations" / "b.xml").write_text(text)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {"its XML cannot be read": 1}


@pytest.mark.parametrize("broken", ["dog 1 2 3", "dog a 2 3 4", "dog 9 9 5 5"])
def test_a_broken_object_stops_nothing(voc: Any, out: Any, broken: str) -> None:
    name = voc.add("a", ["dog 11 5 20 24", broken])
    result = convert_dataset("voc", voc.root, out.path)
    assert len(out.rows(name)) == 1
    assert sum(result.skipped_objects.values()) == 1


def test_labels_for_a_picture_of_another_size_are_counted(voc: Any, out: Any) -> None:
    voc.add("a")
    voc.add("b", width=48)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {"the labels are for an image of another size": 1}


def test_a_size_of_zero_says_nothing(voc: Any, out: Any) -> None:
    voc.add("a", width=0)
    assert convert_dataset("voc", voc.root, out.path).images == {"train": 1}


def test_a_folder_without_xml_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no XML"):
        convert_dataset("voc", tmp_path / "empty", tmp_path / "out")
