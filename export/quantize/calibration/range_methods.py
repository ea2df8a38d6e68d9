"""Ways to say which part of a tensor's values 8 bits should cover, and what each family of engines uses.

``mse``         the widest range within ``widen`` times the least squared error, see ``ranges.best_range``
``max``         everything that was seen
``entropy``     the range whose rounded values tell least apart from the values as they were
                (Kullback-Leibler divergence). Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017
``percentile``  all but ``1 - PERCENTILE`` of the values

All work on a ``Histogram``, so that trying another one looks at no image again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export.quantize.calibration.observer import Histogram
from export.quantize.ranges import (
    LEAST_STEP,
    Range,
    Values,
    best_range,
    best_symmetric,
    candidates,
    symmetric,
    symmetric_candidates,
    whole_range,
)

Method = Literal["mse", "max", "entropy", "percentile"]
METHODS: tuple[Method, ...] = get_args(Method)
_ERROR = {2.0: "squared error", 3.0: "cubed error"}
PERCENTILE = 0.9999  # of the values; in an unsigned range one half of the rest is left out at each end


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tuned for one family of engines. Change a family's numbers here and nowhere else.

    Attributes:
        signed: Whether its bytes are signed with zero for zero, else unsigned with a zero point.
        method: How a range is found.
        widen: For ``mse``: the factor on the least error that a wider range may cost.
        power: For ``mse`` on signed bytes: of the error; the squared one's is 2.
        min_signal_db: A tensor stays float if 8 bits would leave it with less than this.
        float_share: Of the body's multiplications, the share that may stay float for it, worst first.
        front_signal_db: As ``min_signal_db``, on the finest maps (``tensor_ranges.FRONT_STRIDE``): what is
            lost there goes through all of the network.
        front_share: As ``float_share``, for them.
    """

    signed: bool = False
    method: Method = "mse"
    widen: float = 1.5
    power: float = 2.0
    min_signal_db: float = 20.0
    float_share: float = 0.05
    front_signal_db: float = 29.0
    front_share: float = 0.06

    def range_of(self, histogram: Histogram) -> Range:
        """What a byte of this family should cover of a tensor's values."""
        if self.method == "mse" and self.signed:
            return best_symmetric(histogram, widen=self.widen, power=self.power)
        if self.method == "mse":
            return best_range(histogram, widen=self.widen)
        return _SIGNED[self.method](histogram) if self.signed else _UNSIGNED[self.method](histogram)

    def unsigned(self) -> Tuning:
        """The same for a byte that has a zero point, with the numbers that were tuned for such bytes."""
        return replace(self, signed=False, widen=ONNXRUNTIME.widen, power=ONNXRUNTIME.power)

    @property
    def description(self) -> str:
        """The method as a record tells it."""
        grid = "s8 symmetric" if self.signed else "u8 asymmetric"
        shifted = ", shifted where 1 x 1 convolutions read them" if self.signed else ""
        how = {
            "mse": f"widest range within {self.widen} x least {_ERROR.get(self.power, 'error')}",
            "max": "everything that was seen",
            "entropy": "least Kullback-Leibler divergence",
            "percentile": f"{PERCENTILE:.2%} of the values",
        }[self.method]
        return f"activations {grid} per tensor{shifted}, {how}, float below {self.min_signal_db:.0f} dB"


#: Tuned on the COCO YOLOv5n and the student of this project, by mAP. One tensor of the YOLOv5n, on its
#: finest maps, has 24 to 29 dB (by the images; the next has 31), and it alone makes more than half of the
#: error. In the depth of the network a tensor in float costs more than it gives: kernels for bytes and for
#: floats lay memory out in two ways, and all that crosses is turned over. Bytes leave nine tensors of the
#: student with 23 to 27 dB; with them in bytes too its files are 4 % (OpenVINO) and 5 % (ONNX Runtime)
#: faster, and boxes are off by 2 % more.
ONNXRUNTIME = Tuning()
OPENVINO = Tuning()
#: A signed byte's step is twice as wide, and clipping and rounding must be weighed anew: cubes of errors do
#: that better than squares with a margin, see docs/calibration.md. Nothing is left float for its own noise:
#: the tensors of the student that have the least dB (18.6 to 26) lie deep in it, and make a twentieth of
#: the noise in its boxes. What matters is where a tensor lies, which ``placement.for_tensorrt`` knows.
TENSORRT = Tuning(signed=True, widen=1.0, power=3.0, float_share=0.0, front_share=0.0)


def _everything(histogram: Histogram) -> Range:
    return whole_range(histogram)


def _everything_signed(histogram: Histogram) -> Range:
    return symmetric(max(histogram.high, -histogram.low, LEAST_STEP))


def _most(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    rest = (1 - PERCENTILE) / 2
    return Range(min(_quantile(values, counts, rest), 0.0), max(_quantile(values, counts, 1 - rest), 0.0))


def _most_signed(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    magnitudes = np.abs(values)
    order = np.argsort(magnitudes, kind="stable")
    return symmetric(max(_quantile(magnitudes[order], counts[order], PERCENTILE), LEAST_STEP))


def _quantile(values: Values, counts: Values, share: float) -> float:
    """The value below or at which that share of the counts lies; values ascend."""
    below = np.cumsum(counts)
    return float(values[min(int(np.searchsorted(below, share * below[-1])), len(values) - 1)])


def _least_divergence(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    return min(reversed(candidates(histogram)), key=lambda tried: _divergence(tried, values, counts))


def _least_divergence_signed(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    return min(
        reversed(symmetric_candidates(histogram)), key=lambda tried: _divergence(tried, values, counts)
    )


def _divergence(used: Range, values: Values, counts: Values) -> float:
    """Kullback-Leibler divergence of what a byte can tell from what was there, in nats.

    What is clipped is added to the ends of what was there, and not to what the byte tells: so clipping costs.
    """
    inside = (values >= used.low) & (values <= used.high)
    kept = counts[inside]
    if not len(kept):
        return float("inf")
    there = kept.copy()
    there[0] += counts[values < used.low].sum()
    there[-1] += counts[values > used.high].sum()
    level: NDArray[np.int64] = np.rint(values[inside] / used.scale).astype(np.int64)
    level -= level.min()
    bins = np.bincount(level)
    told = (np.bincount(level, weights=kept) / np.maximum(bins, 1))[level]
    p, q = there / there.sum(), told / told.sum()
    return float(p @ np.log(p / q))


_UNSIGNED: Mapping[Method, Callable[[Histogram], Range]] = {
    "max": _everything,
    "entropy": _least_divergence,
    "percentile": _most,
}
_SIGNED: Mapping[Method, Callable[[Histogram], Range]] = {
    "max": _everything_signed,
    "entropy": _least_divergence_signed,
    "percentile": _most_signed,
}
