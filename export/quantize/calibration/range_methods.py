"""Range methods of INT8 activations, and the settings of each target.

``mse``         the widest range within ``widen`` times the least squared error, see ``ranges.best_range``
``max``         the observed minimum and maximum
``entropy``     the range of the least Kullback-Leibler divergence of the quantised from the observed
                distribution. Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017
``percentile``  all but ``1 - PERCENTILE`` of the values

All work on a ``Histogram``, so that another method needs no further pass over the images.
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
PERCENTILE = 0.9999  # share of the values; an asymmetric range clips half of the rest at each end


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Settings of ranges for one target.

    Attributes:
        signed: Whether activations are symmetric INT8, else UINT8 with a zero point.
        method: The range method.
        widen: For ``mse``: the factor on the least error that a wider range may have.
        power: For ``mse`` with symmetric INT8: the exponent of the error; 2 is the squared error.
        min_signal_db: A tensor stays float if its signal-to-noise ratio in INT8 would be lower.
        float_share: Share of the body's multiplications that may stay float for it, the noisiest first.
        front_signal_db: As ``min_signal_db``, for the finest feature maps (``tensor_ranges.FRONT_STRIDE``),
            whose errors pass through the whole network.
        front_share: As ``float_share``, for the finest feature maps.
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
        """The range of a tensor with these settings."""
        if self.method == "mse" and self.signed:
            return best_symmetric(histogram, widen=self.widen, power=self.power)
        if self.method == "mse":
            return best_range(histogram, widen=self.widen)
        return _SIGNED[self.method](histogram) if self.signed else _UNSIGNED[self.method](histogram)

    def unsigned(self) -> Tuning:
        """The settings for tensors with a zero point, tuned for UINT8."""
        return replace(self, signed=False, widen=ONNXRUNTIME.widen, power=ONNXRUNTIME.power)

    @property
    def description(self) -> str:
        """The method as text, for the manifest."""
        dtype = "s8 symmetric" if self.signed else "u8 asymmetric"
        shifted = ", shifted where 1 x 1 convolutions read them" if self.signed else ""
        how = {
            "mse": f"widest range within {self.widen} x least {_ERROR.get(self.power, 'error')}",
            "max": "observed minimum and maximum",
            "entropy": "least Kullback-Leibler divergence",
            "percentile": f"{PERCENTILE:.2%} of the values",
        }[self.method]
        return f"activations {dtype} per tensor{shifted}, {how}, float below {self.min_signal_db:.0f} dB"


#: Tuned on the COCO YOLOv5n and the student of this project, by mAP. One tensor of the YOLOv5n, on its
#: finest maps, has 24 to 29 dB (depending on the images; the next has 31) and alone makes more than half of
#: the error. Deep in the network a float tensor costs more than it gains: INT8 and float kernels have
#: different memory layouts, and every crossing is a reorder. Nine tensors of the student have 23 to 27 dB in
#: INT8; with them quantised its files are 4 % (OpenVINO) and 5 % (ONNX Runtime) faster, and the box error is
#: 2 % larger.
ONNXRUNTIME = Tuning()
OPENVINO = Tuning()
#: The scale of symmetric INT8 is twice as large, which changes the balance of clipping and rounding: cubed
#: errors are better than squared errors with a margin, see docs/results/int8-methods.md. No tensor stays
#: float for its own noise: those of the student with the lowest ratio (18.6 to 26 dB) lie deep in it and make
#: a twentieth of the noise of its boxes. The position of a tensor matters: ``qdq_placement.for_tensorrt``.
TENSORRT = Tuning(signed=True, widen=1.0, power=3.0, float_share=0.0, front_share=0.0)


def _min_max(histogram: Histogram) -> Range:
    return whole_range(histogram)


def _min_max_signed(histogram: Histogram) -> Range:
    return symmetric(max(histogram.high, -histogram.low, LEAST_STEP))


def _percentile(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    rest = (1 - PERCENTILE) / 2
    return Range(min(_quantile(values, counts, rest), 0.0), max(_quantile(values, counts, 1 - rest), 0.0))


def _percentile_signed(histogram: Histogram) -> Range:
    values, counts = histogram.points()
    magnitudes = np.abs(values)
    order = np.argsort(magnitudes, kind="stable")
    return symmetric(max(_quantile(magnitudes[order], counts[order], PERCENTILE), LEAST_STEP))


def _quantile(values: Values, counts: Values, share: float) -> float:
    """The value at or below which a share of the counts lies; values ascend."""
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
    """Kullback-Leibler divergence of the quantised from the observed distribution, in nats.

    Clipped values are added to the ends of the observed distribution only, so that clipping has a cost.
    """
    inside = (values >= used.low) & (values <= used.high)
    inner = counts[inside]
    if not len(inner):
        return float("inf")
    observed = inner.copy()
    observed[0] += counts[values < used.low].sum()
    observed[-1] += counts[values > used.high].sum()
    level: NDArray[np.int64] = np.rint(values[inside] / used.scale).astype(np.int64)
    level -= level.min()
    bins = np.bincount(level)
    quantised = (np.bincount(level, weights=inner) / np.maximum(bins, 1))[level]
    p, q = observed / observed.sum(), quantised / quantised.sum()
    return float(p @ np.log(p / q))


_UNSIGNED: Mapping[Method, Callable[[Histogram], Range]] = {
    "max": _min_max,
    "entropy": _least_divergence,
    "percentile": _percentile,
}
_SIGNED: Mapping[Method, Callable[[Histogram], Range]] = {
    "max": _min_max_signed,
    "entropy": _least_divergence_signed,
    "percentile": _percentile_signed,
}
