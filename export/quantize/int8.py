"""An INT8 graph for a settings of engines, and the record of how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from edgestill.quantization import WIDE_SUMS, WeightRange
from edgestill.target import QdqTarget
from export.graph.detector_graph import DetectorGraph
from export.quantize.calibration.observer import Statistics
from export.quantize.calibration.range_methods import Tuning
from export.quantize.fp16 import halve
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import Placement, Plan

WEIGHTS = "per channel, errors passed on (GPTQ), bias corrected by input means; detection outputs float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Settings:
    """How a target takes INT8.

    Attributes:
        target: The target; TensorRT-RTX has the settings of TensorRT.
        place: Says what goes to bytes.
        tuning: How ranges are found, and what may stay float.
        halves: Whether what stays float is written as FP16: TensorRT runs a float layer as it is written, and
            FP32 beside bytes has cost more than the bytes saved.
        weight_limit: How large the bytes of weights may be.
    """

    target: QdqTarget
    place: Placement
    tuning: Tuning
    halves: bool = False
    weight_limit: WeightRange = WIDE_SUMS


def make_int8(
    graph: DetectorGraph,
    seen: Statistics,
    settings: Int8Settings,
    *,
    plan: Plan | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """A quantised copy of an FP32 model, and the record of its ranges.

    Args:
        graph: The FP32 model's.
        seen: What its tensors hold.
        settings: For whom.
        plan: What goes to bytes; None for what the settings's placement says.
    """
    plan = plan or settings.place(graph, seen, settings.tuning)
    record = {
        "method": f"{settings.tuning.words}; weights s8 {_words(settings.weight_limit)} {WEIGHTS}",
        "tuning": asdict(settings.tuning),
        "ranges": _ranges(graph, plan, settings.tuning),
        "left_float": dict(plan.left_float),
    }
    quantised = quantise(graph.model, plan, seen, settings.weight_limit)
    if not settings.halves:
        return quantised, record
    made = halve(quantised, plan.float_readers, largest(seen))
    return made.model, {**record, "left_single": dict(made.kept)}


def _words(limit: WeightRange) -> str:
    return f"up to {limit.largest}" + (f", neighbours up to {limit.pair} together," if limit.pair else "")


def largest(seen: Statistics) -> dict[str, float]:
    """The largest magnitude of each tensor that was looked at."""
    return {name: max(-h.low, h.high) for name, h in seen.histograms.items()}


def _ranges(graph: DetectorGraph, plan: Plan, tuning: Tuning) -> Mapping[str, list[float | str]]:
    """By tensor: the lower end, the upper end, and what they come from."""
    given = {graph.source: "pixels", **{graph.sigmoid(n): "sigmoid" for n in graph.body.values()}}
    return {
        name: [used.low, used.high, given.get(name, tuning.method)]
        for name, used in sorted(plan.activations.items())
    }
