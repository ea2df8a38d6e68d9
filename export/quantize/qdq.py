"""Insert a plan's QuantizeLinear/DequantizeLinear pairs into an FP32 graph, and quantise its weights.

A pair behind a tensor says that eight bits suffice for it; runtimes fuse pairs into INT8 kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgestill.quantization import WeightRange
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.qdq_placement import QdqPlan
from export.quantize.ranges import SIGNED_ZERO, Range
from export.quantize.weight_scale import nearest, weight_scale


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weights:
    """Quantised weights of a convolution.

    Attributes:
        values: int8 ``[out, in, k, k]``.
        scale: float32 ``[out]``.
        bias: float32 ``[out]``, corrected for the mean error of the weights.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


def quantise_weights(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    input_means: NDArray[np.float64],
    limit: WeightRange,
    chosen: NDArray[np.int8] | None = None,
) -> Int8Weights:
    """Quantise weights with one scale for each output channel, and correct the bias.

    Inputs behind SiLU have a non-zero mean, so that weight errors shift the mean of an output channel. The
    shift is known and is subtracted from the bias. On the COCO YOLOv5n this lowers the error by 5 dB.

    Args:
        weight: float32 ``[out, in, k, k]``.
        bias: float32 ``[out]``.
        input_means: float64 ``[in]``, the mean of each input channel on calibration images.
        limit: Limits on the magnitude of weights.
        chosen: Weights from ``export.quantize.gptq``, int8 ``[out, in, k, k]``; None rounds to nearest.
    """
    limit = limit.of(weight.shape)
    scale = weight_scale(weight, limit)
    column = scale.reshape(-1, 1, 1, 1)
    values = nearest(weight, scale, limit) if chosen is None else chosen
    error = (values * column - weight).sum(axis=(2, 3), dtype=np.float64)  # [out, in]
    return Int8Weights(values, scale, (bias - error @ input_means).astype(np.float32))


def quantise_trained_weights(
    weight: NDArray[np.float32], bias: NDArray[np.float32], scale: NDArray[np.float32], limit: WeightRange
) -> Int8Weights:
    """Quantise weights with trained scales; the bias was trained with them and stays.

    Args:
        weight: float32 ``[out, in, k, k]``.
        bias: float32 ``[out]``.
        scale: float32 ``[out]``.
        limit: Limits on the magnitude of weights.
    """
    return Int8Weights(nearest(weight, scale, limit.of(weight.shape)), scale, bias)


#: Quantises a convolution, given the node, its weights and its bias.
WeightQuantiser = Callable[[onnx.NodeProto, NDArray[np.float32], NDArray[np.float32]], Int8Weights]


def quantise(
    model: onnx.ModelProto, plan: QdqPlan, statistics: TensorStatistics, limit: WeightRange
) -> onnx.ModelProto:
    """Quantise an FP32 model after training.

    Args:
        model: The FP32 model; it is not changed.
        plan: What to quantise.
        statistics: Of its tensors, and the weights of GPTQ for the same limits where there are any.
        limit: Limits on the magnitude of weights.

    Returns:
        A quantised copy, checked and with inferred shapes.
    """
    means, chosen = statistics.channel_means, statistics.weights
    return insert_qdq(
        model,
        plan,
        lambda n, w, b: quantise_weights(w, b, means[n.input[0]], limit, chosen.get(n.name)),
    )


def insert_qdq(model: onnx.ModelProto, plan: QdqPlan, quantise_conv: WeightQuantiser) -> onnx.ModelProto:
    """Insert a plan's Q/DQ pairs into a copy of an FP32 model, and quantise its weights by a function."""
    return _QdqInserter(model, plan, quantise_conv).insert()


class _QdqInserter:
    """Visits the nodes once, in order.

    INT8 has zero point 0. Where the plan has an asymmetric range, the middle of the range is subtracted
    before quantisation. ``shifts`` holds by tensor what was subtracted: nodes that pass values on keep it, a
    sum adds it up, a convolution has it in its bias, and for any other reader it is added back.
    """

    def __init__(self, model: onnx.ModelProto, plan: QdqPlan, quantise_conv: WeightQuantiser) -> None:
        self.model, self.plan, self.quantise_conv = onnx.ModelProto(), plan, quantise_conv
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.stored = {t.name: t for t in self.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.quantised: set[str] = set()
        self.shifts: dict[str, float] = {}
        self.wanted = {
            name
            for node in self.graph.node
            if node.name not in plan.float_readers
            for name in node.input
            if name in plan.activations
        }

    def insert(self) -> onnx.ModelProto:
        for source in self.graph.input:
            self._add_pair(source.name)
        for node in self.graph.node:
            weights = self._quantised(node) if node.name in self.plan.convolutions else None
            if node.name not in self.plan.float_readers:
                for i, name in enumerate(node.input):
                    if name in self.quantised:
                        node.input[i] = f"{name}.byte"
            shift = self._output_shift(node)
            if weights:
                self._replace_weights(node, weights, shift)
            elif shift:
                self.shifts[node.output[0]] = shift
            self.nodes.append(node)
            for name in node.output:
                self._add_pair(name)
        kept = list(self.stored.values())
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(kept)
        onnx.checker.check_model(self.model)
        return onnx.shape_inference.infer_shapes(self.model, strict_mode=True, data_prop=True)

    def _add_pair(self, name: str) -> None:
        """Add the pair behind a tensor, if the plan has it and a node reads it quantised."""
        if name not in self.wanted:
            return
        used: Range = self.plan.activations[name]
        source = name
        if self.plan.signed:
            shift = float(np.float32((SIGNED_ZERO - used.zero) * used.scale))
            source = self._subtract(name, shift - self.shifts.get(name, 0.0))
            if shift:
                self.shifts[f"{name}.byte"] = shift
        pair = [
            self._store(f"{name}.scale", np.float32(used.scale)),
            self._store(f"{name}.zero", np.int8(0) if self.plan.signed else np.uint8(used.zero)),
        ]
        self._add("QuantizeLinear", f"{name}.quantise", [source, *pair], f"{name}.bytes")
        self._add("DequantizeLinear", f"{name}.dequantise", [f"{name}.bytes", *pair], f"{name}.byte")
        self.quantised.add(name)

    def _subtract(self, name: str, shift: float) -> str:
        """A tensor minus a number; the tensor itself for 0."""
        if not shift:
            return name
        out = f"{name}.shifted"
        self._add("Sub", out, [name, self._store(f"{name}.shift", np.float32(shift))], out)
        return out

    def _output_shift(self, node: onnx.NodeProto) -> float:
        """The shift of a node's output; an operator that cannot pass shifts on reads restored inputs."""
        shifts = [self.shifts.get(name, 0.0) for name in node.input]
        if not any(shifts):
            return 0.0
        if node.name in self.plan.convolutions or node.op_type in {"MaxPool", "Resize"}:
            return shifts[0]
        if node.op_type == "Concat" and len(set(shifts)) == 1:
            return shifts[0]
        if node.op_type == "Add":
            return sum(shifts)
        for i, shift in enumerate(shifts):
            if shift:
                whole = f"{node.name}.whole.{i}"
                stored = self._store(f"{whole}.shift", np.float32(shift))
                self._add("Add", whole, [node.input[i], stored], whole)
                node.input[i] = whole
        return 0.0

    def _quantised(self, node: onnx.NodeProto) -> Int8Weights:
        """The weights of a convolution, whose input still has its name in the FP32 model."""
        weight, bias = (numpy_helper.to_array(self.stored.pop(name)) for name in node.input[1:])
        return self.quantise_conv(node, weight, bias)

    def _replace_weights(self, node: onnx.NodeProto, made: Int8Weights, shift: float) -> None:
        """Replace a convolution's weights and bias by integers with DequantizeLinear.

        Args:
            node: The convolution.
            made: The quantised weights.
            shift: The shift of its input, for which the bias makes up; 0 with zero padding, which has none.
        """
        weight_name, bias_name = node.input[1], node.input[2]
        node.input[1] = self._dequantised(weight_name, made.values, made.scale)
        if not self.plan.integer_bias:
            sums = made.values.sum(axis=(1, 2, 3), dtype=np.int64) * made.scale
            self._store(bias_name, (made.bias + shift * sums).astype(np.float32))
            return
        scale = made.scale * np.float32(self.plan.int8_inputs[node.name].scale)
        limit = np.iinfo(np.int32).max
        whole = np.clip(np.rint(made.bias / scale.astype(np.float64)), -limit, limit).astype(np.int32)
        node.input[2] = self._dequantised(bias_name, whole, scale)

    def _dequantised(self, name: str, values: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Store integers with a scale for each output channel; returns the dequantised tensor's name."""
        inputs = [
            self._store(f"{name}.bytes", values),
            self._store(f"{name}.scale", scale),
            self._store(f"{name}.zero", np.zeros(len(scale), values.dtype)),
        ]
        self._add("DequantizeLinear", f"{name}.dequantise", inputs, f"{name}.byte", axis=0)
        return f"{name}.byte"

    def _add(self, kind: str, name: str, inputs: list[str], output: str, **attributes: int) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))

    def _store(self, name: str, value: Any) -> str:
        self.stored[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
