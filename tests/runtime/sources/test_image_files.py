"""Which files of a folder or a pattern are frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.errors import DataError
from runtime.frames import open_source

HIDDEN = ("._a.png", ".a.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png", "__MACOSX/a.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "below/b.png", *HIDDEN):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "set" / name), np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "set"


def names(source: str | Path) -> list[str]:
    return [frame.name for frame in open_source(source).frames()]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("", ["a.png"]), ("*.png", ["a.png"]), ("*/*.png", ["b.png"]), ("**/*.png", ["a.png", "below/b.png"])],
)
def test_hidden_files_are_no_frames(folder: Path, pattern: str, found: list[str]) -> None:
    assert names(f"{folder}/{pattern}") == found


def test_a_hidden_folder_that_is_named_itself_is_read(folder: Path) -> None:
    assert names(folder / ".ipynb_checkpoints") == ["a.png"]
    assert names(f"{folder}/@eaDir/*.png") == ["a.png"]
    assert names(folder / "._a.png") == ["._a.png"]


def test_a_folder_of_hidden_files_alone_holds_no_image(folder: Path) -> None:
    (folder / "a.png").unlink()
    with pytest.raises(DataError, match="holds no image"):
        open_source(folder)
