"""Cameras of a fixed rate, and the loop that detects in their newest frames.

A camera captures a frame at each tick of its rate, however long decoding and detection take: the times are on
a schedule, so that a slow detector cannot slow the cameras down. The frame is decoded in a thread of its own
and waits in ``runtime.streams.waiting_frames``, where the next one replaces it, as in ``edgestill run``. A
tick that passes while the camera still decodes is a frame that the driver would drop; it is counted too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from typing import Protocol

from benchmarks.measure.collect import WARMUP_RUNS
from benchmarks.measure.gpu_time import GpuTotals
from benchmarks.measure.samples import Samples
from benchmarks.measure.timeline import Timeline
from runtime.detector import TimedDetector
from runtime.frames import Frame
from runtime.streams.detection_queue import detect
from runtime.streams.waiting_frames import WaitingFrames

#: Cameras are not synchronised: each begins so much of a period after the one before, which spreads any
#: number of them over the period. Source: the golden ratio, as of additive low-discrepancy sequences.
PHASE = 0.6180339887
_NEVER_BEHIND = 1e-6  # of a period: a step that begins in time may be late by rounding


class Frames(Protocol):
    """The decoded frames of a camera, without an end."""

    def take(self, count: int) -> list[Frame]:
        """The next frames, each with its decoding time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A frame whose boxes are there.

    Attributes:
        at: Index of the camera.
        age_ms: Time from the capture of the frame to its boxes, milliseconds.
        decided_s: When its boxes were there, on the timeline.
        together: Number of frames that the network took with it.
    """

    at: int
    age_ms: float
    decided_s: float
    together: int


@dataclass(slots=True, kw_only=True)
class CameraSamples:
    """What a run with cameras gave, without its warm-up.

    Attributes:
        start_s: Its begin, on the timeline.
        end_s: Its end.
        samples: Milliseconds by stage of each frame; frames that the network took together share them.
        decisions: Each frame that was processed.
        replaced: By camera, frames that a newer one replaced before they were processed.
        missed: By camera, frames whose tick passed while the one before was decoded.
        busy_s: Time in which the detector worked.
    """

    start_s: float
    end_s: float
    samples: Samples = field(default_factory=Samples)
    decisions: list[Decision] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    busy_s: float = 0.0

    def dropped(self, at: int | None = None) -> int:
        """Frames of a camera, or of all, that were captured and not processed."""
        counts = [replaced + missed for replaced, missed in zip(self.replaced, self.missed, strict=True)]
        return sum(counts) if at is None else counts[at]

    def decided(self, at: int | None = None) -> int:
        """Frames of a camera, or of all, that were processed."""
        return sum(at in {None, decision.at} for decision in self.decisions)

    def dropped_share(self, at: int | None = None) -> float:
        """Dropped frames over all frames whose fate is known: dropped or processed."""
        dropped = self.dropped(at)
        return dropped / max(dropped + self.decided(at), 1)


class CameraRun:
    """A detector that reads some cameras.

    Args:
        detector: The detector.
        sources: The frames of each camera.
        fps: Frames per second of each camera.
        timeline: The time.
        most: Largest number of frames that the network takes at once; None for one of each camera.
    """

    def __init__(
        self,
        detector: TimedDetector,
        sources: Sequence[Frames],
        fps: float,
        timeline: Timeline,
        *,
        most: int | None = 1,
    ) -> None:
        self._detector, self._sources, self._fps, self._timeline = detector, tuple(sources), fps, timeline
        self._waiting = WaitingFrames([True] * len(sources), most=most, signal=timeline.signal())
        self._missed = [0] * len(sources)

    def measure(self, *, duration_s: float, min_samples: int, warmup_s: float) -> CameraSamples:
        """Start the cameras, warm up, and measure until time and number are reached; then stop them.

        Args:
            duration_s: Smallest measured time, seconds.
            min_samples: Smallest number of processed frames.
            warmup_s: Time before, in which frames are processed and not counted, seconds.

        Raises:
            DataError: A frame cannot be read.
        """
        start_s = self._timeline.now_s()
        for at in range(len(self._sources)):
            self._timeline.start(self._capture(at, start_s))
        try:
            self._process(duration_s=warmup_s, min_samples=WARMUP_RUNS)
            return self._process(duration_s=duration_s, min_samples=min_samples)
        finally:
            for at in range(len(self._sources)):
                self._waiting.stop(at)
            self._timeline.stop()

    def _process(self, *, duration_s: float, min_samples: int) -> CameraSamples:
        """Detect in the newest frames until time and number are reached."""
        start_s = self._timeline.now_s()
        taken = CameraSamples(start_s=start_s, end_s=start_s)
        replaced, missed = self._replaced(), list(self._missed)
        while taken.end_s - start_s < duration_s or len(taken.decisions) < min_samples:
            self._next_group(taken)
        taken.replaced = [now - then for now, then in zip(self._replaced(), replaced, strict=True)]
        taken.missed = [now - then for now, then in zip(self._missed, missed, strict=True)]
        return taken

    def _next_group(self, taken: CameraSamples) -> None:
        arrivals = self._waiting.take()
        frames = []
        for arrival in arrivals:
            if arrival.error is not None:
                raise arrival.error
            if arrival.frame is not None:
                frames.append((arrival.at, arrival.frame))
        begin_s, before = self._timeline.now_s(), GpuTotals.of(self._detector)
        detected = detect(self._detector, [frame for _, frame in frames])
        taken.end_s = self._timeline.now_s()
        taken.busy_s += taken.end_s - begin_s
        GpuTotals.of(self._detector).add_since(before, taken.samples, len(frames))
        for (at, frame), (found, stages_ms) in zip(frames, detected, strict=True):
            taken.samples.add(frame, stages_ms, 0, len(found))
            age_ms = (taken.end_s - frame.captured_s) * 1e3
            taken.decisions.append(
                Decision(at=at, age_ms=age_ms, decided_s=taken.end_s, together=len(frames))
            )

    def _replaced(self) -> list[int]:
        return [self._waiting.replaced(at) for at in range(len(self._sources))]

    def _capture(self, at: int, start_s: float) -> Iterator[float]:
        """The process of one camera."""
        first_s, tick = start_s + (at * PHASE % 1) / self._fps, 0
        try:
            while True:
                due_s = first_s + tick / self._fps
                yield due_s
                frame = self._sources[at].take(1)[0]
                captured = replace(frame, index=tick, captured_s=due_s, time_s=tick / self._fps)
                if not self._waiting.put(at, captured):
                    return
                now = (self._timeline.now_s() - first_s) * self._fps  # in periods
                following = max(tick + 1, floor(now + _NEVER_BEHIND))
                self._missed[at] += following - tick - 1
                tick = following
        except Exception as error:  # raised again where the frames are taken
            self._waiting.end(at, error)
