"""A recording in segments: a new video file every few minutes, and a limit for the space of all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.progress import say
from runtime.pipeline import FrameResult
from runtime.sinks.part_file import write_error
from runtime.sinks.segment_list import SegmentList
from runtime.sinks.video_writer import VideoSink
from runtime.sinks.wall_clock import Clock, utc_now

LOOK_EVERY_S = 1.0  # of the stream, between two looks at the space


class SegmentSink:
    """Writes ``drive-20260601T120000Z.mp4`` and so on, by the time at which each begins, in UTC.

    A segment ends by the time of the stream, and where the frames get another size. It plays from its first
    frame. What is older and what may be removed is in ``drive.segments.jsonl``, see ``SegmentList``.

    Args:
        path: The name that segments are made of, with one of ``VIDEO_SUFFIXES``.
        fps: Mean number of frames per second.
        segment_s: Length of a segment, seconds.
        keep_bytes: The most that all segments have; the oldest are removed first. None for no limit.
        is_live: Whether the frames come from a camera, see ``VideoSink``.
        clock: The present time, for names only.

    Attributes:
        codec: As of ``VideoSink``.
    """

    needs_overlay = True

    def __init__(
        self,
        path: Path,
        fps: float,
        *,
        segment_s: float,
        keep_bytes: int | None = None,
        is_live: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._fps, self._is_live, self._clock = path, fps, is_live, clock
        self._segment_s, self._keep_bytes = segment_s, keep_bytes
        self._list: SegmentList | None = None
        self._video: VideoSink | None = None
        self._hw: tuple[int, ...] = ()
        self._from_s = self._looked_s = 0.0
        self._before: frozenset[Path] = frozenset()
        self.codec: str | None = None

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Add a frame to the running segment, or to a new one if that is long enough.

        Raises:
            UsageError: The disk is full, or another process records segments of this name.
            DeviceError: There is no encoder.
        """
        time_s, hw = result.frame.time_s, image_bgr.shape[:2]
        try:
            listed = self._list or self._open()
            if self._video is None or time_s - self._from_s >= self._segment_s or hw != self._hw:
                self._finish(listed, complete=True)
                self._make_room(listed, time_s)
                self._video = VideoSink(listed.begin(), self._fps, force=False, is_live=self._is_live)
                self._from_s, self._hw = time_s, hw
            elif time_s - self._looked_s >= LOOK_EVERY_S:
                self._make_room(listed, time_s)
        except OSError as error:
            raise write_error(self._path, error) from error
        goes_on = self._video.write(result, image_bgr)
        self.codec = self._video.codec
        return goes_on

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish the running segment as ``VideoSink`` does; the files of this run that are still there."""
        listed, self._list = self._list, None
        if listed is None:
            return ()
        try:
            self._finish(listed, complete=complete)
        except OSError as error:
            raise write_error(self._path, error) from error
        finally:
            listed.close()
        if listed.removed:
            say(f"removed {listed.removed} of the oldest segments, as --keep-gib has it")
        return tuple(path for path in listed.files() if path not in self._before)

    def _open(self) -> SegmentList:
        self._list = SegmentList(self._path, self._clock)
        self._before = frozenset(self._list.files())
        return self._list

    def _finish(self, listed: SegmentList, *, complete: bool) -> None:
        video, self._video = self._video, None
        try:
            if video is not None:
                video.close(complete=complete)
        finally:
            listed.finish()

    def _make_room(self, listed: SegmentList, time_s: float) -> None:
        self._looked_s = time_s
        if self._keep_bytes is not None:
            listed.make_room(self._keep_bytes)
