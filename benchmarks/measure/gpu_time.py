"""The time that a network computes on the GPU, beside the wall time of a frame.

CUDA events before and after the network measure it, without the copies of input and output. It corresponds to
"GPU Compute Time" of trtexec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.measure.samples import Samples
from benchmarks.statistics.percentiles import percentile
from runtime.detector import TimedDetector

#: Stages that are copies, in the order of ``runtime.backend.Backend.transfers_ms``.
TRANSFERS = ("host_to_device", "device_to_host")
FRACTIONS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def total_ms(detector: TimedDetector) -> float | None:
    """Milliseconds on the GPU since the detector was opened; None if its backend does not measure them."""
    found: float | None = getattr(detector, "gpu_ms", None)
    return found


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """Milliseconds on the GPU since a detector was opened.

    Attributes:
        compute_ms: Of the network; None if its backend does not measure it.
        transfers_ms: Of copies to the GPU and back; None if there are none, or they are not measured.
    """

    compute_ms: float | None
    transfers_ms: tuple[float, float] | None

    @classmethod
    def of(cls, detector: TimedDetector) -> GpuTotals:
        """The totals up to now."""
        return cls(total_ms(detector), getattr(detector, "transfers_ms", None))

    def add_since(self, before: GpuTotals, samples: Samples, frames: int = 1) -> None:
        """Add what was spent since earlier totals to the samples of some frames, in equal shares."""
        if self.compute_ms is not None and before.compute_ms is not None:
            samples.gpu_ms += [round((self.compute_ms - before.compute_ms) / frames, 4)] * frames
        if self.transfers_ms is None or before.transfers_ms is None:
            return
        spent_ms = [now - then for now, then in zip(self.transfers_ms, before.transfers_ms, strict=True)]
        for _ in range(frames):
            samples.add_other(dict(zip(TRANSFERS, (ms / frames for ms in spent_ms), strict=True)))


def figures_of(samples_ms: Sequence[float], backend: str) -> dict[str, Any]:
    """Percentiles and mean of the GPU time of each frame, as plain data.

    Args:
        samples_ms: Milliseconds of each frame; empty if they were not measured.
        backend: Name of the backend, for the reason why there are none.
    """
    if not samples_ms:
        reason = f"the backend {backend} does not measure it: CUDA events are recorded around engines"
        return {"gpu_compute_ms": None, "gpu_compute_reason": reason}
    values = {name: percentile(list(samples_ms), fraction).value for name, fraction in FRACTIONS.items()}
    rounded = {name: None if value is None else round(value, 4) for name, value in values.items()}
    return {
        "gpu_compute_ms": {**rounded, "mean": round(float(np.mean(samples_ms)), 4)},
        "gpu_compute_samples_ms": list(samples_ms),
    }
