"""One source in the pipeline: its tracker, its own sinks, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ToolchainError
from edgestill.progress import say
from runtime.frames import Frame, FrameSource
from runtime.stopwatch import Stopwatch
from runtime.streams.results import FrameResult, Overlay, Sink, TrackClassifier
from runtime.streams.sink_thread import SinkThread
from runtime.streams.totals import StreamEnd, Totals
from runtime.tracking import Tracker

RATE_MEMORY = 0.9  # weight of the previous mean in the moving average of the frame period


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """One source with all that belongs to it alone.

    Attributes:
        source: The frames; the caller closes it.
        name: Its short name, which no other source of the run has.
        tracker: Assigns track ids; None for detections only.
        track_classifier: Classifies tracks; only used with a tracker.
        sinks: Receive the results of this source, in a thread of their own.
    """

    source: FrameSource
    name: str = ""
    tracker: Tracker | None = None
    track_classifier: TrackClassifier | None = None
    sinks: Sequence[Sink] = ()


class Lane:
    """A stream while it runs.

    Args:
        stream: The stream.
        classes: Class names of the model.
        overlay: Draws the annotated frame for sinks that need it.

    Attributes:
        stream: The stream.
        end: How it ended; None while it runs.
    """

    def __init__(self, stream: Stream, classes: tuple[str, ...], overlay: Overlay | None = None) -> None:
        self.stream = stream
        self.end: StreamEnd | None = None
        self._classes = classes
        self._totals = Totals()
        self._sinks = SinkThread(
            stream.sinks, overlay, name=f"sinks {stream.name}", timed=self._totals.add_stages
        )
        self._last: FrameResult | None = None
        self._last_s: float | None = None
        self._period_s: float | None = None

    @property
    def frames(self) -> int:
        """Number of results that were given to the sinks."""
        return self._totals.frames

    def result(self, frame: Frame, found: Detections, stages_ms: Mapping[str, float]) -> FrameResult:
        """Track the detections of the next frame.

        Args:
            frame: The frame.
            found: Its detections.
            stages_ms: Milliseconds by stage of the detector.
        """
        stream, watch = self.stream, Stopwatch()
        for stage, ms in {"decode": frame.decode_ms, **stages_ms}.items():
            watch.add(stage, ms)
        track_id = states = None
        if stream.tracker is not None:
            if frame.after_gap:
                stream.tracker.reset()
            with watch.stage("track"):
                tracked = stream.tracker.update(found, frame.time_s)
                found, track_id = tracked.detections, tracked.track_id
                if stream.track_classifier is not None:
                    states = stream.track_classifier.update(tracked, frame.time_s)
        now_s = perf_counter()
        return FrameResult(
            frame=frame,
            detections=found,
            track_id=track_id,
            states=states,
            age_ms=(now_s - frame.captured_s) * 1e3,
            rate_fps=self._rate(now_s),
            stages_ms=watch.stages_ms,
            is_live=stream.source.is_live,
            source=stream.name,
            classes=self._classes,
        )

    def give(
        self,
        result: FrameResult,
        drawn_bgr: NDArray[np.uint8] | None,
        stages_ms: Mapping[str, float],
    ) -> bool:
        """Count a result and hand it to the sinks of the stream.

        Args:
            result: The result.
            drawn_bgr: The annotated frame, uint8 ``[H, W, 3]``, if it was drawn already.
            stages_ms: Milliseconds of the stages after the result.

        Returns:
            Whether to continue.

        Raises:
            Exception: What a sink raised at an earlier result.
        """
        self._last = result
        self._totals.add(result)
        self._totals.add_stages(stages_ms)
        return self._sinks.put(result, drawn_bgr)

    def finish(
        self, *, is_complete: bool, error: ToolchainError | OSError | None = None, replaced: int = 0
    ) -> None:
        """Close the sinks of the stream; ``end`` then says how it ended.

        Args:
            is_complete: Whether it ends as it should.
            error: What ended it early.
            replaced: Frames that were replaced by newer ones, beside those that the source counts.

        Raises:
            Exception: An error of a sink that is neither a ToolchainError nor an OSError.
        """
        errors: list[Exception] = [] if error is None else [error]
        try:
            self._sinks.drain()
        except Exception as failed:
            errors.append(failed)
        is_complete = is_complete and not errors
        files, failed_to_close = self._sinks.close(complete=is_complete)
        if failed_to_close is not None:
            errors.append(failed_to_close)
        first = next(iter(errors), None)
        if files and (not is_complete or first is not None):
            self._tell_kept(files)
        if first is not None and not isinstance(first, (ToolchainError, OSError)):
            raise first
        self.end = self._end(files, first, replaced, is_complete=is_complete and first is None)

    def _end(
        self,
        files: Sequence[Path],
        error: ToolchainError | OSError | None,
        replaced: int,
        *,
        is_complete: bool,
    ) -> StreamEnd:
        source = self.stream.source
        drops = dict(source.drops)
        if replaced:
            drops["replaced"] = drops.get("replaced", 0) + replaced
        summary = self._totals.summary(
            self._classes,
            is_live=source.is_live,
            has_tracks=self.stream.tracker is not None,
            drops=drops,
            files=tuple(files),
        )
        return StreamEnd(
            name=self.stream.name, summary=summary, is_complete=is_complete, error=error, last=self._last
        )

    def _rate(self, now_s: float) -> float | None:
        if self._last_s is not None:
            period_s = now_s - self._last_s
            past_s = period_s if self._period_s is None else self._period_s
            self._period_s = RATE_MEMORY * past_s + (1 - RATE_MEMORY) * period_s
        self._last_s = now_s
        return 1 / self._period_s if self._period_s else None

    def _tell_kept(self, files: Sequence[Path]) -> None:
        where = str(files[0]) if len(files) == 1 else f"{len(files)} files, the last one {files[-1]}"
        is_live = self.stream.source.is_live
        length = f", {self._totals.frames} frames in {self._totals.seconds:.1f} s" if is_live else ""
        say(f"kept what was {'recorded' if is_live else 'written'}{length}: {where}")
