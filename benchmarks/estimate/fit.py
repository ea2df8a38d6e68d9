"""Fits the costs of the latency model to published latencies.

The errors are of the logarithm, so that 1 ms and 100 ms weigh alike. Three things keep 60 rows from few
publications from deciding more than they can: a prior of each cost; a robust loss; and a lower weight of each
row in a group of one device, precision and publication, whose errors are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimate.latency_model import COSTS
from benchmarks.estimate.published_latencies import Published

NOISE = 0.15  # of a published latency, as a part of it: two publications of one case differ by 11 % in median
STEPS = 200
CONVERGED = 1e-10  # largest change of the logarithm of a cost


@dataclass(frozen=True, slots=True)
class Prior:
    """A cost before the fit: its median and the standard deviation of its logarithm."""

    median: float
    deviation: float


def _efficiency(reached: float, deviation: float) -> Prior:
    """The prior of a cost of arithmetic, from an efficiency."""
    return Prior(1 / reached, deviation)


#: The efficiencies are somewhat above the largest published throughputs over a peak (0.88 FP32, 0.32 TF32,
#: 0.48 FP16 on CUDA cores, 0.47 FP16 and 0.29 INT8 on tensor cores), which hold launches and memory, too. No
#: row is of DP4A. The launch of a kernel takes some microseconds, and copies of input and output some tenths
#: of a millisecond.
PRIORS: Mapping[str, Prior] = MappingProxyType(
    {
        "fp32": _efficiency(0.90, 0.2),
        "tf32": _efficiency(0.60, 0.25),
        "fp16_cuda": _efficiency(0.65, 0.1),
        "fp16_tensor": _efficiency(0.65, 0.25),
        "int8_dp4a": _efficiency(0.50, 0.4),
        "int8_tensor": _efficiency(0.50, 0.25),
        "memory": _efficiency(0.60, 0.4),
        "launch_gpu": Prior(0.005, 0.5),
        "launch_jetson": Prior(0.004, 0.5),
        "constant_gpu": Prior(0.15, 0.4),
        "constant_jetson": Prior(0.60, 0.7),
        "nms_batch": Prior(0.80, 0.6),
        "nms_image": Prior(0.40, 0.5),
        "stages_image": Prior(0.15, 0.7),
    }
)


def fit(rows: Sequence[Published]) -> dict[str, float]:
    """The most probable costs, by the names of ``latency_model.COSTS``.

    Args:
        rows: Published latencies; a cost that none of them depends on keeps the median of its prior.

    Raises:
        RuntimeError: The fit did not converge.
    """
    features = np.asarray([[row.terms[name] for name in COSTS] for row in rows])
    measured = np.log([row.measured_ms for row in rows])
    return dict(zip(COSTS, np.exp(_minimum(features, measured, _weights(rows))).tolist(), strict=True))


def _weights(rows: Sequence[Published]) -> NDArray[np.float64]:
    """Of each row; those of a group of n add up to sqrt(n)."""
    groups = [(row.device, row.precision, row.source) for row in rows]
    sizes = Counter(groups)
    weights = np.asarray([sizes[group] ** -0.5 for group in groups])
    return np.asarray(weights / weights.mean() if len(weights) else weights)


def _minimum(
    features: NDArray[np.float64], measured: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The logarithms of the costs by Gauss-Newton steps with the weights of the pseudo-Huber loss."""
    median = np.log([PRIORS[name].median for name in COSTS])
    precision = np.asarray([PRIORS[name].deviation ** -2 for name in COSTS])
    logs = median.copy()
    for _ in range(STEPS):
        parts = features * np.exp(logs)
        total = parts.sum(axis=1)
        errors = (np.log(total) - measured) / NOISE
        slopes = parts / total[:, None] / NOISE
        strength = weights / np.sqrt(1 + errors**2)
        curvature = slopes.T @ (strength[:, None] * slopes) + np.diag(precision)
        gradient = slopes.T @ (strength * errors) + precision * (logs - median)
        step = np.linalg.solve(curvature, gradient)
        logs -= np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < CONVERGED:
            return np.asarray(logs)
    raise RuntimeError("the fit of the latency model did not converge")
