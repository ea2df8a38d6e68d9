"""An INT8 graph for one target, and the record of how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from edgestill.quantization import FULL_RANGE, WeightRange
from edgestill.target import QdqTarget
from export.graph.detector_graph import DetectorGraph
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.range_methods import Tuning
from export.quantize.fp16 import convert_to_fp16
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import Placement, QdqPlan

WEIGHTS = "per channel, GPTQ, bias corrected by input means; detection outputs float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Settings:
    """How a target takes INT8.

    Attributes:
        target: The target; TensorRT-RTX has the settings of TensorRT.
        placement: Chooses the tensors and convolutions to quantise.
        tuning: How ranges are computed, and how much may stay float.
        float_is_fp16: Whether float layers are written as FP16. TensorRT runs them as they are written, and
            FP32 between INT8 layers has cost more time than INT8 saved.
        weight_limit: Limits on the magnitude of weights.
    """

    target: QdqTarget
    placement: Placement
    tuning: Tuning
    float_is_fp16: bool = False
    weight_limit: WeightRange = FULL_RANGE


def make_int8(
    graph: DetectorGraph,
    statistics: TensorStatistics,
    settings: Int8Settings,
    *,
    plan: QdqPlan | None = None,
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Quantise an FP32 model.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors.
        settings: The target's.
        plan: What to quantise; None for what the target's placement chooses.

    Returns:
        A quantised copy, and the record of its ranges for the manifest.
    """
    plan = plan or settings.placement(graph, statistics, settings.tuning)
    record = {
        "method": f"{settings.tuning.description}; weights s8 {_describe(settings.weight_limit)} {WEIGHTS}",
        "tuning": asdict(settings.tuning),
        "ranges": _ranges(graph, plan, settings.tuning),
        "left_float": dict(plan.left_float),
    }
    quantised = quantise(graph.model, plan, statistics, settings.weight_limit)
    if not settings.float_is_fp16:
        return quantised, record
    converted = convert_to_fp16(quantised, plan.float_readers, largest(statistics))
    return converted.model, {**record, "left_single": dict(converted.kept)}


def _describe(limit: WeightRange) -> str:
    return f"up to {limit.largest}" + (f", pairs up to {limit.pair}," if limit.pair else "")


def largest(statistics: TensorStatistics) -> dict[str, float]:
    """The largest magnitude of each observed tensor."""
    return {name: max(-h.low, h.high) for name, h in statistics.histograms.items()}


def _ranges(graph: DetectorGraph, plan: QdqPlan, tuning: Tuning) -> Mapping[str, list[float | str]]:
    """By tensor: the lower end, the upper end, and their origin."""
    known = {graph.source: "pixels", **{graph.sigmoid(n): "sigmoid" for n in graph.body.values()}}
    return {
        name: [used.low, used.high, known.get(name, tuning.method)]
        for name, used in sorted(plan.activations.items())
    }
