"""Where the steady state of a run begins, how many independent samples a run is worth, and whether it drifts.

A run is its samples in order. Its steady state begins where leaving out more of the beginning does not make
the standard error of the mean smaller: MSER-5, on means of five samples. Chance alone moves that point, so
what lies before it is cut only where its median differs from that of the rest by a margin, and by a rank-sum
test.

Sources: White, An effective truncation heuristic for bias reduction in simulation output, Simulation 69(6),
1997, and White, Cobb and Spratt, A comparison of five steady-state truncation heuristics for simulation,
Winter Simulation Conference 2000 (MSER-5); Geyer, Practical Markov chain Monte Carlo, Statistical Science
7(4), 1992 (initial monotone sequence); Hamed and Rao, A modified Mann-Kendall trend test for autocorrelated
data, Journal of Hydrology 204, 1998; Sen, Estimates of the regression coefficient based on Kendall's tau,
JASA 63, 1968.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

BATCH = 5  # samples of a mean; the 5 of MSER-5
LEAST_BATCHES = 4
CUT_DIFFERENCE = 0.02  # between the medians before and after the cut
SIGNIFICANCE = 0.01  # of the tests; doubts should be rarer than the 5 % of papers
DRIFT_LIMIT = 0.05  # change over the run, relative to the median
MOST_POINTS = 400  # of the trend test, whose time grows with their square


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Change over a run.

    Attributes:
        halves: Median of the second half over that of the first, minus one.
        trend: Change from the beginning to the end by the Theil-Sen slope, relative to the median.
        p_value: Probability of such a trend where there is none, by the Mann-Kendall test.
    """

    halves: float
    trend: float
    p_value: float

    @property
    def is_large(self) -> bool:
        """Whether the halves differ, as after a step, or there is a trend that is no chance."""
        is_trend = abs(self.trend) >= DRIFT_LIMIT and self.p_value < SIGNIFICANCE
        return abs(self.halves) >= DRIFT_LIMIT or is_trend


def truncation(times: Sequence[float]) -> int | None:
    """Number of samples at the beginning that are not in the steady state.

    Args:
        times: The samples in order.

    Returns:
        Mostly 0, also of too few samples to look; None if no steady state was reached: it would begin in the
        second half.
    """
    count = len(times) // BATCH
    if count < LEAST_BATCHES:
        return 0
    # The incomplete batch is the oldest, since the end is the steady part.
    first = len(times) - count * BATCH
    means = np.asarray(times, np.float64)[first:].reshape(count, BATCH).mean(axis=1)
    cut = int(np.argmin([_mser(means[d:]) for d in range(count - LEAST_BATCHES // 2)]))
    at = first + cut * BATCH if cut else 0
    if at == 0 or not _differs(np.asarray(times[:at]), np.asarray(times[at:])):
        return 0
    return at if cut <= count // 2 else None


def effective_samples(times: Sequence[float]) -> float:
    """Number of independent samples whose mean would be as certain as that of these.

    Autocorrelations are summed in pairs of lags, as long as the pairs are positive, and none may exceed the
    one before. It is at most the number of samples.
    """
    values = np.asarray(times, np.float64)
    n = len(values)
    if n < 4 or float(values.std()) == 0:
        return float(n)
    rho = _autocorrelations(values)
    pairs = rho[0 : len(rho) // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    return float(np.clip(n / max(2 * float(kept.sum()) - 1, 1.0), 1.0, n))


def drift(times: Sequence[float]) -> Drift:
    """The change over a run.

    The variance of the Mann-Kendall statistic is enlarged by the autocorrelation of the samples without their
    trend, so that slow noise is not taken for one.
    """
    values = _thinned(np.asarray(times, np.float64))
    n = len(values)
    middle = float(np.median(values)) if n else 0.0
    if n < 4 or middle == 0 or float(values.std()) == 0:
        return Drift(halves=0.0, trend=0.0, p_value=1.0)
    first, second = (float(np.median(half)) for half in np.array_split(values, 2))
    i, j = np.triu_indices(n, 1)
    differences = values[j] - values[i]
    slope = float(np.median(differences / (j - i)))
    statistic = float(np.sign(differences).sum())
    worth = effective_samples(list(values - slope * np.arange(n)))
    variance = n * (n - 1) * (2 * n + 5) / 18 * (n / worth)
    z = max(abs(statistic) - 1, 0.0) / sqrt(variance)
    return Drift(halves=second / first - 1, trend=slope * (n - 1) / middle, p_value=erfc(z / sqrt(2)))


def doubts(times: Sequence[float], what: str) -> list[str]:
    """Reasons in the order of the samples not to quote their percentiles or their mean.

    Args:
        times: The samples in order.
        what: What each is, for the messages, e.g. ``inference time``.
    """
    found = []
    change = drift(times)
    if change.is_large:
        found.append(
            f"the median {what} of the second half is {change.halves:+.0%} from the first: a drift (trend "
            f"{change.trend:+.0%} over the run, p {_shown(change.p_value)})"
        )
    worth = effective_samples(times)
    if worth < len(times) / 2:
        found.append(
            f"the {what}s are correlated: {len(times)} samples are worth {worth:.0f} independent ones, and "
            "the bounds of percentiles are for independent samples"
        )
    return found


def _mser(means: NDArray[np.float64]) -> float:
    """MSER's statistic: the squared deviations from the mean over the square of their number."""
    return float(np.square(means - means.mean()).sum() / len(means) ** 2)


def _differs(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether two parts have different medians, by a margin and by the rank-sum test."""
    if abs(float(np.median(before) / np.median(after)) - 1) < CUT_DIFFERENCE:
        return False
    both = np.concatenate([before, after])
    ranks = np.empty(len(both))
    ranks[np.argsort(both, kind="stable")] = np.arange(1, len(both) + 1)
    m, n = len(before), len(after)
    z = (ranks[:m].sum() - m * (m + n + 1) / 2) / sqrt(m * n * (m + n + 1) / 12)
    return bool(erfc(abs(float(z)) / sqrt(2)) < SIGNIFICANCE)


def _autocorrelations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Autocorrelation by lag from 0, by the Fourier transform of the zero-padded samples."""
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * len(values))
    covariance = np.fft.irfft(spectrum * np.conj(spectrum))[: len(values)]
    return np.asarray(covariance / covariance[0], np.float64)


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of equal parts, at most ``MOST_POINTS``."""
    if len(values) <= MOST_POINTS:
        return values
    return np.asarray([np.median(part) for part in np.array_split(values, MOST_POINTS)], np.float64)


def _shown(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "< 0.001"
