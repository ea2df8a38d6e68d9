"""Sequences of images, by the numbers in their file names."""

import pytest

from distill.study.sequences import GAP, sequence_of


def test_images_that_follow_each_other_are_one_sequence() -> None:
    after, apart = 13 + GAP, 13 + GAP + GAP + 1
    names = ["a_0013.jpg", "a_0001.jpg", "b_0001.jpg", "a_0002.png", f"a_{after:04d}.jpg", f"a_{apart}.jpg"]
    found = sequence_of(names)
    groups: dict[int, set[str]] = {}
    for name, group in zip(names, found, strict=True):
        groups.setdefault(group, set()).add(name)
    assert sorted(map(sorted, groups.values())) == [
        ["a_0001.jpg", "a_0002.png"],
        ["a_0013.jpg", "a_0023.jpg"],
        ["a_34.jpg"],
        ["b_0001.jpg"],
    ]
    assert sorted(groups) == [0, 1, 2, 3]


@pytest.mark.parametrize("names", [["left.jpg", "right.jpg"], ["20230101_1.jpg", "20240101_1.jpg"]])
def test_what_has_nothing_in_common_is_apart(names: list[str]) -> None:
    assert sequence_of(names) == [0, 1]
