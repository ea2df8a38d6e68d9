"""What viewers of a run can change while it runs: the confidence threshold, and pause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from threading import Condition
from typing import Protocol

from edgestill.errors import UsageError


class HasThreshold(Protocol):
    """A detector whose threshold can be changed between two frames.

    Attributes:
        conf: Detections with a lower score are dropped.
    """

    conf: float


class RunControls:
    """Threshold and pause of a running pipeline; a ``runtime.pipeline.Gate``. Any thread may use it.

    While the run is paused, frames of a live source are taken and discarded: nothing is inferred, and it
    continues with the newest frame. A file waits where it is and continues with its next frame.

    Args:
        detector: Gets the threshold.
        heard: Called with the name of the source for each frame that is discarded.
    """

    def __init__(self, detector: HasThreshold, *, heard: Callable[[str], None] = lambda source: None) -> None:
        self._detector, self._heard = detector, heard
        self._changed = Condition()
        self._paused = self._ended = False
        self._discarded: Counter[str] = Counter()

    @property
    def conf(self) -> float:
        """The confidence threshold in use, 0 to 1."""
        return self._detector.conf

    @property
    def paused(self) -> bool:
        """Whether the run is paused."""
        return self._paused

    @property
    def discarded(self) -> Mapping[str, int]:
        """Frames of live sources that came during a pause, by source."""
        return dict(self._discarded)

    def change(self, *, conf: float | None = None, paused: bool | None = None) -> None:
        """Change what is not None, from the next frame on.

        Raises:
            UsageError: The threshold is not from 0 to 1.
        """
        if conf is not None:
            if not 0 <= conf <= 1:
                raise UsageError(f"conf is {conf}", hint="use a number from 0 to 1")
            self._detector.conf = conf
        if paused is not None:
            with self._changed:
                self._paused = paused
                self._changed.notify_all()

    def end(self) -> None:
        """Let go of a paused run for good."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def admits(self, source: str, *, is_live: bool) -> bool:
        """Whether the next frame is processed; of a file, wait until the run goes on."""
        if not is_live:
            with self._changed:
                self._changed.wait_for(lambda: not self._paused or self._ended)
            return True
        if not self._paused:
            return True
        self._discarded[source] += 1
        self._heard(source)
        return False
