"""Class maps: the shipped ones, one's own, and what is wrong with those."""

from pathlib import Path

import pytest

from distill.datasets.convert import FORMATS
from distill.datasets.formats._class_map import class_map_names, load_class_map
from distill.datasets.formats._records import SourceDataset, UnusableError
from edgestill.errors import UsageError

GOOD = 'names = ["a", "b"]\n[voc]\nby = "name"\nclasses = { X = "a" }\n'


@pytest.mark.parametrize("name", class_map_names())
def test_a_shipped_map_is_for_formats_that_exist_and_uses_all_its_classes(name: str) -> None:
    found = load_class_map(name)
    assert set(found.rules) <= {*FORMATS.names(), "dtld_v1"}
    for rule in found.rules.values():
        assert set(rule.classes.values()) <= set(range(len(found.classes)))
    used = {class_id for rule in found.rules.values() for class_id in rule.classes.values()}
    assert used == set(range(len(found.classes)))


def test_the_names_that_commands_rely_on_are_shipped() -> None:
    assert {"relevance", "state", "light"} <= set(class_map_names())


def test_only_version_2_of_dtld_tells_relevance() -> None:
    assert list(load_class_map("relevance").rules) == ["dtld"]


def test_case_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD + 'drop = { difficult = ["YES"] }\n')
    rule = load_class_map(str(tmp_path / "own.toml")).rules["voc"]
    assert rule.class_id({"name": "x"}) == 0
    with pytest.raises(UnusableError, match="dropped"):
        rule.class_id({"name": "x", "difficult": "yes"})


def test_a_star_is_any_other_value(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'names = ["a", "b"]\n[voc]\nby = "name"\nclasses = { x = "a", "*" = "b" }\n'
    )
    rule = load_class_map(str(tmp_path / "own.toml")).rules["voc"]
    assert [rule.class_id({"name": name}) for name in ("x", "y")] == [0, 1]
    with pytest.raises(UnusableError, match="it has no name"):
        rule.class_id({})


def test_a_map_without_a_table_for_the_labels_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(GOOD)
    with pytest.raises(UsageError, match=r"own has no table \[lisa\]") as caught:
        load_class_map(str(tmp_path / "own.toml")).rule_for(SourceDataset(dialect="lisa"))
    assert "it maps voc" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no names"),
        ("names = []", "has no names"),
        ('names = ["a", "a"]', "has a name twice"),
        ('names = ["a"]', "maps no kind of labels"),
        ('names = ["a"]\nvoc = 3', "is not a table"),
        ('names = ["a"]\n[voc]\nby = "name"', "lacks by or classes"),
        ('names = ["a"]\n[voc]\nby = "name"\nclasses = { x = "c" }', "'c'"),
        (GOOD.replace('X = "a"', 'X = "a", x = "b"'), "two classes"),
        (GOOD + "drop = { difficult = 1 }", "not a table of lists"),
        (GOOD + "keep = 1", "'keep'"),
        ("names = [", "is not a TOML file"),
    ],
)
def test_a_wrong_map_is_a_usage_error_that_says_where(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UsageError, match=what):
        load_class_map(str(tmp_path / "own.toml"))


def test_a_name_that_is_not_shipped_gets_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        load_class_map("stat")
    assert "state" in caught.value.hint


def test_a_file_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="does not exist"):
        load_class_map("gone.toml")
