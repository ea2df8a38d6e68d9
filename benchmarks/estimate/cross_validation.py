"""How far the estimates are from published latencies that the fit has not seen.

Each publication (or device) is left out in turn, the costs are fitted to the others, and its rows are
estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimate.fit import fit
from benchmarks.estimate.latency_model import latency_ms
from benchmarks.estimate.published_latencies import Published

COVERAGE = 0.9  # part of unseen latencies that the interval is to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A published latency and its estimate.

    Attributes:
        row: The published latency.
        group: What was left out of the fit with it.
        estimate_ms: Milliseconds of one image.
    """

    row: Published
    group: str
    estimate_ms: float

    @property
    def error(self) -> float:
        """Logarithm of the estimate over the published latency."""
        return float(np.log(self.estimate_ms / self.row.measured_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Errors of estimates as factors: 0.1 stands for 10 % above or below.

    Attributes:
        rows: Number of estimates.
        median: Of the factors minus 1.
        p90: Their 90th percentile.
        within: By factor, the part of the estimates that is within it.
        bias: Geometric mean of estimate over published, minus 1.
    """

    rows: int
    median: float
    p90: float
    within: Mapping[float, float]
    bias: float


def leave_one_out(rows: Sequence[Published], group_of: Callable[[Published], str]) -> list[Estimated]:
    """Estimate each group of rows with the costs that are fitted to all other rows."""
    found = []
    for group in sorted(set(map(group_of, rows))):
        costs = fit([row for row in rows if group_of(row) != group])
        found += estimated([row for row in rows if group_of(row) == group], costs, group)
    return found


def estimated(rows: Sequence[Published], costs: Mapping[str, float], group: str = "") -> list[Estimated]:
    """Estimate rows with given costs."""
    return [Estimated(row=r, group=group, estimate_ms=latency_ms(r.terms, costs)) for r in rows]


def errors(found: Sequence[Estimated]) -> NDArray[np.float64]:
    """The logarithmic errors."""
    return np.asarray([one.error for one in found])


def interval_factor(left_out: Sequence[Estimated]) -> float:
    """The factor within which a part ``COVERAGE`` of the latencies of a new publication should be.

    Errors within a publication are alike, so that the number of publications counts, not that of rows: the
    factor is the prediction interval for the errors of one more, Student's t with one degree of freedom less
    than publications times their root mean square, each publication weighing alike.

    Args:
        left_out: Estimates with each publication left out of the fit in turn.
    """
    from scipy.stats import t  # noqa: PLC0415 (for the fit only, which is not part of an estimate)

    groups = sorted({one.group for one in left_out})
    squares = [float(np.mean(errors([e for e in left_out if e.group == group]) ** 2)) for group in groups]
    quantile = float(t.ppf((1 + COVERAGE) / 2, len(groups) - 1))
    return float(np.exp(quantile * np.sqrt(np.mean(squares) * (1 + 1 / len(groups)))))


def scores(found: Sequence[Estimated]) -> Scores:
    """Summarise estimates."""
    logs = errors(found)
    factors = np.exp(np.abs(logs))
    return Scores(
        rows=len(found),
        median=float(np.median(factors)) - 1,
        p90=float(np.quantile(factors, 0.9)) - 1,
        within={limit: float(np.mean(factors <= limit)) for limit in (1.25, 1.5)},
        bias=float(np.exp(logs.mean())) - 1,
    )
