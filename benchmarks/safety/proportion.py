"""A share of counted cases with its exact confidence interval, and the exact test of paired counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, log1p
from typing import Any

import numpy as np

CONFIDENCE = 0.95
STEPS = 60  # of the bisection: halves the interval to below the resolution of a float


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """How many of some cases.

    Attributes:
        count: The cases that are counted.
        of: All cases.
    """

    count: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.of:
            raise ValueError(f"{self.count} of {self.of} is no share")

    @property
    def share(self) -> float | None:
        """The share, in [0, 1]; None of no cases."""
        return self.count / self.of if self.of else None

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
        """Lower and upper bound of the true share; None of no cases.

        It covers the true share with at least this probability, also where no case was counted. Cases are
        taken as independent. Source: Clopper and Pearson, Biometrika 26 (1934).
        """
        if not self.of:
            return None
        k, n, tail = self.count, self.of, (1 - confidence) / 2
        low = _bisect(lambda p: 1 - _at_most(k - 1, n, p) > tail) if k else 0.0
        high = _bisect(lambda p: _at_most(k, n, p) < tail) if k < n else 1.0
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Count, number of cases, share and interval."""
        low, high = self.interval() or (None, None)
        return {"count": self.count, "of": self.of, "share": self.share, "low": low, "high": high}


def paired_p(first_only: int, second_only: int) -> float:
    """Probability of a difference at least as large if both were equally good, two-sided.

    The exact test of McNemar: of the cases in which only one of two erred, each is the fault of either with
    probability 1/2. Source: McNemar, Psychometrika 12 (1947).

    Args:
        first_only: Cases in which only the first erred.
        second_only: Cases in which only the second erred.
    """
    return min(1.0, 2 * _at_most(min(first_only, second_only), first_only + second_only, 0.5))


def _at_most(k: int, n: int, p: float) -> float:
    """P[Bin(n, p) <= k], by logarithms, since the powers underflow for some thousand cases."""
    if k < 0 or not 0 < p < 1:
        return float(k >= 0 and (p <= 0 or k >= n))
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))  # their logarithms
    i = np.arange(k + 1)
    ways = factorials[n] - factorials[i] - factorials[n - i]
    return float(np.exp(ways + i * log(p) + (n - i) * log1p(-p)).sum())


def _bisect(is_above: Callable[[float], bool]) -> float:
    """The smallest probability at which a monotonous condition holds."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return high
