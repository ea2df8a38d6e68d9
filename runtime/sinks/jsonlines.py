"""JSON lines: one object for each frame, on a text stream."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import UsageError
from edgestill.files import to_json_text
from runtime.pipeline import FrameResult
from runtime.tracking import NO_TRACK


class JsonLines:
    """Writes an object with source, frame, name, time_s, age_ms, detections and stages_ms for each frame.

    Boxes are in pixels of the source.

    Args:
        stream: Where to write; the caller closes it.
        classes: Class names, by class id.
    """

    needs_overlay = False

    def __init__(self, stream: TextIO, classes: tuple[str, ...]) -> None:
        self._stream, self._classes = stream, classes

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Write one line and flush it, so that a reader in a pipe gets it at once.

        Raises:
            BrokenPipeError: The reader is gone.
            UsageError: The disk is full; a file then ends with the line before.
        """
        line = {
            "source": result.source,
            "frame": result.frame.index,
            "name": result.frame.name,
            "time_s": round(result.frame.time_s, 4),
            "age_ms": round(result.age_ms, 3) if result.is_live else None,
            "detections": detections_json(result, self._classes),
            "stages_ms": {stage: round(ms, 3) for stage, ms in result.stages_ms.items()},
        }
        size = _size_of_file(self._stream)
        try:
            print(to_json_text(line, indent=None), file=self._stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            _cut(self._stream, size)
            raise UsageError(
                f"the JSON lines cannot be written: {error.strerror}", hint="check the free space"
            ) from error
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """No files; the stream stays open."""
        return ()


def _size_of_file(stream: TextIO) -> int | None:
    """Size in bytes of the file that a stream writes; None if it writes to something else."""
    try:
        about = os.fstat(stream.fileno())
    except OSError:  # io.UnsupportedOperation: a stream without a file
        return None
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def _cut(stream: TextIO, size: int | None) -> None:
    """Remove a part of a line from the end of a file, and what the stream holds back of it."""
    try:
        number = stream.fileno()
    except OSError:
        return
    if size is not None:
        os.ftruncate(number, size)
    # Python would write the rest of the line when it closes the stream.
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


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
