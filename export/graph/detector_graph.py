"""The graph of an FP32 detector with the questions that a placement of Q/DQ pairs asks.

A convolution that SiLU follows belongs to the body. The other convolutions are the detection outputs; all
nodes behind them are the decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from math import prod

import onnx

from export.graph.index import SAME_SCALE, GraphIndex, passed_on
from export.quantize.ranges import Range


class DetectorGraph(GraphIndex):
    """The index of an FP32 model of ``export.graph.yolov5``.

    Args:
        model: The model; its input is ``[1, 3, H, W]``.
        scale: The spec's factor on pixel values.

    Attributes:
        source: Name of the input.
        source_range: What the input covers: uint8 pixels times the scale.
        body: By name, the convolutions that SiLU follows.
        outputs: By name, the detection outputs.
    """

    def __init__(self, model: onnx.ModelProto, scale: float) -> None:
        super().__init__(model)
        self.source = model.graph.input[0].name
        self.source_range = Range(0.0, 255 * scale)
        convolutions = {n.name: n for n in self.nodes if n.op_type == "Conv"}
        self._macs = {
            name: prod(self.initializers[n.input[1]].dims) * prod(self.shapes[n.output[0]][2:])
            for name, n in convolutions.items()
        }
        self.body = {name: n for name, n in convolutions.items() if self._has_silu(n)}
        self.outputs = {name: n for name, n in convolutions.items() if name not in self.body}

    def _has_silu(self, conv: onnx.NodeProto) -> bool:
        return sorted(r.op_type for r in self.readers.get(conv.output[0], [])) == ["Mul", "Sigmoid"]

    # --- structure

    @cached_property
    def decode_tensors(self) -> frozenset[str]:
        """The outputs of the detection outputs, and every tensor that depends on them."""
        found = {n.output[0] for n in self.outputs.values()}
        for node in self.nodes:
            if found & set(node.input):
                found.add(node.output[0])
        return frozenset(found)

    def share(self, convolutions: Iterable[str]) -> float:
        """The share of the body's multiplications that the named convolutions do."""
        return float(sum(self._macs[n] for n in convolutions) / sum(self._macs[n] for n in self.body))

    def front(self, stride: int) -> frozenset[str]:
        """The nodes of the body whose output has a stride of at most ``stride`` input pixels."""
        height = self.model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        sides = {name: shape[2] for name, shape in self.shapes.items() if len(shape) == 4}
        return frozenset(
            n.name
            for n in self.nodes
            if sides.get(n.output[0])
            and n.output[0] not in self.decode_tensors
            and height // sides[n.output[0]] <= stride
        )

    def residual_adds(self) -> Iterator[onnx.NodeProto]:
        """The residual additions of the body; those of the decode add a constant, which no node makes."""
        for node in self.nodes:
            if node.op_type == "Add" and all(i in self.producer for i in node.input):
                yield node

    def fused_branches(self) -> set[str]:
        """The second inputs of residual additions that nothing else reads: engines fuse these additions."""
        return {n.input[1] for n in self.residual_adds() if len(self.readers[n.input[1]]) == 1}

    def block_outputs(self) -> list[str]:
        """The outputs of the body's SiLUs, then of its residual additions."""
        return [
            *(self.activation(n) for n in self.body.values()),
            *(n.output[0] for n in self.residual_adds()),
        ]

    def same_scale_nodes(self) -> Iterator[onnx.NodeProto]:
        """The nodes of the body that pass values on unchanged, in order."""
        for node in self.nodes:
            if node.op_type in SAME_SCALE and node.output[0] not in self.decode_tensors:
                yield node

    def convolutions_before(self, tensor: str) -> set[str]:
        """The convolutions that a tensor depends on."""
        found: set[str] = set()
        waiting, visited = [tensor], {tensor}
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is None:
                continue
            if node.op_type == "Conv":
                found.add(node.name)
            waiting += [name for name in node.input if name not in visited]
            visited.update(node.input)
        return found

    # --- one convolution of the body

    def activation(self, conv: onnx.NodeProto) -> str:
        """The output of its SiLU."""
        return str(next(r.output[0] for r in self.readers[conv.output[0]] if r.op_type == "Mul"))

    def sigmoid(self, conv: onnx.NodeProto) -> str:
        """The output of the sigmoid within its SiLU."""
        return str(next(r.output[0] for r in self.readers[conv.output[0]] if r.op_type == "Sigmoid"))

    def activation_readers(self, conv: onnx.NodeProto) -> set[str]:
        """The names of the nodes that read the output of its SiLU."""
        return {r.name for r in self.readers[self.activation(conv)]}

    # --- who reads a tensor, directly or through nodes that pass it on

    def convolutions_reading(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """The convolutions of the body that read one tensor."""
        for node in self.readers.get(tensor, []):
            if node.op_type in SAME_SCALE:
                yield from self.convolutions_reading(node.output[0])
            elif node.name in self.body:
                yield node

    def convolutions_reading_any(self, tensors: Iterable[str]) -> set[str]:
        """The names of the convolutions of the body that read one of several tensors."""
        reached = set(tensors)
        for node in self.nodes:
            if node.op_type in SAME_SCALE and reached & set(passed_on(node)):
                reached.add(node.output[0])
        return {name for name, node in self.body.items() if node.input[0] in reached}

    # --- what calibration observes

    def observed_tensors(self) -> list[str]:
        """The tensors whose histograms a placement needs: outputs of convolutions, SiLUs and additions."""
        made = [t for n in self.body.values() for t in (n.output[0], self.activation(n))]
        return [*made, *(n.output[0] for n in self.residual_adds())]

    def convolution_inputs(self) -> list[str]:
        """The tensors that the body's convolutions read, sorted."""
        return sorted({n.input[0] for n in self.body.values()})
