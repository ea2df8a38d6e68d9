"""Detection in several frames at the same time; the results leave in the order of the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from edgestill.detections import Detections
from runtime.detector import TimedDetector
from runtime.frames import Frame

#: Of each frame its detections, and milliseconds by stage of the detector.
Detected = list[tuple[Detections, dict[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectedFrame:
    """A frame that was put into a queue, with its detections.

    Attributes:
        at: Index of its source.
        frame: The frame.
        found: Its detections.
        stages_ms: Milliseconds by stage of the detector.
    """

    at: int
    frame: Frame
    found: Detections
    stages_ms: dict[str, float]


class DetectionQueue:
    """Calls a detector in threads, which end with the context manager.

    Args:
        detector: The detector.
        concurrency: Calls at the same time. With 1 there is no thread: ``put`` calls the detector itself.
    """

    def __init__(self, detector: TimedDetector, concurrency: int) -> None:
        self._detector = detector
        self._threads = ThreadPoolExecutor(concurrency, "detection") if concurrency > 1 else None
        #: Groups that stay in progress while the caller waits for frames: one for each thread.
        self._kept = concurrency if concurrency > 1 else 0
        self._groups: deque[tuple[Sequence[tuple[int, Frame]], Future[Detected]]] = deque()

    def __enter__(self) -> DetectionQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._groups.clear()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def put(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """Start the detection in frames that go to the network together; each has the index of its source."""
        images = [frame for _, frame in frames]
        if self._threads is None:
            future: Future[Detected] = Future()
            future.set_result(detect(self._detector, images))
        else:
            future = self._threads.submit(detect, self._detector, images)
        self._groups.append((frames, future))

    def take(self, *, rest: bool = False) -> Iterator[list[DetectedFrame]]:
        """The groups that are to leave, in the order in which they were put; waits for their detections.

        Args:
            rest: Whether all groups leave; else as many stay as keep the threads busy.

        Raises:
            Exception: What the detector raised for a group.
        """
        while len(self._groups) > (0 if rest else self._kept):
            frames, future = self._groups.popleft()
            yield [
                DetectedFrame(at=at, frame=frame, found=found, stages_ms=stages_ms)
                for (at, frame), (found, stages_ms) in zip(frames, future.result(), strict=True)
            ]


def detect(detector: TimedDetector, frames: Sequence[Frame]) -> Detected:
    """Detections in frames, which go to the network together; each has an equal share of the time."""
    if len(frames) == 1:
        return [detector.timed(frames[0].image_bgr)]
    found, stages_ms = detector.timed_batch([frame.image_bgr for frame in frames])
    share_ms = {stage: ms / len(frames) for stage, ms in stages_ms.items()}
    return [(one, share_ms) for one in found]
