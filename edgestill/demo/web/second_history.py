"""The last minutes of a run by the second: what the charts of the web view show."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HISTORY_S = 120  # seconds that are kept


@dataclass(slots=True)
class _Second:
    """The frames of one second."""

    at: int
    frames: int = 0
    ages_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)


class SecondHistory:
    """Collects frames into seconds, for ``HISTORY_S`` of them.

    Times are seconds since the start of the run. A second without a frame is there, too.
    """

    def __init__(self) -> None:
        self._open = _Second(at=0)
        self._closed: deque[dict[str, Any]] = deque(maxlen=HISTORY_S)
        self._dropped = 0

    def add(
        self, now_s: float, *, age_ms: float | None, stages_ms: Mapping[str, float], dropped: int
    ) -> None:
        """Add a frame.

        Args:
            now_s: The time.
            age_ms: Time since its capture, milliseconds; None for a file.
            stages_ms: Milliseconds by stage.
            dropped: Frames that the source has dropped so far.
        """
        self.roll(now_s, dropped)
        self._open.frames += 1
        if age_ms is not None:
            self._open.ages_ms.append(age_ms)
        for stage, ms in stages_ms.items():
            self._open.stages_ms.setdefault(stage, []).append(ms)

    def roll(self, now_s: float, dropped: int) -> None:
        """Close the seconds that are over; ``dropped`` as in ``add``."""
        second = int(now_s)
        if second - self._open.at > HISTORY_S:
            self._closed.clear()
            self._open = _Second(at=second - HISTORY_S)
        while self._open.at < second:
            self._closed.append(_figures(self._open, dropped - self._dropped))
            self._dropped = dropped
            self._open = _Second(at=self._open.at + 1)

    def seconds(self) -> list[dict[str, Any]]:
        """The closed seconds, oldest first: ``at``, ``frames``, ``dropped``, ``age_ms``, ``stages_ms``.

        ``age_ms`` has the percentiles ``p50``, ``p95`` and ``p99``; None without a frame, and for a file.
        ``stages_ms`` has means.
        """
        return list(self._closed)


def age_percentiles(ages_ms: list[float]) -> dict[str, float] | None:
    """The 50th, 95th and 99th percentile, milliseconds; None without values."""
    if not ages_ms:
        return None
    values = np.percentile(ages_ms, (50, 95, 99))
    return {f"p{rank}": round(float(value), 1) for rank, value in zip((50, 95, 99), values, strict=True)}


def _figures(second: _Second, dropped: int) -> dict[str, Any]:
    return {
        "at": second.at,
        "frames": second.frames,
        "dropped": dropped,
        "age_ms": age_percentiles(second.ages_ms),
        "stages_ms": {name: round(sum(ms) / len(ms), 2) for name, ms in second.stages_ms.items()},
    }
