"""Events: one JSON line for each change of state of a light."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.files import refuse_overwrite, to_json_text
from edgestill.progress import say
from runtime.pipeline import FrameResult
from runtime.sinks.part_file import PartFile, write_error
from runtime.sinks.wall_clock import Clock, utc_now
from runtime.sinks.whole_file import WholeFile
from runtime.tracking import NO_TRACK

BEFORE = "unknown"  # the state of a light before its first one is confirmed
FORGET_AFTER_S = 60.0  # a track that was not detected for so long has ended; its id does not come again
LOOK_EVERY_S = 10.0


class EventSink:
    """Appends ``{"source", "track_id", "from", "to", "time_s", "wall_time", "box"}``; see ``Sink``.

    A line is in the file as soon as it is written. Events of a live source are kept however the run ends, and
    with ``force`` they are appended to an older file. Those of a file are a new file, which replaces an older
    one at the end of a complete run.

    Args:
        path: The file.
        force: Whether a file may be there already.
        is_live: Whether the frames come from a camera.
        clock: The present time.

    Attributes:
        path: The file.
        written: Number of lines written.

    Raises:
        UsageError: The file exists and ``force`` is false.
    """

    needs_overlay = False

    def __init__(self, path: Path, *, force: bool, is_live: bool, clock: Clock = utc_now) -> None:
        refuse_overwrite(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.written = path, 0
        self._is_live, self._clock = is_live, clock
        self._part: PartFile | None = None
        self._file: WholeFile | None = None
        self._states: dict[tuple[str, int], tuple[str, float]] = {}  # with the time of the last detection
        self._looked_s: dict[str, float] = {}

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Write a line for each light whose state is another than in its frame before.

        Raises:
            UsageError: The disk is full; the file then ends with the line before.
        """
        file = self._file or self._open()
        if result.states is None or result.track_id is None:
            return True
        source, time_s = result.source or result.frame.name, result.frame.time_s
        for row, (track_id, state) in enumerate(zip(result.track_id.tolist(), result.states, strict=True)):
            if track_id == NO_TRACK:
                continue
            before, _ = self._states.get((source, track_id), (BEFORE, 0.0))
            self._states[source, track_id] = (state, time_s)
            if state != before:
                line = {
                    "source": source,
                    "track_id": track_id,
                    "from": before,
                    "to": state,
                    "time_s": round(time_s, 4),
                    "wall_time": self._wall_time(result),
                    "box": [round(float(side), 2) for side in result.detections.xyxy[row]],
                }
                self._append(file, line)
        self._forget(source, time_s)
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Close the file; of a source that can be read again it is removed if the run broke off.

        Raises:
            UsageError: The file cannot be renamed, as in a folder that is gone.
        """
        file, self._file = self._file, None
        if file is None:
            return ()
        try:
            with suppress(OSError):  # an error of a line, which has ended the run
                file.close()
            if self._part is None:
                return (self.path,)
            if complete:
                return (self._part.finish(),)
            self._part.discard()
        except OSError as error:
            raise write_error(self.path, error) from error
        say(f"{self.path} was not written, as the run broke off")
        return ()

    def _open(self) -> WholeFile:
        try:
            if not self._is_live:
                self._part = PartFile(self.path)
            path = self.path if self._part is None else self._part.path
            self._file = WholeFile(path, append=self._is_live)
        except OSError as error:
            raise write_error(self.path, error) from error
        return self._file

    def _append(self, file: WholeFile, line: dict[str, Any]) -> None:
        try:
            file.write(f"{to_json_text(line, indent=None)}\n".encode())
        except OSError as error:
            raise write_error(self.path, error) from error
        file.mark()
        self.written += 1

    def _wall_time(self, result: FrameResult) -> str:
        """ISO 8601 of the capture of a camera's frame, or of the result of a file's."""
        age_ms = result.age_ms if result.is_live else 0.0
        time = (self._clock() - timedelta(milliseconds=age_ms)).astimezone(timezone.utc)
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _forget(self, source: str, time_s: float) -> None:
        """Drop the lights of a source that are gone, so that a run of weeks needs no more memory."""
        if abs(time_s - self._looked_s.get(source, 0.0)) < LOOK_EVERY_S:
            return
        self._looked_s[source] = time_s
        gone = [
            key
            for key, (_, seen_s) in self._states.items()
            if key[0] == source and time_s - seen_s > FORGET_AFTER_S
        ]
        for key in gone:
            del self._states[key]
