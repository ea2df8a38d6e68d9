"""Write a plan into a graph: weights become bytes, a QuantizeLinear/DequantizeLinear pair marks a rounding.

The pair is how ONNX says "a byte is enough here"; the engines fuse it into their kernels.
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
    """A convolution's weights as bytes.

    Attributes:
        values: int8 ``[out, in, k, k]``.
        scale: float32 ``[out]``.
        bias: float32 ``[out]``, corrected for what rounding the weights does to the layer's mean.
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
    """Round weights to bytes, one scale an output channel.

    Rounding errors do not average out in a layer whose inputs have a mean (behind SiLU all have): they move
    the whole channel. The mean shift is known, so the bias takes it back. On the COCO YOLOv5n this lowers the
    error that the weights make by 5 dB.

    Args:
        weight: float32 ``[out, in, k, k]``.
        bias: float32 ``[out]``.
        input_means: float64 ``[in]``, the mean of each input channel on real images.
        limit: How large bytes may be.
        chosen: The bytes, int8 ``[out, in, k, k]``, see ``export.quantize.gptq``; None for the nearest.
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
    """Round weights to bytes of trained scales, and leave alone the bias that was trained with them.

    Args:
        weight: float32 ``[out, in, k, k]``.
        bias: float32 ``[out]``.
        scale: float32 ``[out]``.
        limit: How large bytes may be.
    """
    return Int8Weights(nearest(weight, scale, limit.of(weight.shape)), scale, bias)


#: Makes bytes of a convolution's weights, given the node, its weights and its bias.
WeightQuantiser = Callable[[onnx.NodeProto, NDArray[np.float32], NDArray[np.float32]], Int8Weights]


def quantise(
    model: onnx.ModelProto, plan: QdqPlan, statistics: TensorStatistics, limit: WeightRange
) -> onnx.ModelProto:
    """A copy of an FP32 model with the plan's roundings in it.

    Args:
        model: The FP32 model that the plan was made for.
        plan: What goes to bytes.
        statistics: What its tensors hold, and the bytes of weights if they were chosen for the same limit.
        limit: How large the bytes of weights may be.
    """
    means, chosen = statistics.channel_means, statistics.weights
    return write(
        model,
        plan,
        lambda n, w, b: quantise_weights(w, b, means[n.input[0]], limit, chosen.get(n.name)),
    )


def write(model: onnx.ModelProto, plan: QdqPlan, rounds: WeightQuantiser) -> onnx.ModelProto:
    """A copy of an FP32 model with the plan's roundings in it, and weights as ``rounds`` makes them."""
    return _Writer(model, plan, rounds).write()


class _Writer:
    """Walks the nodes once, in order.

    A signed byte stands for zero at zero and nowhere else. Where the plan has another range, the number that
    is rounded is the tensor's less the middle of the range, and ``shifts`` remembers what a tensor lacks
    since: what moves numbers about passes that on, a sum adds it up, a convolution has it in its bias, and
    for any other reader it is added again.
    """

    def __init__(self, model: onnx.ModelProto, plan: QdqPlan, rounds: WeightQuantiser) -> None:
        self.model, self.plan, self.rounds = onnx.ModelProto(), plan, rounds
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self.stored = {t.name: t for t in self.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.rounded: set[str] = set()
        self.shifts: dict[str, float] = {}
        self.wanted = {
            name
            for node in self.graph.node
            if node.name not in plan.float_readers
            for name in node.input
            if name in plan.activations
        }

    def write(self) -> onnx.ModelProto:
        for source in self.graph.input:
            self._round(source.name)
        for node in self.graph.node:
            made = self._bytes(node) if node.name in self.plan.convolutions else None
            if node.name not in self.plan.float_readers:
                for i, name in enumerate(node.input):
                    if name in self.rounded:
                        node.input[i] = f"{name}.byte"
            lacks = self._passed_on(node)
            if made:
                self._weights(node, made, lacks)
            elif lacks:
                self.shifts[node.output[0]] = lacks
            self.nodes.append(node)
            for name in node.output:
                self._round(name)
        kept = list(self.stored.values())
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(kept)
        onnx.checker.check_model(self.model)
        return onnx.shape_inference.infer_shapes(self.model, strict_mode=True, data_prop=True)

    def _round(self, name: str) -> None:
        """Put the pair behind a tensor, if the plan has it and something reads it rounded."""
        if name not in self.wanted:
            return
        used: Range = self.plan.activations[name]
        source = name
        if self.plan.signed:
            shift = float(np.float32((SIGNED_ZERO - used.zero) * used.scale))
            source = self._less(name, shift - self.shifts.get(name, 0.0))
            if shift:
                self.shifts[f"{name}.byte"] = shift
        pair = [
            self._store(f"{name}.scale", np.float32(used.scale)),
            self._store(f"{name}.zero", np.int8(0) if self.plan.signed else np.uint8(used.zero)),
        ]
        self._add("QuantizeLinear", f"{name}.quantise", [source, *pair], f"{name}.bytes")
        self._add("DequantizeLinear", f"{name}.dequantise", [f"{name}.bytes", *pair], f"{name}.byte")
        self.rounded.add(name)

    def _less(self, name: str, shift: float) -> str:
        """A tensor less a number; the tensor itself for none."""
        if not shift:
            return name
        out = f"{name}.shifted"
        self._add("Sub", out, [name, self._store(f"{name}.shift", np.float32(shift))], out)
        return out

    def _passed_on(self, node: onnx.NodeProto) -> float:
        """What a node's output lacks, as its inputs do; where that cannot be said, nothing lacks any more."""
        lacks = [self.shifts.get(name, 0.0) for name in node.input]
        if not any(lacks):
            return 0.0
        if node.name in self.plan.convolutions or node.op_type in {"MaxPool", "Resize"}:
            return lacks[0]
        if node.op_type == "Concat" and len(set(lacks)) == 1:
            return lacks[0]
        if node.op_type == "Add":
            return sum(lacks)
        for i, lack in enumerate(lacks):
            if lack:
                whole = f"{node.name}.whole.{i}"
                self._add(
                    "Add", whole, [node.input[i], self._store(f"{whole}.shift", np.float32(lack))], whole
                )
                node.input[i] = whole
        return 0.0

    def _bytes(self, node: onnx.NodeProto) -> Int8Weights:
        """The weights of a convolution, which still reads its tensor by the FP32 model's name."""
        weight, bias = (numpy_helper.to_array(self.stored.pop(name)) for name in node.input[1:])
        return self.rounds(node, weight, bias)

    def _weights(self, node: onnx.NodeProto, made: Int8Weights, lacks: float) -> None:
        """Replace a convolution's weights by bytes and what turns them back.

        Args:
            node: The convolution.
            made: The bytes.
            lacks: What its input lacks everywhere; with a border of zeros, nothing could make good for that.
        """
        weight_name, bias_name = node.input[1], node.input[2]
        node.input[1] = self._dequantised(weight_name, made.values, made.scale)
        if not self.plan.integer_bias:
            sums = made.values.sum(axis=(1, 2, 3), dtype=np.int64) * made.scale
            self._store(bias_name, (made.bias + lacks * sums).astype(np.float32))
            return
        step = made.scale * np.float32(self.plan.int8_inputs[node.name].scale)
        limit = np.iinfo(np.int32).max
        whole = np.clip(np.rint(made.bias / step.astype(np.float64)), -limit, limit).astype(np.int32)
        node.input[2] = self._dequantised(bias_name, whole, step)

    def _dequantised(self, name: str, values: NDArray[Any], scale: NDArray[np.float32]) -> str:
        """Store integers by output channel; returns the name of what they stand for."""
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
