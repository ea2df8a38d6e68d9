"""The time that a network computes on the GPU, beside the wall time of a frame.

CUDA events before and after the network measure it, without the copies of input and output. It corresponds to
"GPU Compute Time" of trtexec.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.statistics.percentiles import percentile
from runtime.detector import TimedDetector

FRACTIONS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def total_ms(detector: TimedDetector) -> float | None:
    """Milliseconds on the GPU since the detector was opened; None if its backend does not measure them."""
    found: float | None = getattr(detector, "gpu_ms", None)
    return found


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
