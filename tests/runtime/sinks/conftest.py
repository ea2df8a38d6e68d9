"""Results to write, and files to read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.detections import Detections
from runtime.frames import Frame, open_source
from runtime.pipeline import FrameResult


@pytest.fixture
def make_result() -> Callable[..., FrameResult]:
    """A result without detections: image, time in seconds, name."""

    def make(image_bgr: NDArray[np.uint8], time_s: float = 0.0, name: str = "a.png") -> FrameResult:
        frame = Frame(image_bgr=image_bgr, index=0, captured_s=0.0, name=name, decode_ms=1.0, time_s=time_s)
        return FrameResult(
            frame=frame,
            detections=Detections.empty(),
            track_id=None,
            states=None,
            age_ms=1.0,
            rate_fps=None,
            stages_ms={},
            is_live=False,
        )

    return make


@pytest.fixture
def frames_of() -> Callable[[Path], list[Any]]:
    """All frames of a video file."""

    def read(path: Path) -> list[Any]:
        source = open_source(path)
        try:
            return list(source.frames())
        finally:
            source.close()

    return read
