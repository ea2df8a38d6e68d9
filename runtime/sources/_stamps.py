"""Times of frames from the time stamps of a stream, which may lack them or jump."""

from __future__ import annotations

MIN_STEP_S = 0.001
#: A live stream's stamps may differ from the clock of this machine by so much before they are set to it.
MAX_DRIFT_S = 1.0


class StampClock:
    """Turns time stamps into times that start at 0 and increase.

    A stamp that is equal to the one before, or lower, is replaced by the time of the frame before plus the
    mean period; after a jump back the stamps are counted on from there.

    Args:
        period_s: Mean time between two frames, seconds.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._origin_s = self._stamp_s = self._time_s = 0.0
        self._count = self._equal = self._back = 0

    def time_s(self, stamp_s: float) -> float:
        """Time of the next frame.

        Args:
            stamp_s: Its time stamp, seconds.

        Returns:
            Seconds since the first frame; greater than that of the frame before.
        """
        if self._count == 0:
            self._origin_s = self._stamp_s = stamp_s
        elif stamp_s > self._stamp_s:
            self._time_s = max(stamp_s - self._origin_s, self._time_s + MIN_STEP_S)
        else:
            self._time_s += self._period_s
            if stamp_s < self._stamp_s:
                self._back += 1
                self._origin_s = stamp_s - self._time_s
            else:
                self._equal += 1
        self._count += 1
        self._stamp_s = stamp_s
        return self._time_s

    def doubts(self) -> list[str]:
        """What was wrong with the stamps so far, one sentence for each."""
        rate = f"{1 / self._period_s:g} frames per second"
        found = []
        if self._equal and self._equal + self._back == self._count - 1:
            found.append(f"the stream has no time stamps; times are those of {rate}")
        elif self._equal:
            found.append(f"{self._equal} of {self._count} frames have no time stamp of their own")
        if self._back:
            found.append(f"the time stamps jump back {self._back} times; times are counted on at {rate}")
        return found


class LiveClock:
    """Times of a live stream: its own stamps, which do not vary with the network, or the capture clock.

    The stamps are used as long as they increase and stay within ``MAX_DRIFT_S`` of the clock of this machine.
    """

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._offset_s: float | None = None
        self._time_s = 0.0
        self._stamp_s = -1.0

    def restart(self) -> None:
        """Set the next time stamp to the clock: the stream begins anew after a gap. Times go on."""
        self._offset_s, self._stamp_s = None, -1.0

    def time_s(self, captured_s: float, stamp_s: float | None) -> float:
        """Time of the next frame.

        Args:
            captured_s: Seconds of ``time.perf_counter`` at its capture.
            stamp_s: Its time stamp in the stream, seconds; None if the source has none.

        Returns:
            Seconds since the first frame; not lower than that of the frame before.
        """
        if self._first_s is None:
            self._first_s = captured_s
        clock_s = captured_s - self._first_s
        time_s = clock_s
        if stamp_s is not None and stamp_s > self._stamp_s:
            if self._offset_s is None or abs(stamp_s + self._offset_s - clock_s) > MAX_DRIFT_S:
                self._offset_s = clock_s - stamp_s
            time_s = stamp_s + self._offset_s
        self._stamp_s = -1.0 if stamp_s is None else stamp_s
        self._time_s = max(time_s, self._time_s)
        return self._time_s
