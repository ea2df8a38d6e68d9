"""Significance of differences: two tests, and a correction for multiple comparisons.

- Over **seeds**: a paired t test. It asks whether the difference holds for other trainings on the same data.
  Both arms of a pair start from the same seed. With three seeds it has two degrees of freedom, so only large
  and consistent differences are significant.
- Over **images**: a paired bootstrap (``runtime.metrics.bootstrap``). It asks whether the difference holds
  for other images and the same trained networks.

``power_of`` is about the first: the probability that it finds a true difference of a given size at all.

Sources: Student's t is ``scipy.stats.t``, the noncentral one ``scipy.stats.nct``. Power: J. Cohen,
Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2. Holm's correction: S. Holm,
Scandinavian Journal of Statistics 6 (1979); SciPy has only corrections of the false discovery rate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # confidence level of the intervals
ENOUGH = 0.8  # the usual power of an experiment (Cohen)
MOST_PAIRS = 1000  # a study of more seeds is not proposed
FEWEST = 3  # pairs whose spread says something
NO_SPREAD = 1e-6  # of the effect: equal differences, but for rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """A mean difference with its confidence interval and p value.

    Attributes:
        n: Pairs, or resamples.
        mean: Mean difference; positive if the arm is better.
        low: Lower end of the 95 % interval; NaN where there are too few pairs.
        high: Its upper end.
        p: Two-sided; NaN where there are too few pairs.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float


def paired_t(differences: Sequence[float]) -> PairedDifference:
    """Two-sided paired t test of the differences' mean against 0, with its 95 % interval."""
    n, mean = len(differences), float(np.mean(differences))
    if n < 2:
        return PairedDifference(n=n, mean=mean, low=nan, high=nan, p=nan)
    error = float(np.std(differences, ddof=1)) / sqrt(n)
    if error == 0:
        return PairedDifference(n=n, mean=mean, low=mean, high=mean, p=1.0 if mean == 0 else 0.0)
    reach = t_quantile((1 + LEVEL) / 2, n - 1) * error
    return PairedDifference(
        n=n, mean=mean, low=mean - reach, high=mean + reach, p=t_two_sided(mean / error, n - 1)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """How surely a paired t test finds a true difference of some size, at the measured spread.

    Attributes:
        found: Probability that the difference has the right sign and p is below 0.05, before a correction;
            NaN where the spread is not known: for fewer than three pairs, or equal differences.
        needed: Fewest pairs with which that is at least 80 %, 1001 for more than 1000; None where ``found``
            is NaN.
    """

    found: float
    needed: int | None


def power_of(differences: Sequence[float], effect: float) -> Power:
    """Power of the two-sided paired t test of differences of this spread.

    Args:
        differences: Measured, one for each pair.
        effect: The true difference, in their unit.
    """
    deviation = float(np.std(differences, ddof=1)) if len(differences) >= FEWEST else 0.0
    if not deviation > effect * NO_SPREAD:
        return Power(found=nan, needed=None)
    size = effect / deviation
    needed = 2 + bisect_left(range(2, MOST_PAIRS + 1), ENOUGH, key=lambda n: _power(size, n))
    return Power(found=_power(size, len(differences)), needed=needed)


def _power(effect_size: float, n: int) -> float:
    """Power with ``n`` pairs for a true difference of ``effect_size`` standard deviations of a difference."""
    freedom, shift = n - 1, effect_size * sqrt(n)
    # The tail on the other side would be a find of the wrong sign.
    return float(_scipy_stats().nct.sf(t_quantile((1 + LEVEL) / 2, freedom), freedom, shift))


def percentile_test(observed: float, resampled: NDArray[np.float64]) -> PairedDifference:
    """Percentile interval of a bootstrap, and twice the smaller share of resamples on one side of 0.

    Resamples without any label are NaN and are ignored.
    """
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return PairedDifference(n=0, mean=observed, low=nan, high=nan, p=nan)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    n = len(resampled)
    sides = np.count_nonzero(resampled <= 0), np.count_nonzero(resampled >= 0)
    p = min(1.0, 2 * (1 + min(sides)) / (1 + n))  # plus one: a bootstrap cannot resolve p below 1 / n
    return PairedDifference(n=n, mean=observed, low=float(low), high=float(high), p=float(p))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given; NaN is kept and ignored."""
    known = sorted((p, i) for i, p in enumerate(p_values) if not isnan(p))
    corrected, highest = [nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[i] = highest
    return corrected


def t_two_sided(t: float, freedom: int) -> float:
    """Probability that Student's t is at least as far from 0 as ``t``."""
    return float(2 * _scipy_stats().t.sf(abs(t), freedom))


def t_quantile(probability: float, freedom: int) -> float:
    """The value below which Student's t lies with a probability in (0, 1)."""
    return float(_scipy_stats().t.ppf(probability, freedom))


def _scipy_stats() -> Any:
    from scipy import stats  # noqa: PLC0415 (takes a second to import; only a table of several seeds needs it)

    return stats
