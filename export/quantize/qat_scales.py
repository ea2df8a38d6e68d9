"""Scales of QAT: the initial ones from calibration, and graphs with the trained ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgestill.errors import ArtifactError, UsageError
from edgestill.quantization import PostTraining, QuantizationScheme, QuantParams
from export.graph.detector_graph import DetectorGraph
from export.graph.index import SAME_SCALE, passed_on
from export.quantize.blocks import PrecisionBlock, blocks_of, keep_float, nodes_of
from export.quantize.calibration.images import Calibration
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.fp16 import convert_to_fp16
from export.quantize.int8 import Int8Settings, largest
from export.quantize.qdq import Int8Weights, insert_qdq, quantise_trained_weights, quantise_weights
from export.quantize.qdq_placement import QdqPlan
from export.quantize.ranges import LEVELS, Range
from export.quantize.tensor_ranges import groups_of
from export.quantize.variant import Variant, others

METHOD = "trained scales"


def begin(
    graph: DetectorGraph,
    statistics: TensorStatistics,
    settings: Int8Settings,
    *,
    record: Mapping[str, Any],
) -> PostTraining:
    """Quantise a network after training, as the start of QAT.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors, with the weights that GPTQ chose for the target's limits.
        settings: The target's.
        record: The calibration images, for the checkpoint.
    """
    plan = settings.placement(graph, statistics, settings.tuning)
    made: dict[str, Int8Weights] = {}
    for name in sorted(plan.convolutions):
        read, *names = graph.body[name].input
        weight, bias = (numpy_helper.to_array(graph.initializers[n]) for n in names)
        means, chosen = statistics.channel_means[read], statistics.weights.get(name)
        made[name] = quantise_weights(weight, bias, means, settings.weight_limit, chosen)
    return PostTraining(
        scheme=_scheme(graph, plan, settings, made),
        weights={name: one.values * one.scale.reshape(-1, 1, 1, 1) for name, one in made.items()},
        biases={name: one.bias for name, one in made.items()},
        record={**record, "method": settings.tuning.description},
    )


class QatVariants:
    """Quantised copies of an FP32 graph with trained scales.

    Args:
        graph: The graph of the FP32 model.
        scheme: The quantisation of the same checkpoint.
        settings: The target's.
        calibration: Images to check the range of FP16 and to rank blocks on; no range is fitted to them.
        statistics: Of the tensors on these images.

    Raises:
        ArtifactError: The quantisation is of another network.
        UsageError: It was trained for another target.
    """

    def __init__(
        self,
        graph: DetectorGraph,
        scheme: QuantizationScheme,
        settings: Int8Settings,
        *,
        calibration: Calibration | None = None,
        statistics: TensorStatistics | None = None,
    ) -> None:
        if scheme.family != settings.target:
            raise UsageError(
                f"the checkpoint's scales were trained for {scheme.family}, not for {settings.target}",
                hint=f"--to {scheme.family}, or --calib-anew with --calib to ignore the trained scales",
            )
        self.calibration = calibration
        self._graph, self._scheme, self._settings = graph, scheme, settings
        self._largest = {} if statistics is None else largest(statistics)
        _check(graph, scheme)

    @cached_property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """The blocks with a quantised convolution."""
        return blocks_of(self._graph, self._scheme.weights.keys())

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """Quantise all blocks but the excluded ones."""
        plan, made = self._quantised(excluded)
        record: dict[str, Any] = {
            "method": METHOD,
            "family": self._scheme.family,
            "ranges": _ranges(plan, self._scheme),
            "left_float": dict(plan.left_float),
        }
        if self.calibration is not None:
            record["range_check"] = asdict(self.calibration.record)
        if not self._settings.float_is_fp16:
            return Variant(made, record)
        converted = convert_to_fp16(made, plan.float_readers, self._largest)
        return Variant(converted.model, {**record, "left_single": dict(converted.kept)})

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """Quantise one block; the others are FP32."""
        return self._quantised(others(self.blocks, block))[1]

    def _quantised(self, excluded: Sequence[PrecisionBlock]) -> tuple[QdqPlan, onnx.ModelProto]:
        plan = keep_float(plan_of(self._scheme), self._graph, nodes_of(excluded))
        scales, limit = self._scheme.weights, self._scheme.weight_limit
        return plan, insert_qdq(
            self._graph.model,
            plan,
            lambda node, w, b: quantise_trained_weights(w, b, scales[node.name], limit),
        )


def plan_of(scheme: QuantizationScheme) -> QdqPlan:
    """The plan of a quantisation scheme, with its scales as ranges."""
    ranges = {
        name: Range(-params.zero_point * params.scale, (LEVELS - params.zero_point) * params.scale)
        for name, params in scheme.quant_params.items()
    }
    return QdqPlan(
        activations={tensor: ranges[params] for tensor, params in scheme.activations.items()},
        convolutions=frozenset(scheme.weights),
        int8_inputs={name: ranges[params] for name, params in scheme.inputs.items()},
        float_readers=frozenset(scheme.float_readers),
        integer_bias=scheme.has_integer_bias,
        signed=scheme.is_signed,
        left_float=scheme.left_float,
    )


def _scheme(
    graph: DetectorGraph, plan: QdqPlan, settings: Int8Settings, made: Mapping[str, Int8Weights]
) -> QuantizationScheme:
    groups = groups_of(graph)
    known = {graph.source, *(graph.sigmoid(node) for node in graph.body.values())}
    activations = {tensor: groups.get(tensor, tensor) for tensor in plan.activations}
    inputs = {n: groups.get(t, t) for n in made for t in [graph.body[n].input[0]]}
    quant_params = {
        activations[tensor]: QuantParams(
            scale=float(np.float32(used.scale)), zero_point=used.zero, is_learnt=tensor not in known
        )
        for tensor, used in plan.activations.items()
    }
    return QuantizationScheme(
        family=settings.target,
        is_signed=plan.signed,
        has_integer_bias=plan.integer_bias,
        weight_limit=settings.weight_limit,
        quant_params=quant_params,
        activations=activations,
        weights={name: one.scale for name, one in made.items()},
        inputs=inputs,
        reads=_reads(graph, plan, activations),
        float_readers=tuple(sorted(plan.float_readers)),
        left_float=plan.left_float,
    )


def _reads(graph: DetectorGraph, plan: QdqPlan, activations: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The parameters of the inputs of nodes, see ``QuantizationScheme.reads``."""
    passed: set[str] = set()  # outputs of nodes that pass quantised values on
    reads: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.name in plan.float_readers:
            continue
        found = tuple(activations.get(t, "") if t not in passed else "" for t in node.input)
        if any(found):
            reads[node.name] = found
        if node.op_type in SAME_SCALE and all(t in activations or t in passed for t in passed_on(node)):
            passed.update(node.output)
    return reads


def _check(graph: DetectorGraph, scheme: QuantizationScheme) -> None:
    """Raise ArtifactError if a quantisation names tensors that the graph does not have."""
    widths = {t.name: t.dims[0] for t in graph.initializers.values() if t.dims}
    tensors = {*graph.producer, graph.source}
    unknown: Iterable[str] = [
        *(t for t in scheme.activations if t not in tensors),
        *(
            name
            for name, scales in scheme.weights.items()
            if name not in graph.body or scales.shape != (widths[graph.body[name].input[1]],)
        ),
    ]
    if first := next(iter(sorted(unknown)), None):
        raise ArtifactError(
            f"the checkpoint's scales are of another network: {first} does not fit",
            hint="weights and spec must come from the same training: copy both again",
        )


def _ranges(plan: QdqPlan, scheme: QuantizationScheme) -> dict[str, list[float | str]]:
    """By tensor: the lower end, the upper end, and whether it was trained."""
    return {
        name: [used.low, used.high, "trained" if scheme.quant_params[params].is_learnt else "known"]
        for name, params in sorted(scheme.activations.items())
        for used in [plan.activations[name]]
    }
