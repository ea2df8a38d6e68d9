"""Reads sensors at a fixed rate in a thread, beside what is measured.

The thread sleeps between its samples. The CPU time that it needs is measured with the clock of the thread
and is part of each trace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Event, Lock, Thread
from time import perf_counter, thread_time
from types import TracebackType

import numpy as np

from devices.monitors.sensor import Channel, Sensor, SensorLostError
from devices.monitors.trace import Series, Trace

INTERVAL_S = 0.1


class Monitor:
    """The samples of some sensors; a context manager that starts and ends the thread.

    Args:
        sensors: They are closed at the end. Of two with the same channel the first is used for it.
        interval_s: Time between two samples.
    """

    def __init__(self, sensors: Sequence[Sensor], interval_s: float = INTERVAL_S) -> None:
        self._sensors, self._interval_s = tuple(sensors), interval_s
        self._times_s: dict[str, list[float]] = {sensor.name: [] for sensor in sensors}
        self._rows: dict[str, list[Sequence[float]]] = {sensor.name: [] for sensor in sensors}
        self._lost: dict[str, str] = {}
        self._lock, self._end = Lock(), Event()
        self._thread = Thread(target=self._run, name="monitor", daemon=True)
        self._cpu_s, self._samples = 0.0, 0
        self._start_s = perf_counter()

    @property
    def interval_s(self) -> float:
        """Time between two samples, seconds."""
        return self._interval_s

    def __enter__(self) -> Monitor:
        self._start_s = perf_counter()
        if self._sensors:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        for sensor in self._sensors:
            sensor.close()

    def sample(self) -> float:
        """Read all sensors now, beside the fixed rate; returns the time of the end, ``time.perf_counter``.

        The start and the end of a window that is measured are taken with it, so that a sample lies at both.
        """
        with self._lock:
            for sensor in self._sensors:
                if sensor.name not in self._lost:
                    self._read(sensor)
            self._samples += 1
        return perf_counter()

    def trace(self) -> Trace:
        """All samples up to now."""
        with self._lock:
            series: dict[Channel, Series] = {}
            for sensor in self._sensors:
                times_s = np.asarray(self._times_s[sensor.name])
                columns = np.asarray(self._rows[sensor.name], np.float64).reshape(len(times_s), -1)
                for k, channel in enumerate(sensor.channels):
                    column = columns[:, k] if len(times_s) else np.empty(0)
                    known = ~np.isnan(column)
                    if known.any():
                        series.setdefault(channel, Series(times_s[known], column[known]))
            wall_s = perf_counter() - self._start_s
            return Trace(series, dict(self._lost), self._cpu_s, wall_s, self._samples)

    def _run(self) -> None:
        start_s, count = perf_counter(), 0
        used_s = thread_time()
        while not self._end.is_set():
            self.sample()
            now_s = thread_time()
            self._cpu_s += now_s - used_s
            used_s = now_s
            # A sample that took longer than the interval is not made up for.
            count = max(count + 1, math.ceil((perf_counter() - start_s) / self._interval_s))
            self._end.wait(start_s + count * self._interval_s - perf_counter())

    def _read(self, sensor: Sensor) -> None:
        begun_s = perf_counter()
        try:
            values = sensor.read()
        except SensorLostError as error:
            self._lost[sensor.name] = f"{error}, after {begun_s - self._start_s:.1f} s"
            return
        # Reading may take milliseconds; the values are of about its middle.
        self._times_s[sensor.name].append((begun_s + perf_counter()) / 2)
        self._rows[sensor.name].append(values)
