"""Which part of a tensor's values 8 bits should cover, and how much noise that makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.statistics import Histogram

LEVELS = 255  # steps of an unsigned byte
CANDIDATES = 120  # upper ends that are tried
#: A wider range than the one of least squared error is taken if it costs at most this factor in error:
#: objects are rare, their activations are the large ones, and a mean over mostly background undervalues them.
WIDEN = 1.5
LEAST_STEP = 1e-9  # of a tensor that is constant

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """What an unsigned byte stands for: ``low`` for 0 to ``high`` for 255; holds zero exactly."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The step between two byte values."""
        return max((self.high - self.low) / LEVELS, LEAST_STEP)

    @property
    def zero(self) -> int:
        """The byte that stands for zero."""
        return min(max(round(-self.low / self.scale), 0), LEVELS)

    def rounded(self, values: Values) -> Values:
        """What is left of values after a byte."""
        scale, zero = self.scale, self.zero
        return np.asarray((np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale, np.float64)


def covering(ranges: Sequence[Range]) -> Range:
    """The smallest range that holds all of the given ones."""
    return Range(min(r.low for r in ranges), max(r.high for r in ranges))


def whole_range(histogram: Histogram) -> Range:
    """All values that were seen, and zero: padding is zero, and must be exact."""
    return Range(min(histogram.low, 0.0), max(histogram.high, 0.0))


def best_range(histogram: Histogram, *, widen: float = WIDEN) -> Range:
    """Clip the upper tail where that makes the rest finer.

    The lower end is not clipped: SiLU never goes below -0.28.

    Args:
        histogram: The tensor's values.
        widen: The factor on the least squared error that a wider range may cost; 1 takes the least.
    """
    whole = whole_range(histogram)
    values, counts = histogram.points()
    tried = [Range(whole.low, whole.high * k / CANDIDATES) for k in range(1, CANDIDATES + 1)]
    errors = [_error(r, values, counts, histogram.width) for r in tried]
    least = min(errors)
    return next(r for r, e in zip(reversed(tried), reversed(errors), strict=True) if e <= widen * least)


def noise_db(
    histogram: Histogram, used: Range, through: Callable[[Values], Values] = lambda values: values
) -> float:
    """Power of the signal over power of the error, in dB, behind an element-wise function."""
    values, counts = histogram.points()
    signal = through(values)
    error = through(used.rounded(values)) - signal
    power = float(counts @ error**2) + float(counts.sum()) * 1e-30
    return float(10 * np.log10(max(float(counts @ signal**2), 1e-30) / power))


def silu(values: Values) -> Values:
    """``x * sigmoid(x)``."""
    return np.asarray(values / (1 + np.exp(-np.clip(values, -60, 60))), np.float64)


def _error(used: Range, values: Values, counts: Values, bin_width: float) -> float:
    """Squared error of a range: what clipping costs, and rounding as uniform noise of a step.

    A bin that is narrower than a step cannot tell where in the step its values lie, hence the mean.
    """
    step = used.scale
    clipped = np.clip(values, used.low, used.high)
    rounding = max(step**2, bin_width**2) / 12
    return float(counts @ ((values - clipped) ** 2 + np.where(values <= used.high, rounding, 0.0)))
