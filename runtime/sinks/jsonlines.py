"""JSON lines: one object for each frame, on a text stream."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edgestill.files import to_json_text
from runtime.pipeline import FrameResult
from runtime.tracking import NO_TRACK


class JsonLines:
    """Writes ``{"frame", "time_s", "age_ms", "detections": [...], "stages_ms"}``; boxes in source pixels.

    Args:
        stream: Where to write; the caller closes it.
        classes: Class names, by class id.
    """

    needs_overlay = False

    def __init__(self, stream: TextIO, classes: tuple[str, ...]) -> None:
        self._stream, self._classes = stream, classes

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Write one line and flush it, so that a reader in a pipe gets it at once."""
        line = {
            "frame": result.frame.index,
            "name": result.frame.name,
            "time_s": round(result.frame.time_s, 4),
            "age_ms": round(result.age_ms, 3),
            "detections": detections_json(result, self._classes),
            "stages_ms": {stage: round(ms, 3) for stage, ms in result.stages_ms.items()},
        }
        print(to_json_text(line, indent=None), file=self._stream, flush=True)
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """No files; the stream stays open."""
        return ()


def detections_json(result: FrameResult, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The detections of a frame as plain data, in the order of their scores."""
    return [_detection(result, row, classes) for row in range(len(result.detections))]


def _detection(result: FrameResult, row: int, classes: Sequence[str]) -> dict[str, Any]:
    found = result.detections
    class_id = int(found.class_id[row])
    one: dict[str, Any] = {
        "box": [round(float(side), 2) for side in found.xyxy[row]],
        "score": round(float(found.score[row]), 4),
        "class_id": class_id,
        "class": classes[class_id],
    }
    if result.track_id is not None and result.track_id[row] != NO_TRACK:
        one["track_id"] = int(result.track_id[row])
    if result.states is not None:
        one["state"] = result.states[row]
    return one
