"""Which part of a tensor's values 8 bits should cover, and how much noise that makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.quantize.calibration.observer import Histogram

LEVELS = 255  # steps of an unsigned byte
SIGNED_LEVELS = 127  # steps of a signed byte on either side of zero
SIGNED_ZERO = 128  # of a signed byte, written as an unsigned one
CANDIDATES = 120  # upper ends that are tried
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


def best_range(histogram: Histogram, *, widen: float = 1.0) -> Range:
    """Clip the upper tail where that makes the rest finer.

    The lower end is not clipped: SiLU never goes below -0.28.

    Args:
        histogram: The tensor's values.
        widen: The factor on the least squared error that a wider range may cost; 1 takes the least. Objects
            are rare, their activations are large, and a mean over mostly background undervalues them.
    """
    return _cheap(candidates(histogram), histogram, widen)


def candidates(histogram: Histogram) -> list[Range]:
    """Ranges of an unsigned byte to choose from, from the narrowest to ``whole_range``."""
    whole = whole_range(histogram)
    return [Range(whole.low, whole.high * k / CANDIDATES) for k in range(1, CANDIDATES + 1)]


def symmetric(high: float) -> Range:
    """The range of a signed byte whose zero is exactly zero, ``high`` for 127: TensorRT knows no other.

    Written as an unsigned byte, 128 stands for zero: the two are one grid.
    """
    step = high / SIGNED_LEVELS
    return Range(-(SIGNED_LEVELS + 1) * step, high)


def best_symmetric(histogram: Histogram, *, widen: float = 1.0, power: float = 2.0) -> Range:
    """``best_range`` on a grid that is symmetric about zero; the side that reaches further decides.

    Args:
        histogram: The tensor's values.
        widen: The factor on the least error that a wider range may cost; 1 takes the least.
        power: Of the error. Above 2, what clipping does to a few large values weighs more against what
            rounding does to many: another way than ``widen`` to give the rare objects their due.
    """
    return _cheap(symmetric_candidates(histogram), histogram, widen, power)


def symmetric_candidates(histogram: Histogram) -> list[Range]:
    """Ranges of a signed byte to choose from, ascending to one that holds all that was seen."""
    largest = max(histogram.high, -histogram.low, LEAST_STEP)
    return [symmetric(largest * k / CANDIDATES) for k in range(1, CANDIDATES + 1)]


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


def _cheap(tried: Sequence[Range], histogram: Histogram, widen: float, power: float = 2.0) -> Range:
    """The last, and so the widest, of the ranges that cost at most ``widen`` times the least error."""
    values, counts = histogram.points()
    errors = [_error(r, values, counts, histogram.width, power) for r in tried]
    least = min(errors)
    return next(r for r, e in zip(reversed(tried), reversed(errors), strict=True) if e <= widen * least)


def _error(used: Range, values: Values, counts: Values, bin_width: float, power: float) -> float:
    """Error of a range to a power: what clipping costs, and rounding as uniform noise of a step.

    The noise has a mean of (step / 2)^power / (power + 1). A bin that is narrower than a step cannot tell
    where in the step its values lie, hence the mean.
    """
    step = used.scale
    clipped = np.clip(values, used.low, used.high)
    rounding = (max(step, bin_width) / 2) ** power / (power + 1)
    return float(counts @ (np.abs(values - clipped) ** power + np.where(values <= used.high, rounding, 0.0)))
