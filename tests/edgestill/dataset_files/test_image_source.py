"""Sources of images by file name, and data sets of some sources."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import Dataset
from edgestill.dataset_files.image_source import SourceFilter, source_of


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cinta_0141.jpg", "cinta"),
        ("a_b_c.png", "a"),
        ("0001.jpg", ""),
        ("0001_left.jpg", ""),
        ("street.jpg", ""),
    ],
)
def test_the_source_is_the_name_before_the_first_underscore(name: str, source: str) -> None:
    assert source_of(Path("images_of_a_drive") / name) == source


def test_a_data_set_of_some_sources(tmp_path: Path) -> None:
    folder = tmp_path / "images/train"
    folder.mkdir(parents=True)
    for name in ("a_1.png", "b_1.png", "b_2.png", "plain.png"):
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [red]\n")
    whole = Dataset.open(tmp_path / "data.yaml")

    def names(**kept: frozenset[str]) -> list[str]:
        return [path.name for path in whole.of_sources(SourceFilter(**kept)).images("train")]

    assert names() == ["a_1.png", "b_1.png", "b_2.png", "plain.png"]
    assert names(leave_out=frozenset({"b"})) == ["a_1.png", "plain.png"]
    assert names(only=frozenset({"b"})) == ["b_1.png", "b_2.png"]
    assert names(only=frozenset({"a", "b"}), leave_out=frozenset({"a"})) == ["b_1.png", "b_2.png"]
    assert names(only=frozenset({"c"})) == []
    assert len(whole.images("val")) == 4  # the original is as it was
