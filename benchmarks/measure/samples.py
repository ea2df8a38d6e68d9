"""The samples of a measurement of latency: their percentiles, and reasons to doubt them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics import steady_state
from benchmarks.statistics.percentiles import percentile
from runtime.frames import Frame

STAGES = ("decode", "letterbox", "inference", "postprocess")
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

UNSTABLE_SPREAD = 0.10  # standard deviation over mean; the same limit as in pyperf


@dataclass(slots=True)
class Samples:
    """The samples of one model, one for each measured frame, in order.

    Attributes:
        stages_ms: Milliseconds of each sample, by stage.
        rounds: Number of the round of each sample.
        found: Total number of detections.
        total_ms: Total time, milliseconds.
        gpu_ms: Milliseconds that each sample computed on the GPU; empty if that is not measured.
        other_ms: Milliseconds of each sample, by stage, that are no part of a frame up to its boxes, or
            are parts of another stage: copies to a GPU and back, tracking, drawing, encoding.
        processes: Number of the process of each sample; empty if there was one.
        builds: Different model files that the processes used in turns.
        warmup_ms: Milliseconds of inference of each run of the warm-up, by process.
        cut_ms: Milliseconds of the frames that were left out, because the model was not in its steady state.
        is_steady: Whether a steady state was reached.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    rounds: list[int] = field(default_factory=list)
    found: int = 0
    total_ms: float = 0.0
    gpu_ms: list[float] = field(default_factory=list)
    other_ms: dict[str, list[float]] = field(default_factory=dict)
    processes: list[int] = field(default_factory=list)
    builds: int = 1
    warmup_ms: list[list[float]] = field(default_factory=list)
    cut_ms: list[float] = field(default_factory=list)
    is_steady: bool = True

    def add(self, frame: Frame, stages_ms: dict[str, float], round_number: int, found: int) -> None:
        """Add the times of one frame."""
        for stage, ms in {"decode": frame.decode_ms, **stages_ms}.items():
            self.stages_ms[stage].append(round(ms, 4))
            self.total_ms += ms
        self.rounds.append(round_number)
        self.found += found

    def add_other(self, stages_ms: Mapping[str, float]) -> None:
        """Add times of the same frame that are no part of its time up to the boxes."""
        for stage, ms in stages_ms.items():
            self.other_ms.setdefault(stage, []).append(round(ms, 4))

    def extend(self, turn: Mapping[str, Any], *, round_number: int, process: int) -> None:
        """Add the frames of a turn of another process, see ``benchmarks.arms.worker``."""
        count = len(turn["stages_ms"]["inference"])
        for stage, times_ms in turn["stages_ms"].items():
            self.stages_ms[stage] += times_ms
            self.total_ms += sum(times_ms)
        for stage, times_ms in turn["other_ms"].items():
            self.other_ms.setdefault(stage, []).extend(times_ms)
        self.gpu_ms += turn["gpu_ms"]
        self.rounds += [round_number] * count
        self.processes += [process] * count
        self.found += turn["found"]

    def leave_out(self, rounds: Collection[int]) -> None:
        """Move the samples of some rounds to ``cut_ms``."""
        keep = [number not in rounds for number in self.rounds]
        self.cut_ms += [round(float(ms), 4) for ms, kept in zip(self.frame_ms, keep, strict=True) if not kept]
        self.stages_ms = {stage: list(compress(times, keep)) for stage, times in self.stages_ms.items()}
        self.other_ms = {stage: list(compress(times, keep)) for stage, times in self.other_ms.items()}
        self.gpu_ms, self.processes = list(compress(self.gpu_ms, keep)), list(compress(self.processes, keep))
        self.rounds = list(compress(self.rounds, keep))

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
        figures[f"{name}_lower_ms"] = _rounded(p.lower)
        figures[f"{name}_upper_ms"] = _rounded(p.upper)
        if p.reason:
            figures[f"{name}_reason"] = p.reason
    return {
        **figures,
        "mean_ms": round(float(frame_ms.mean()), 3),
        "throughput_fps": round(1e3 / float(frame_ms.mean()), 2),
        "stages_ms": {
            stage: round(float(np.median(ms)), 3)
            for stage, ms in {**samples.stages_ms, **samples.other_ms}.items()
        },
        "detections_per_frame": round(samples.found / len(samples), 2),
        "steady_state": steady_state_of(samples),
        "effective_samples": round(steady_state.effective_samples(list(frame_ms))),
        "doubts": sample_doubts(samples),
        "samples_ms": samples.stages_ms,
        **({"samples_other_ms": samples.other_ms} if samples.other_ms else {}),
        "rounds": samples.rounds,
        **({"processes": samples.processes, "builds": samples.builds} if samples.processes else {}),
    }


def steady_state_of(samples: Samples) -> dict[str, Any]:
    """What ran before the times were steady, as plain data; see ``benchmarks.measure.steady``."""
    return {
        "reached": samples.is_steady,
        "method": "MSER-5 and a rank-sum test, over the warm-up and the run",
        "warmup_runs": [len(times_ms) for times_ms in samples.warmup_ms],
        "cut_samples": len(samples.cut_ms),
        "cut_ms": samples.cut_ms,
    }


def sample_doubts(samples: Samples) -> list[str]:
    """Reasons in the samples not to quote them."""
    found = []
    inference = np.asarray(samples.stages_ms["inference"])
    spread = float(inference.std() / inference.mean()) if inference.mean() > 0 else 0.0
    if spread >= UNSTABLE_SPREAD:
        found.append(f"the standard deviation of inference times is {spread:.0%} of their mean")
    found += steady_state.doubts(samples.stages_ms["inference"], "inference time")
    if not samples.is_steady:
        found.append("no steady state was reached in the warm-up and the run: --warmup-s, --duration-s")
    missing = [n for n, f in PERCENTILES.items() if percentile(samples.rounds, f).value is None]
    if missing:
        found.append(f"{len(samples)} samples are too few for {' and '.join(missing)}")
    if samples.found == 0:
        found.append("there were no detections in any frame, so NMS took no time")
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
