"""Ranges of quantised activations, and the quantisation noise that they cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.quantize.calibration.observer import Histogram

LEVELS = 255  # largest UINT8 value
SIGNED_LEVELS = 127  # largest INT8 value
SIGNED_ZERO = 128  # zero point of symmetric INT8, as UINT8
CANDIDATES = 120  # upper ends that are tried
LEAST_STEP = 1e-9  # scale of a constant tensor

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """The real values of UINT8: ``low`` for 0 to ``high`` for 255; zero is represented exactly."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        """The scale: the difference of two neighbouring values."""
        return max((self.high - self.low) / LEVELS, LEAST_STEP)

    @property
    def zero(self) -> int:
        """The zero point, 0 to 255."""
        return min(max(round(-self.low / self.scale), 0), LEVELS)

    def fake_quantised(self, values: Values) -> Values:
        """Values after quantisation and dequantisation."""
        scale, zero = self.scale, self.zero
        return np.asarray((np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale, np.float64)


def covering(ranges: Sequence[Range]) -> Range:
    """The smallest range that contains all given ones."""
    return Range(min(r.low for r in ranges), max(r.high for r in ranges))


def whole_range(histogram: Histogram) -> Range:
    """All observed values, and zero, because padding must be exact."""
    return Range(min(histogram.low, 0.0), max(histogram.high, 0.0))


def best_range(histogram: Histogram, *, widen: float = 1.0) -> Range:
    """The widest range within a factor of the least squared error.

    Only the upper end is clipped: SiLU is never below -0.28.

    Args:
        histogram: The tensor's values.
        widen: The factor; 1 takes the range of the least error. Objects are rare and have large activations,
            which a mean over mostly background undervalues.
    """
    return _widest_within(candidates(histogram), histogram, widen)


def candidates(histogram: Histogram) -> list[Range]:
    """Asymmetric ranges to choose from, from the narrowest to ``whole_range``."""
    whole = whole_range(histogram)
    return [Range(whole.low, whole.high * k / CANDIDATES) for k in range(1, CANDIDATES + 1)]


def symmetric(high: float) -> Range:
    """The range of symmetric INT8, ``high`` for 127, which is the only one of TensorRT.

    It equals UINT8 with zero point 128.
    """
    scale = high / SIGNED_LEVELS
    return Range(-(SIGNED_LEVELS + 1) * scale, high)


def best_symmetric(histogram: Histogram, *, widen: float = 1.0, power: float = 2.0) -> Range:
    """``best_range`` for symmetric INT8; the larger magnitude of both ends decides.

    Args:
        histogram: The tensor's values.
        widen: The factor on the least error; 1 takes the range of the least error.
        power: Exponent of the error. Above 2, clipping a few large values weighs more against the rounding of
            many small ones: an alternative to ``widen``.
    """
    return _widest_within(symmetric_candidates(histogram), histogram, widen, power)


def symmetric_candidates(histogram: Histogram) -> list[Range]:
    """Symmetric ranges to choose from, ascending to one that contains all observed values."""
    largest = max(histogram.high, -histogram.low, LEAST_STEP)
    return [symmetric(largest * k / CANDIDATES) for k in range(1, CANDIDATES + 1)]


def noise_db(
    histogram: Histogram, used: Range, through: Callable[[Values], Values] = lambda values: values
) -> float:
    """Signal-to-quantisation-noise ratio in dB, after an element-wise function.

    Args:
        histogram: The tensor's values.
        used: Its range.
        through: The function, e.g. ``silu``.
    """
    values, counts = histogram.points()
    signal = through(values)
    error = through(used.fake_quantised(values)) - signal
    power = float(counts @ error**2) + float(counts.sum()) * 1e-30
    return float(10 * np.log10(max(float(counts @ signal**2), 1e-30) / power))


def silu(values: Values) -> Values:
    """``x * sigmoid(x)``."""
    return np.asarray(values / (1 + np.exp(-np.clip(values, -60, 60))), np.float64)


def _widest_within(tried: Sequence[Range], histogram: Histogram, widen: float, power: float = 2.0) -> Range:
    """The last, and therefore widest, range whose error is at most ``widen`` times the least."""
    values, counts = histogram.points()
    errors = [_error(r, values, counts, histogram.width, power) for r in tried]
    least = min(errors)
    return next(r for r, e in zip(reversed(tried), reversed(errors), strict=True) if e <= widen * least)


def _error(used: Range, values: Values, counts: Values, bin_width: float, power: float) -> float:
    """Sum of the clipping error and the expected rounding error, each to a power.

    Rounding is uniform noise within a scale, with a mean of (scale / 2)^power / (power + 1). A bin narrower
    than the scale does not determine the rounding error of its values, hence the mean.
    """
    clipped = np.minimum(np.maximum(values, used.low), used.high)  # np.clip takes longer for few values
    rounding = (max(used.scale, bin_width) / 2) ** power / (power + 1)
    return float(counts @ (np.abs(values - clipped) ** power + np.where(values <= used.high, rounding, 0.0)))
