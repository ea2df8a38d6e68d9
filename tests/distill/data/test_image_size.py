"""The size of an image out of its header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.image_size import header_hw


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
