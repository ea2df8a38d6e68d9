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
    splits = (("a", "train"), ("b", "val"), ("c", "test"))
    names = {voc.add(stem, ["dog 11 5 20 24"]): split for stem, split in splits}
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
        voc.add(f"drive{i // 3}_{i}", ["dog 11 5 20 24"])
    convert_dataset("voc", voc.root, out.path, options={"sequence": re.compile(r"drive\d+")})
    places: dict[str, set[str]] = {}
    for name, split in out.splits().items():
        places.setdefault(name.split("_")[1], set()).add(split)
    assert all(len(found) == 1 for found in places.values())
    assert len(set().union(*places.values())) > 1


@pytest.mark.parametrize("head", [BOMB, FETCH, "<!DOCTYPE annotation>"])
def test_xml_that_declares_entities_is_refused(voc: Any, out: Any, head: str) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    voc.add("evil", head=head)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {"its XML declares a document type, which VOC files do not have": 1}


def test_no_entity_is_ever_expanded(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(FETCH + "<annotation><filename>&a;</filename></annotation>")
    with pytest.raises(UnusableError, match="document type"):
        parse_xml(tmp_path / "x.xml")


@pytest.mark.parametrize("text", ["", "<annotation>", "no xml", "\x00"])
def test_broken_xml_stops_nothing(voc: Any, out: Any, text: str) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    (voc.root / "Annotations" / "b.xml").write_text(text)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {"its XML cannot be read": 1}


MANY = [f"dog {3 * i + 1} 5 {3 * i + 2} 24" for i in range(20)]


@pytest.mark.parametrize(
    "broken",
    [
        "dog 1 2 3",
        "dog a 2 3 4",
        "dog 1,5 2 3 4",
        "dog 1 2 3 nan",
        "dog 0.1 0.2 0.3 0.4",
        "dog 1 2 30 4 maybe",
        "&#32; 1 2 30 4",
    ],
)
def test_a_picture_with_an_object_that_cannot_be_read_is_left_out(voc: Any, out: Any, broken: str) -> None:
    voc.add("a", ["dog 11 5 20 24", broken])
    name = voc.add("b", MANY)
    result = convert_dataset("voc", voc.root, out.path)
    assert set(out.splits()) == {name}
    assert result.skipped_pictures == {"an object in it could not be read": 1}
    assert sum(result.unreadable_objects.values()) == 1
    assert "a.xml <object>" in result.warnings[0]


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        ("dog 20 24 11 5", 1),  # corners in any order
        ("dog 11.0 5e0 20 24", 1),
        ("dog 11 5 20 24 0", 1),
        ("dog 11 5 20 24 False", 1),
        ("dog 11 5 20 24 Unspecified", 1),
        ("dog 11 5 20 24 true", 0),
        ("dog 11 5 20 24 1.0", 0),
    ],
)
def test_numbers_and_flags_are_read_in_any_spelling(voc: Any, out: Any, item: str, rows: int) -> None:
    name = voc.add("a", ["dog 31 5 40 24", item])
    convert_dataset("voc", voc.root, out.path)
    assert out.boxes(name, SIZE_WH)[1:] == [[0, 10, 4, 20, 24]] * rows


def test_a_set_of_which_no_class_is_left_is_a_data_error(voc: Any, out: Any) -> None:
    voc.add("1", ["light 101,5 101 150 160"])
    with pytest.raises(DataError, match=r"no object could be converted: a coordinate is not a number \(1\)"):
        convert_dataset("voc", voc.root, out.path)
    assert not out.path.exists()


@pytest.mark.parametrize("objects", [[], ["dog 11 5 20 24 1"], ["dog 101 5 120 24"]])
def test_a_set_without_an_object_publishes_nothing(voc: Any, out: Any, objects: list[str]) -> None:
    voc.add("a", objects)
    with pytest.raises(DataError, match="no object could be converted"):
        convert_dataset("voc", voc.root, out.path)
    assert not out.path.exists()


def test_boxes_that_begin_at_0_are_told(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 0 5 20 24"])
    assert any("--zero-based" in warning for warning in convert_dataset("voc", voc.root, out.path).warnings)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("GBK", "gbk"),
        ("windows-1252", "cp1252"),
        ("utf-8", "utf-8-sig"),
        ("utf-16", "utf-8"),  # as .NET declares what it writes as UTF-8
        ("utf-16", "utf-16"),
        ("ISO-8859-1", "latin-1"),
    ],
)
def test_xml_is_read_in_its_encoding(voc: Any, out: Any, declared: str, encoding: str) -> None:
    voc.add("a", ["X 11 5 20 24"])
    (path,) = voc.root.rglob("a.xml")
    text = "信号" if encoding == "gbk" else "Fußgänger"
    text = f'<?xml version="1.0" encoding="{declared}"?>' + path.read_text().replace("X", text)
    path.write_bytes(text.encode(encoding))
    assert convert_dataset("voc", voc.root, out.path).classes == (
        ("信号",) if encoding == "gbk" else ("Fußgänger",)
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("annotation>", "Annotation>"),
        ("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        ("<annotation>", "\n <annotation>"),
        ("object>", "Object>"),
        ("<object>", "<objects><object>"),
    ],
)
def test_other_spellings_of_elements_hide_no_object(voc: Any, out: Any, old: str, new: str) -> None:
    name = voc.add("a", ["dog 11 5 20 24"])
    (path,) = voc.root.rglob("a.xml")
    text = path.read_text().replace(old, new)
    path.write_text(text.replace("</object>", "</object></objects>") if "objects" in new else text)
    convert_dataset("voc", voc.root, out.path)
    assert len(out.rows(name)) == 1


def test_xml_of_another_kind_makes_no_picture_without_objects(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 11 5 20 24"])
    voc.add("b")
    (path,) = voc.root.rglob("b.xml")
    path.write_text(
        "<annotations><image name='b.jpg'><box xtl='1' ytl='1' xbr='9' ybr='9'/></image></annotations>"
    )
    result = convert_dataset("voc", voc.root, out.path)
    assert set(out.splits()) == {name}
    assert result.skipped_pictures == {"its XML is not an annotation of VOC": 1}


def test_the_picture_of_the_files_own_name_wins_over_an_old_name(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    voc.add("b", ["dog 31 5 40 24"])
    (path,) = voc.root.rglob("b.xml")
    path.write_text(path.read_text().replace("b.jpg", "a.jpg"))
    convert_dataset("voc", voc.root, out.path)
    assert out.boxes("voc_b", SIZE_WH) == [[0, 30, 4, 40, 24]]
    (picture,) = out.path.glob("images/*/voc_b.jpg")
    assert picture.samefile(voc.root / "JPEGImages" / "b.jpg")


def test_two_files_for_one_picture_are_joined(voc: Any, out: Any) -> None:
    for stem, item in (("a_0", "dog 11 5 20 24"), ("a_1", "dog 31 5 40 24")):
        voc.add(stem, [item])
        (path,) = voc.root.rglob(f"{stem}.xml")
        path.write_text(path.read_text().replace(f"{stem}.jpg", "a.jpg"))
        (voc.root / "JPEGImages" / f"{stem}.jpg").rename(voc.root / "JPEGImages" / "a.jpg")
    result = convert_dataset("voc", voc.root, out.path)
    assert sum(result.images.values()) == 1
    assert len(out.rows("voc_a_0")) == 2
    assert any("several entries" in warning for warning in result.warnings)


@pytest.mark.parametrize("where", ["pictures", "pictures/JPEGImages", "pictures/Annotations"])
def test_pictures_may_lie_elsewhere(voc: Any, out: Any, tmp_path: Path, where: str) -> None:
    name = voc.add("a", ["dog 11 5 20 24"])
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (voc.root / "JPEGImages").rename(tmp_path / where)
    with pytest.raises(
        DataError, match=r"no image could be converted: the image is not there \(1\)"
    ) as caught:
        convert_dataset("voc", voc.root, out.path)
    assert "--images DIR" in caught.value.hint
    assert "a.jpg" in caught.value.hint
    convert_dataset("voc", voc.root, out.path, options={"images": tmp_path / "pictures"})
    assert len(out.rows(name)) == 1


def test_hidden_files_are_no_labels(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 11 5 20 24"])
    folder = voc.root / "Annotations"
    for copy in (".ipynb_checkpoints/a-checkpoint.xml", "@eaDir/a.xml", "._a.xml"):
        (folder / copy).parent.mkdir(exist_ok=True)
        (folder / copy).write_bytes((folder / "a.xml").read_bytes())
    result = convert_dataset("voc", voc.root, out.path)
    assert set(out.splits()) == {name}
    assert result.skipped_pictures == {}


def test_classes_that_differ_in_case_are_one(voc: Any, out: Any) -> None:
    name = voc.add("a", ["dog 11 5 20 24", "Dog 31 5 40 24", "cat 1 1 9 9"])
    result = convert_dataset("voc", voc.root, out.path)
    assert result.classes == ("Dog", "cat")
    assert [row[0] for row in out.rows(name)] == [0, 0, 1]
    assert any("'Dog' and 'dog' are one" in warning for warning in result.warnings)


def test_labels_for_a_picture_of_another_size_are_counted(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    voc.add("b", width=32)
    voc.add("c", width=48, height=64)
    result = convert_dataset("voc", voc.root, out.path)
    assert result.skipped_pictures == {
        "the labels are for an image of another size": 1,
        "the labels are for the image turned by 90 degrees (its EXIF orientation?)": 1,
    }


def test_a_size_of_zero_says_nothing(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"], width=0)
    assert convert_dataset("voc", voc.root, out.path).images == {"train": 1}


def test_a_folder_without_xml_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no XML"):
        convert_dataset("voc", tmp_path / "empty", tmp_path / "out")
