"""The size of an image out of its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.image_size import header_hw
from edgestill.dataset import read_image


def test_it_is_height_and_width(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((6, 9, 3), np.uint8))
    assert header_hw(tmp_path / "a.png") == (6, 9)


@pytest.mark.parametrize("error", [ModuleNotFoundError("pi_heif"), SyntaxError("png"), ValueError("exif")])
def test_a_header_that_tells_nothing_is_an_os_error_whoever_patched_the_reader(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(OSError, match=r"a\.png"):
        header_hw(tmp_path / "a.png")


@pytest.mark.parametrize("side", [20_000, 60_000])
def test_a_header_of_more_pixels_than_pillow_allows_is_an_os_error(side: int, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((6, 9, 3), np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    head = b"IHDR" + side.to_bytes(4, "big") * 2 + data[24:29]
    (tmp_path / "a.png").write_bytes(data[:12] + head + crc32(head).to_bytes(4, "big") + data[33:])
    with pytest.raises(OSError, match=r"a\.png.*pixels"):
        header_hw(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_size_is_that_of_the_decoded_image_or_unknown(
    orientation: int, suffix: str, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / f"a{suffix}", exif=exif)
    try:
        found = header_hw(tmp_path / f"a{suffix}")
    except OSError:
        assert suffix != ".jpg"
        assert orientation > 4
    else:
        assert found == read_image(tmp_path / f"a{suffix}").shape[:2]
