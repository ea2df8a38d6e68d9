"""Percentiles with confidence bounds on both sides, or none if there are too few samples.

With n independent samples the t-th largest is an upper bound of the percentile p at confidence c if P[Bin(n,
1 - p) <= t - 1] <= 1 - c. Below the n for which that holds for t = 1 (459 for p99 at 99 %) even the maximum
is no bound, and no percentile is reported. By the same argument from the other side, the t-th smallest is a
lower bound if P[Bin(n, p) <= t - 1] <= 1 - c. No distribution of the times is assumed. Each bound holds at
99 %, both together at 98 %.

Source: David and Nagaraja, Order Statistics, 3rd edition 2003, section 7.1; early stopping of MLPerf's
loadgen, without its extra order statistic,
https://github.com/mlcommons/inference/blob/master/loadgen/early_stopping.cc
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, exp, lgamma, log, log1p

import numpy as np

CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """One percentile of a set of samples.

    Attributes:
        value: The estimate, in the unit of the samples; None if there are too few.
        lower: Lower bound of the percentile at 99 % confidence; None if there are too few samples.
        upper: Upper bound of the percentile at 99 % confidence; None if there are too few samples.
        reason: Why there is no value; None if there is one.
    """

    value: float | None
    lower: float | None
    upper: float | None
    reason: str | None


def percentile(samples: Sequence[float], fraction: float) -> Percentile:
    """A percentile of samples.

    Args:
        samples: Measured values in any order, assumed to be independent.
        fraction: The percentile as a fraction in (0, 1), e.g. 0.99.
    """
    rank = upper_rank(len(samples), fraction)
    if rank == 0:
        reason = (
            f"p{fraction * 100:g} needs {least_samples(fraction)} samples for an upper bound at "
            f"{CONFIDENCE:.0%} confidence; there are {len(samples)}"
        )
        return Percentile(value=None, lower=None, upper=None, reason=reason)
    ordered = np.sort(np.asarray(samples, np.float64))
    low = upper_rank(len(samples), 1 - fraction)  # counted from the smallest
    return Percentile(
        value=float(np.quantile(ordered, fraction)),
        lower=float(ordered[low - 1]) if low else None,
        upper=float(ordered[-rank]),
        reason=None,
    )


def upper_rank(n: int, fraction: float) -> int:
    """The largest t for which the t-th largest of n samples bounds the percentile from above; 0 if none."""
    rank, below = 0, 0.0
    while rank < n:
        below += _binomial(n, rank, 1 - fraction)
        if below > 1 - CONFIDENCE:
            break
        rank += 1
    return rank


def early_stopping_rank(n: int, fraction: float) -> int:
    """The rank, from the largest, of the estimate that MLPerf's LoadGen reports for n queries; 0 if none.

    LoadGen takes the largest t with P[Bin(n, 1 - p) <= t] < 1 - c, discards the t - 1 highest latencies and
    reports the next. That is one order statistic more conservative than ``upper_rank``.

    Source: ``PerformanceSummary::EarlyStopping`` of
    https://github.com/mlcommons/inference/blob/master/loadgen/results.cc
    """
    return max(upper_rank(n, fraction) - 1, 0)


def least_samples(fraction: float, rank: int = 1) -> int:
    """The smallest number of samples of which the rank-th largest is an upper bound of the percentile."""
    high = ceil(rank / (1 - fraction))
    while upper_rank(high, fraction) < rank:
        high *= 2
    low = high // 2
    while low < high:  # bisection: the bound holds from some n on
        middle = (low + high) // 2
        if upper_rank(middle, fraction) >= rank:
            high = middle
        else:
            low = middle + 1
    return high


def _binomial(n: int, k: int, p: float) -> float:
    """P[Bin(n, p) = k], by logarithms, since the powers underflow for some thousand samples."""
    ways = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return exp(ways + k * log(p) + (n - k) * log1p(-p))
