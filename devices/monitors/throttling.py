"""Whether a machine held its clocks down while it was watched, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from devices.monitors.nvml import POWER_CAP, THROTTLE_BITS
from devices.monitors.trace import Trace


@dataclass(frozen=True, slots=True)
class Throttling:
    """Throttling in a time.

    Attributes:
        throttled: Whether heat, current or a fault held clocks down; None if no sensor tells.
        reasons: All reasons that were seen, also those that are no fault, such as a power cap.
    """

    throttled: bool | None
    reasons: tuple[str, ...]


def find_throttling(trace: Trace, start_s: float, end_s: float) -> Throttling:
    """The throttling between two times."""
    kinds = {channel.kind for channel in trace.series}
    if not kinds & {"throttle_bits", "throttle_count", "throttle_state"}:
        return Throttling(None, ())
    caps = [
        f"{name}: {THROTTLE_BITS[POWER_CAP]}"
        for name, bits in _bits(trace, start_s, end_s)
        if bits & POWER_CAP
    ]
    faults = [*_faults(trace, start_s, end_s)]
    return Throttling(bool(faults), (*faults, *caps))


def _faults(trace: Trace, start_s: float, end_s: float) -> Iterator[str]:
    for name, bits in _bits(trace, start_s, end_s):
        for bit, reason in THROTTLE_BITS.items():
            if bits & bit and bit != POWER_CAP:
                yield f"{name}: {reason}"
    for name, series in trace.of("throttle_count"):
        events = round(series.at(end_s) - series.at(start_s))
        if events > 0:
            yield f"{name}: {events} {'event' if events == 1 else 'events'}"
    for name, series in trace.of("throttle_state"):
        if len(inside := series.between(start_s, end_s)) and inside.values.max() > 0:
            yield f"{name} in force"


def _bits(trace: Trace, start_s: float, end_s: float) -> Iterator[tuple[str, int]]:
    """All bits that were set at any time, by card."""
    for name, series in trace.of("throttle_bits"):
        inside = series.between(start_s, end_s).values.astype(np.int64)
        yield name, int(np.bitwise_or.reduce(inside)) if len(inside) else 0
