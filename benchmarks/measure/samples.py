"""The samples of a measurement of latency: their percentiles, and reasons to doubt them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics.percentiles import percentile
from runtime.frames import Frame

STAGES = ("decode", "letterbox", "inference", "postprocess")
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

UNSTABLE_SPREAD = 0.10  # standard deviation over mean; the same limit as in pyperf
DRIFT_LIMIT = 0.05  # between the medians of the first and the second half


@dataclass(slots=True)
class Samples:
    """The samples of one model, one for each measured frame, in order.

    Attributes:
        stages_ms: Milliseconds of each sample, by stage.
        rounds: Number of the round of each sample.
        found: Total number of detections.
        total_ms: Total time, milliseconds.
        gpu_ms: Milliseconds that each sample computed on the GPU; empty if that is not measured.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    rounds: list[int] = field(default_factory=list)
    found: int = 0
    total_ms: float = 0.0
    gpu_ms: list[float] = field(default_factory=list)

    def add(self, frame: Frame, stages_ms: dict[str, float], round_number: int, found: int) -> None:
        """Add the times of one frame."""
        for stage, ms in {"decode": frame.decode_ms, **stages_ms}.items():
            self.stages_ms[stage].append(round(ms, 4))
            self.total_ms += ms
        self.rounds.append(round_number)
        self.found += found

    def __len__(self) -> int:
        return len(self.rounds)

    @property
    def frame_ms(self) -> NDArray[np.float64]:
        """Milliseconds from encoded frame to boxes, of each sample."""
        return np.asarray(np.asarray([self.stages_ms[stage] for stage in STAGES]).sum(axis=0), np.float64)


def figures_of(samples: Samples) -> dict[str, Any]:
    """Percentiles, medians of the stages, doubts and the samples themselves, as plain data."""
    frame_ms = samples.frame_ms
    figures: dict[str, Any] = {"samples": len(samples)}
    for name, fraction in PERCENTILES.items():
        p = percentile(list(frame_ms), fraction)
        figures[f"{name}_ms"] = _rounded(p.value)
        figures[f"{name}_upper_ms"] = _rounded(p.upper)
        if p.reason:
            figures[f"{name}_reason"] = p.reason
    return {
        **figures,
        "mean_ms": round(float(frame_ms.mean()), 3),
        "throughput_fps": round(1e3 / float(frame_ms.mean()), 2),
        "stages_ms": {stage: round(float(np.median(ms)), 3) for stage, ms in samples.stages_ms.items()},
        "detections_per_frame": round(samples.found / len(samples), 2),
        "doubts": sample_doubts(samples),
        "samples_ms": samples.stages_ms,
        "rounds": samples.rounds,
    }


def sample_doubts(samples: Samples) -> list[str]:
    """Reasons in the samples not to quote them."""
    found = []
    inference = np.asarray(samples.stages_ms["inference"])
    spread = float(inference.std() / inference.mean()) if inference.mean() > 0 else 0.0
    if spread >= UNSTABLE_SPREAD:
        found.append(f"the standard deviation of inference times is {spread:.0%} of their mean")
    first, second = np.array_split(inference, 2)
    drift = float(np.median(second) / np.median(first) - 1) if len(first) and np.median(first) > 0 else 0.0
    if abs(drift) >= DRIFT_LIMIT:
        found.append(f"the median inference time of the second half is {drift:+.0%} from the first: a drift")
    missing = [n for n, f in PERCENTILES.items() if percentile(samples.rounds, f).value is None]
    if missing:
        found.append(f"{len(samples)} samples are too few for {' and '.join(missing)}")
    if samples.found == 0:
        found.append("there were no detections in any frame, so NMS took no time")
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
