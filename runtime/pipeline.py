"""The processing loop: source, detector, tracker, overlay and sinks, with the time of every stage."""

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
from edgestill.progress import Advance, say
from runtime.detector import TimedDetector
from runtime.frames import Frame, FrameSource
from runtime.interrupts import Interrupts, Terminated
from runtime.prefetch import prefetched
from runtime.stopwatch import Stopwatch
from runtime.tracking import NO_TRACK, Tracked, Tracker

RECENT = 10_000  # frames whose times are kept for the medians: a camera may run for weeks
RATE_MEMORY = 0.9  # weight of the previous mean in the moving average of the frame period


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """The results of one frame.

    Attributes:
        frame: The frame.
        detections: Its detections, in its pixels.
        track_id: int64 ``[N]``, ``NO_TRACK`` for detections without a track; None without a tracker.
        states: The state of each detection, from the track classifier; None without a classifier.
        age_ms: Time from the capture of the frame to this result, milliseconds.
        rate_fps: Moving average of the frame rate, frames per second; None for the first frame.
        stages_ms: Milliseconds by stage, up to this result.
        is_live: Whether the frame is from a live source.
        source: Short name of the source, unique in the run; empty where there is only one.
    """

    frame: Frame
    detections: Detections
    track_id: NDArray[np.int64] | None
    states: tuple[str, ...] | None
    age_ms: float
    rate_fps: float | None
    stages_ms: Mapping[str, float]
    is_live: bool
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals of one run.

    Attributes:
        frames: Frames that were processed.
        dropped: Frames of a live source that were replaced by newer ones before they could be processed.
        detections: Number of detections by class name.
        tracks: Number of confirmed tracks; None without a tracker.
        stages_ms: Median milliseconds by stage. Of a file, ``decode`` runs in parallel with the others.
        age_ms: Median ``FrameResult.age_ms`` of a live source; None for files.
        fps: Frames per second over the whole run.
        files: Files that were written.
    """

    frames: int
    dropped: int
    detections: Mapping[str, int]
    tracks: int | None
    stages_ms: Mapping[str, float]
    age_ms: float | None
    fps: float
    files: tuple[Path, ...]


class TrackClassifier(Protocol):
    """Classifies tracks over several frames, e.g. the state of a traffic light."""

    def update(self, tracked: Tracked, time_s: float) -> tuple[str, ...]:
        """The state of each detection of the next frame, which was captured at ``time_s`` seconds."""


class Overlay(Protocol):
    """Draws a result on a copy of its frame."""

    def __call__(self, result: FrameResult) -> NDArray[np.uint8]:
        """The annotated copy, uint8 ``[H, W, 3]`` BGR; the frame itself is not modified."""


class Gate(Protocol):
    """Decides before each frame whether it is processed, as the pause button of a viewer does."""

    def admits(self, source: str, *, is_live: bool) -> bool:
        """Whether the next frame of a source is processed; False discards it.

        It may wait. Signals end the run while it does.

        Args:
            source: As ``FrameResult.source``.
            is_live: Whether it is a live source, which goes on sending while this waits.
        """


class Sink(Protocol):
    """Receives results: a writer of a file or stream, or a window.

    Attributes:
        needs_overlay: Whether it needs the annotated frame; if no sink does, none is drawn.
    """

    needs_overlay: bool

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Process one result.

        Args:
            result: The results of the frame.
            image_bgr: uint8 ``[H, W, 3]``: the annotated frame where ``needs_overlay`` is true, else either.

        Returns:
            Whether to continue; False ends the run, as when a window is closed.
        """

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish, and return the files written.

        Args:
            complete: Whether the run ended as it should. If not, a sink leaves no half-written file of a
                source that can be read again, keeps the recording of a camera, and replaces no older file.
        """


@dataclass(slots=True)
class _RunTotals:
    """Accumulates the figures of ``Summary``."""

    classes: Counter[int] = field(default_factory=Counter)
    track_ids: set[int] = field(default_factory=set)
    stages_ms: dict[str, deque[float]] = field(default_factory=dict)
    ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    frames: int = 0
    first_s: float | None = None
    seconds: float = 0.0

    def add(self, result: FrameResult, stages_ms: Mapping[str, float]) -> None:
        self.frames += 1
        self.first_s = result.frame.time_s if self.first_s is None else self.first_s
        self.seconds = result.frame.time_s - self.first_s
        self.classes.update(result.detections.class_id.tolist())
        if result.track_id is not None:
            self.track_ids.update(result.track_id.tolist())
        self.ages_ms.append(result.age_ms)
        for stage, ms in stages_ms.items():
            self.stages_ms.setdefault(stage, deque(maxlen=RECENT)).append(ms)


class Pipeline:
    """Runs a detector on the frames of a source and passes the results to sinks.

    Args:
        detector: The model.
        tracker: Assigns track ids; None for detections only.
        track_classifier: Classifies tracks; only used with a tracker.
        overlay: Draws the annotated frame for sinks that need it.
        sinks: Receive each result, in this order.
        gate: Decides which frames are processed; None for all.

    Attributes:
        last: The results of the last frame; None before the first.
    """

    def __init__(
        self,
        detector: TimedDetector,
        *,
        tracker: Tracker | None = None,
        track_classifier: TrackClassifier | None = None,
        overlay: Overlay | None = None,
        sinks: Sequence[Sink] = (),
        gate: Gate | None = None,
    ) -> None:
        self._detector, self._tracker, self._track_classifier = detector, tracker, track_classifier
        self._overlay, self._sinks, self._gate = overlay, tuple(sinks), gate
        self.last: FrameResult | None = None
        self._last_s: float | None = None
        self._period_s: float | None = None

    def run(
        self, source: FrameSource, *, max_frames: int | None = None, advance: Advance | None = None
    ) -> Summary:
        """Process the frames of a source and close the sinks.

        Ctrl-C and SIGTERM end the run of a live source well. However such a run ends, its output stays, and
        after an error a line on stderr tells where it is. For a file they discard partial output, which can
        be made again. Signals are only handled in the main thread, and wait for the frame being processed.

        Args:
            source: The frames; the caller closes it.
            max_frames: Stop after this many frames; None for all.
            advance: Called after each frame, for a progress bar.

        Raises:
            DataError: A frame cannot be read.
            DeviceError: A camera stopped sending.
            SystemExit: SIGTERM or SIGHUP came; the code is 128 plus its number, as shells have it.
        """
        totals, start, complete = _RunTotals(), perf_counter(), False
        with Interrupts() as interrupts:
            try:
                try:
                    self._loop(source, totals, max_frames, advance, interrupts)
                    complete = True
                except (KeyboardInterrupt, Terminated) as error:
                    complete = source.is_live
                    if not source.is_live or isinstance(error, Terminated):
                        raise
            except BaseException:
                interrupts.ignore()
                files, _ = self._close(complete=complete)
                if files:
                    _tell_kept(files, totals, is_live=source.is_live)
                raise
            interrupts.ignore()
            files, failed = self._close(complete=complete)
            if failed is not None:
                raise failed
        return self._summary(totals, source, perf_counter() - start, files)

    def _close(self, *, complete: bool) -> tuple[list[Path], Exception | None]:
        """Close all sinks, also if one fails, as the others hold files too; the files and the first error."""
        files: list[Path] = []
        errors: list[Exception] = []

        def close(sink: Sink) -> None:
            try:
                files.extend(sink.close(complete=complete))
            except Exception as error:  # raised by the caller, unless another error ended the run
                errors.append(error)

        for sink in self._sinks:
            close(sink)
        return files, next(iter(errors), None)

    def _loop(
        self,
        source: FrameSource,
        totals: _RunTotals,
        max_frames: int | None,
        advance: Advance | None,
        interrupts: Interrupts,
    ) -> None:
        with prefetched(source) as frames:
            for frame in frames:
                # Not in the block that holds signals back: a paused run can be interrupted.
                if self._gate is not None and not self._gate.admits("", is_live=source.is_live):
                    continue
                with interrupts.held():
                    goes_on = self._step(frame, totals, is_live=source.is_live)
                    if advance is not None:
                        advance()
                if not goes_on or totals.frames == max_frames:
                    return

    def _step(self, frame: Frame, totals: _RunTotals, *, is_live: bool) -> bool:
        watch = Stopwatch()
        watch.add("decode", frame.decode_ms)
        detections, stages_ms = self._detector.timed(frame.image_bgr)
        for stage, ms in stages_ms.items():
            watch.add(stage, ms)
        track_id = states = None
        if self._tracker is not None:
            with watch.stage("track"):
                tracked = self._tracker.update(detections, frame.time_s)
                detections, track_id = tracked.detections, tracked.track_id
                if self._track_classifier is not None:
                    states = self._track_classifier.update(tracked, frame.time_s)
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
        self.last = result
        goes_on = self._give(result, watch)
        totals.add(result, watch.stages_ms)
        return goes_on

    def _give(self, result: FrameResult, watch: Stopwatch) -> bool:
        """Draw if a sink needs it, and write to all sinks; False if one of them ends the run."""
        image_bgr = result.frame.image_bgr
        if self._overlay is not None and any(sink.needs_overlay for sink in self._sinks):
            with watch.stage("draw"):
                image_bgr = self._overlay(result)
        if not self._sinks:
            return True
        with watch.stage("write"):
            continues = [sink.write(result, image_bgr) for sink in self._sinks]
        return all(continues)

    def _rate(self, now_s: float) -> float | None:
        if self._last_s is not None:
            period_s = now_s - self._last_s
            past_s = period_s if self._period_s is None else self._period_s
            self._period_s = RATE_MEMORY * past_s + (1 - RATE_MEMORY) * period_s
        self._last_s = now_s
        return 1 / self._period_s if self._period_s else None

    def _summary(
        self, totals: _RunTotals, source: FrameSource, seconds: float, files: Sequence[Path]
    ) -> Summary:
        classes = self._detector.spec.classes
        return Summary(
            frames=totals.frames,
            dropped=source.dropped,
            detections={classes[i]: n for i, n in sorted(totals.classes.items())},
            tracks=len(totals.track_ids - {NO_TRACK}) if self._tracker is not None else None,
            stages_ms={stage: float(np.median(ms)) for stage, ms in totals.stages_ms.items()},
            age_ms=float(np.median(totals.ages_ms)) if source.is_live and totals.ages_ms else None,
            fps=totals.frames / seconds,
            files=tuple(files),
        )


def _tell_kept(files: Sequence[Path], totals: _RunTotals, *, is_live: bool) -> None:
    where = str(files[0]) if len(files) == 1 else f"{len(files)} files, the last one {files[-1]}"
    length = f", {totals.frames} frames in {totals.seconds:.1f} s" if is_live else ""
    say(f"kept what was {'recorded' if is_live else 'written'}{length}: {where}")
