"""Source -> detector -> tracker -> sinks, with the time of every stage."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.progress import Advance
from runtime.detector import TimedDetector
from runtime.frames import Frame, FrameSource
from runtime.prefetch import prefetched
from runtime.stopwatch import Stopwatch
from runtime.tracking import NO_TRACK, Tracked, Tracker

RECENT = 10_000  # frames whose times are kept for the medians: a camera may run for weeks
RATE_MEMORY = 0.9  # weight of the past in the frame rate that is shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """All that is known about one frame.

    Attributes:
        frame: The frame.
        detections: What was found in it.
        track_id: int64 ``[N]``, ``NO_TRACK`` where there is none; None if nothing is tracked.
        states: What the judge says of each detection; None without a judge.
        age_ms: From the frame's capture to this result, milliseconds.
        rate_fps: Frames per second of late; None for the first frame.
        stages_ms: Milliseconds by stage, up to this result.
        is_live: Whether the frame came from a live source.
    """

    frame: Frame
    detections: Detections
    track_id: NDArray[np.int64] | None
    states: tuple[str, ...] | None
    age_ms: float
    rate_fps: float | None
    stages_ms: Mapping[str, float]
    is_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run.

    Attributes:
        frames: Frames that were processed.
        dropped: Frames that a live source overwrote before they could be.
        detections: Count by class name.
        tracks: Number of confirmed tracks; None if nothing was tracked.
        stages_ms: Median milliseconds by stage. ``decode`` runs beside the others for a file.
        age_ms: Median age of a live source's frame when its result was there; None for files.
        fps: Frames per second of the whole run.
        files: What was written.
    """

    frames: int
    dropped: int
    detections: Mapping[str, int]
    tracks: int | None
    stages_ms: Mapping[str, float]
    age_ms: float | None
    fps: float
    files: tuple[Path, ...]


class Judge(Protocol):
    """Makes more of a track than its class of the moment, e.g. the state of a light."""

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        """One word a detection."""


class Overlay(Protocol):
    """Draws a result."""

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        """A new BGR picture of the frame's size; the frame itself stays as it is."""


class Sink(Protocol):
    """Takes results.

    Attributes:
        wants_picture: Whether it needs the drawn frame.
    """

    wants_picture: bool

    def write(self, result: FrameResult, picture: NDArray[np.uint8]) -> bool:
        """Take one result and its picture; False ends the run, as when a window is closed.

        The picture is the drawn frame for a sink that wants it, else the frame.
        """

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish; the files written. If the run is not ``complete``, leave nothing half done."""


@dataclass(slots=True)
class _Tally:
    """What a run adds up."""

    classes: Counter[int] = field(default_factory=Counter)
    track_ids: set[int] = field(default_factory=set)
    stages_ms: dict[str, deque[float]] = field(default_factory=dict)
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    frames: int = 0

    def add(self, result: FrameResult, stages_ms: Mapping[str, float]) -> None:
        self.frames += 1
        self.classes.update(result.detections.class_id.tolist())
        if result.track_id is not None:
            self.track_ids.update(result.track_id.tolist())
        self.ages_ms.append(result.age_ms)
        for stage, ms in stages_ms.items():
            self.stages_ms.setdefault(stage, deque(maxlen=RECENT)).append(ms)


class Pipeline:
    """One model at work on frames."""

    def __init__(
        self,
        detector: TimedDetector,
        *,
        tracker: Tracker | None = None,
        judge: Judge | None = None,
        overlay: Overlay | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._detector, self._tracker, self._judge = detector, tracker, judge
        self._overlay, self._sinks = overlay, tuple(sinks)
        self._last_s: float | None = None
        self._period_s: float | None = None

    def run(
        self, source: FrameSource, *, max_frames: int | None = None, advance: Advance | None = None
    ) -> Summary:
        """Process the frames of a source and close the sinks.

        Ctrl-C is how a live run ends, and what it recorded is kept; a file that is not finished is not.

        Args:
            source: Where frames come from; the caller closes it.
            max_frames: Stop after so many.
            advance: Called after each frame, for a progress bar.

        Raises:
            DataError: A frame cannot be read.
            DeviceError: A camera stopped sending.
        """
        tally, start, complete = _Tally(), perf_counter(), False
        try:
            try:
                self._loop(source, tally, max_frames, advance)
            except KeyboardInterrupt:
                if not source.is_live:
                    raise
            complete = True
        finally:
            files = [file for sink in self._sinks for file in sink.close(complete=complete)]
        return self._summary(tally, source, perf_counter() - start, files)

    def _loop(
        self, source: FrameSource, tally: _Tally, max_frames: int | None, advance: Advance | None
    ) -> None:
        with prefetched(source) as frames:
            for frame in frames:
                goes_on = self._step(frame, tally, is_live=source.is_live)
                if advance is not None:
                    advance()
                if not goes_on or tally.frames == max_frames:
                    return

    def _step(self, frame: Frame, tally: _Tally, *, is_live: bool) -> bool:
        watch = Stopwatch()
        watch.add("decode", frame.decode_ms)
        detections, stages_ms = self._detector.timed(frame.image_bgr)
        for stage, ms in stages_ms.items():
            watch.add(stage, ms)
        track_id = states = None
        if self._tracker is not None:
            with watch.stage("track"):
                tracked = self._tracker.update(detections)
                detections, track_id = tracked.detections, tracked.track_id
                if self._judge is not None:
                    states = self._judge.update(tracked, frame.time_s)
        now_s = perf_counter()
        result = FrameResult(
            frame=frame,
            detections=detections,
            track_id=track_id,
            states=states,
            age_ms=(now_s - frame.captured_s) * 1e3,
            rate_fps=self._rate(now_s),
            stages_ms=dict(watch.stages_ms),
            is_live=is_live,
        )
        goes_on = self._give(result, watch)
        tally.add(result, watch.stages_ms)
        return goes_on

    def _give(self, result: FrameResult, watch: Stopwatch) -> bool:
        """Draw if a sink wants it, and write; False if a sink has had enough."""
        picture = result.frame.image_bgr
        if self._overlay is not None and any(sink.wants_picture for sink in self._sinks):
            with watch.stage("draw"):
                picture = self._overlay(result)
        if not self._sinks:
            return True
        with watch.stage("write"):
            wishes = [sink.write(result, picture) for sink in self._sinks]
        return all(wishes)

    def _rate(self, now_s: float) -> float | None:
        if self._last_s is not None:
            period_s = now_s - self._last_s
            past_s = period_s if self._period_s is None else self._period_s
            self._period_s = RATE_MEMORY * past_s + (1 - RATE_MEMORY) * period_s
        self._last_s = now_s
        return 1 / self._period_s if self._period_s else None

    def _summary(self, tally: _Tally, source: FrameSource, seconds: float, files: Sequence[Path]) -> Summary:
        classes = self._detector.spec.classes
        return Summary(
            frames=tally.frames,
            dropped=source.dropped,
            detections={classes[i]: n for i, n in sorted(tally.classes.items())},
            tracks=len(tally.track_ids - {NO_TRACK}) if self._tracker is not None else None,
            stages_ms={stage: float(np.median(ms)) for stage, ms in tally.stages_ms.items()},
            age_ms=float(np.median(tally.ages_ms)) if source.is_live and tally.ages_ms else None,
            fps=tally.frames / seconds,
            files=tuple(files),
        )
