"""The processing loop: the frames of one or several sources through one detector to the sinks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ToolchainError
from edgestill.progress import Advance, say
from runtime.detector import TimedDetector
from runtime.frames import Frame
from runtime.interrupts import Interrupts, Terminated
from runtime.stopwatch import Stopwatch
from runtime.streams.arrivals import Arrivals
from runtime.streams.detection_queue import DetectedFrame, DetectionQueue, detect
from runtime.streams.lane import Lane, Stream
from runtime.streams.results import FrameResult, Gate, Overlay, Sink, TrackClassifier
from runtime.streams.sink_thread import close_all
from runtime.streams.totals import StreamEnd, Summary
from runtime.streams.waiting_frames import Arrival

__all__ = [
    "FrameResult",
    "Gate",
    "Overlay",
    "Pipeline",
    "RunEnd",
    "Sink",
    "Stream",
    "StreamEnd",
    "Summary",
    "TrackClassifier",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunEnd:
    """How a run ended.

    Attributes:
        streams: How each source ended, in their order.
        files: Files that the sinks of the pipeline wrote; those of a stream's own sinks are in its summary.
        interrupted: The signal that ended the run; None if none did.
    """

    streams: tuple[StreamEnd, ...]
    files: tuple[Path, ...]
    interrupted: KeyboardInterrupt | Terminated | None


class Pipeline:
    """Runs a detector on the frames of sources and passes the results to sinks.

    Args:
        detector: The model. It takes the frames of all sources, one after the other or together.
        overlay: Draws the annotated frame for sinks that need it.
        sinks: Receive the results of all sources, in this order, in the thread that runs the pipeline.
        max_batch: Largest number of frames of different sources that the detector gets at once; None for one
            of each source.
        concurrency: Calls of the detector at the same time, where all sources are files. Frames of a camera
            are detected one after the other, each when it arrives.
        gate: Decides which frames are processed; None for all.
    """

    def __init__(
        self,
        detector: TimedDetector,
        *,
        overlay: Overlay | None = None,
        sinks: Sequence[Sink] = (),
        max_batch: int | None = 1,
        concurrency: int = 1,
        gate: Gate | None = None,
    ) -> None:
        self._detector, self._overlay, self._sinks = detector, overlay, tuple(sinks)
        self._needs_overlay = any(sink.needs_overlay for sink in self._sinks)
        self._max_batch, self._concurrency, self._gate = max_batch, concurrency, gate
        self._drawing = Lock()

    def run(
        self, streams: Sequence[Stream], *, max_frames: int | None = None, advance: Advance | None = None
    ) -> RunEnd:
        """Process the frames of some sources and close the sinks.

        A source that fails ends alone, and a line on stderr says so; the error of the only source is raised.
        Ctrl-C, SIGTERM and SIGHUP end the run. A camera then has ended well; however it ends, its recordings
        stay, and after an error a line on stderr tells where they are. Of a file that is not at its end,
        partial output is discarded, as it can be made again. Signals are only handled in the main thread, and
        wait for the frame being processed.

        Args:
            streams: The sources, with their trackers and own sinks; the caller closes the sources.
            max_frames: Stop each source after this many frames; None for all.
            advance: Called after each frame, for a progress bar.

        Raises:
            DataError: A frame of the only source cannot be read.
            DeviceError: The only source is a camera that stopped sending.
            UsageError: A sink cannot write.
        """
        run = _Run(self, streams, max_frames, advance)
        with Interrupts() as interrupts:
            try:
                interrupted = run.to_the_end(interrupts)
            except BaseException:
                interrupts.ignore()
                run.abandon()
                close_all(self._sinks, complete=False)
                raise
            files, failed = close_all(self._sinks, complete=all(end.is_complete for end in run.ends))
            if failed is not None:
                raise failed
        if len(run.ends) == 1 and run.ends[0].error is not None:
            raise run.ends[0].error
        return RunEnd(streams=run.ends, files=tuple(files), interrupted=interrupted)

    def results(self, frames: Sequence[tuple[Lane, Frame]]) -> list[FrameResult]:
        """Detect and track the next frame of some sources; several go to the network together."""
        detected = detect(self._detector, [frame for _, frame in frames])
        return [
            lane.result(frame, found, stages_ms)
            for (lane, frame), (found, stages_ms) in zip(frames, detected, strict=True)
        ]

    def lane(self, stream: Stream) -> Lane:
        """A stream that is about to run."""
        overlay = None if self._overlay is None else partial(self._draw, self._overlay)
        return Lane(stream, self._detector.spec.classes, overlay)

    def detections(self, streams: Sequence[Stream]) -> DetectionQueue:
        """The detector, as it is called for the frames of some streams."""
        is_live = any(stream.source.is_live for stream in streams)
        return DetectionQueue(self._detector, 1 if is_live else self._concurrency)

    def arrivals(self, streams: Sequence[Stream]) -> Arrivals:
        """The frames of some streams, in groups that the detector takes together."""
        return Arrivals([stream.source for stream in streams], most=self._max_batch)

    def share(self, result: FrameResult) -> tuple[bool, NDArray[np.uint8] | None, dict[str, float]]:
        """Give a result to the sinks of all sources.

        Returns:
            Whether to continue; the annotated frame, uint8 ``[H, W, 3]``, if it was drawn; milliseconds by
            stage.
        """
        watch, drawn_bgr = Stopwatch(), None
        if not self._sinks:
            return True, None, {}
        if self._overlay is not None and self._needs_overlay:
            with watch.stage("draw"):
                drawn_bgr = self._draw(self._overlay, result)
        image_bgr = result.frame.image_bgr if drawn_bgr is None else drawn_bgr
        with watch.stage("write"):
            continues = [sink.write(result, image_bgr) for sink in self._sinks]
        return all(continues), drawn_bgr, watch.stages_ms

    def admitted(self, arrival: Arrival, stream: Stream) -> bool:
        """Whether an arrival is processed; the end of a source always is. It may wait."""
        if arrival.frame is None or self._gate is None:
            return True
        return self._gate.admits(stream.name, is_live=stream.source.is_live)

    def _draw(self, overlay: Overlay, result: FrameResult) -> NDArray[np.uint8]:
        with self._drawing:  # the threads of all sources draw
            return overlay(result)


class _Run:
    """The lanes of one run, until each has ended."""

    def __init__(
        self,
        pipeline: Pipeline,
        streams: Sequence[Stream],
        max_frames: int | None,
        advance: Advance | None,
    ) -> None:
        self._pipeline, self._max_frames, self._advance = pipeline, max_frames, advance
        self._lanes = [pipeline.lane(stream) for stream in streams]
        self._arrivals = pipeline.arrivals(streams)
        self._detections = pipeline.detections(streams)

    @property
    def ends(self) -> tuple[StreamEnd, ...]:
        """How those lanes ended that have."""
        return tuple(lane.end for lane in self._lanes if lane.end is not None)

    def to_the_end(self, interrupts: Interrupts) -> KeyboardInterrupt | Terminated | None:
        """Process all frames and finish all lanes; the signal that ended it, if one did."""
        interrupted: KeyboardInterrupt | Terminated | None = None
        try:
            with self._arrivals, self._detections:
                for group in self._arrivals:
                    # Not in the block that holds signals back: a paused run can be interrupted.
                    admitted = [a for a in group if self._pipeline.admitted(a, self._lanes[a.at].stream)]
                    with interrupts.held():
                        goes_on = self._take(admitted)
                    if not goes_on:
                        break
        except (KeyboardInterrupt, Terminated) as error:
            interrupted = error
        interrupts.ignore()
        for at, lane in enumerate(self._lanes):
            self._finish(at, is_complete=interrupted is None or lane.stream.source.is_live)
        return interrupted

    def abandon(self) -> None:
        """Close the sinks of the streams, because of an error that is not that of one source."""
        for lane in self._lanes:
            if lane.end is None:
                with suppress(Exception):
                    lane.finish(is_complete=False)

    def _take(self, group: Sequence[Arrival]) -> bool:
        """Process what has arrived; whether to continue."""
        frames: list[tuple[int, Frame]] = []
        for arrival in group:
            if arrival.frame is not None:
                frames.append((arrival.at, arrival.frame))
            elif arrival.error is None or isinstance(arrival.error, (ToolchainError, OSError)):
                if not self._give_detected(rest=True):  # its last frames among them
                    return False
                self._finish(arrival.at, is_complete=arrival.error is None, error=arrival.error)
            else:
                raise arrival.error
        if frames:
            self._detections.put(frames)
        return self._give_detected()

    def _give_detected(self, *, rest: bool = False) -> bool:
        """Give the results that are to leave, or the rest of them, to the sinks; whether to continue."""
        for group in self._detections.take(rest=rest):
            continues = [self._give(detected) for detected in group]
            if not all(continues):
                return False
        return True

    def _give(self, detected: DetectedFrame) -> bool:
        at, lane = detected.at, self._lanes[detected.at]
        if lane.end is not None:  # while the frame was in progress
            return True
        result = lane.result(detected.frame, detected.found, detected.stages_ms)
        goes_on, drawn_bgr, stages_ms = self._pipeline.share(result)
        try:
            goes_on = lane.give(result, drawn_bgr, stages_ms) and goes_on
        except (ToolchainError, OSError) as error:
            self._finish(at, is_complete=False, error=error)
        if self._advance is not None:
            self._advance()
        if lane.frames == self._max_frames:
            self._finish(at, is_complete=True)
        return goes_on

    def _finish(self, at: int, *, is_complete: bool, error: ToolchainError | OSError | None = None) -> None:
        """End a lane, unless it has ended; beside other lanes, a line tells of its error."""
        lane = self._lanes[at]
        if lane.end is not None:
            return
        self._arrivals.stop(at)
        lane.finish(is_complete=is_complete, error=error, replaced=self._arrivals.replaced(at))
        failed = lane.end.error if lane.end is not None else None
        if failed is not None and len(self._lanes) > 1:
            say(f"{lane.stream.name}: {failed.what if isinstance(failed, ToolchainError) else failed}")
