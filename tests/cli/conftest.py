"""What tests of several verbs share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames in 1.2 s."""
    path = tmp_path / "in.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 64))
    for _ in range(6):
        writer.write(np.full((64, 64, 3), 90, np.uint8))
    writer.release()
    return path
