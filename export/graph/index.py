"""The graph of a network with the questions that a placement of bytes asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import onnx

from export.quantize.ranges import Range

SAME_SCALE = frozenset({"Concat", "MaxPool", "Resize"})  # move bytes about, so need one scale


class Graph:
    """A model's graph with the questions that a placement asks."""

    def __init__(self, model: onnx.ModelProto, scale: float) -> None:
        self.nodes = list(model.graph.node)
        self.source = model.graph.input[0].name
        self.source_range = Range(0.0, 255 * scale)
        self.producer = {n.output[0]: n for n in self.nodes}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        weights = {t.name: tuple(t.dims) for t in model.graph.initializer}
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
        height = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        sides = {name: shape[2] for name, shape in shapes.items() if len(shape) == 4}
        self._strides = {n.name: height // sides[n.output[0]] for n in self.nodes if sides.get(n.output[0])}
        self._work = {
            n.name: prod(weights[n.input[1]]) * prod(shapes[n.output[0]][2:])
            for n in self.nodes
            if n.op_type == "Conv"
        }
        self.body = {n.name: n for n in self.nodes if n.op_type == "Conv" and self._has_silu(n)}
        self.outputs = {n.name: n for n in self.nodes if n.op_type == "Conv" and n.name not in self.body}

    def _has_silu(self, conv: onnx.NodeProto) -> bool:
        return sorted(r.op_type for r in self.readers.get(conv.output[0], [])) == ["Mul", "Sigmoid"]

    def share(self, convolutions: Iterable[str]) -> float:
        """Of the body's multiplications, the share that the named convolutions do."""
        return float(sum(self._work[n] for n in convolutions) / sum(self._work[n] for n in self.body))

    def fed_by(self, tensors: Iterable[str]) -> set[str]:
        """The convolutions of the body that read one of the tensors, directly or moved about."""
        reached = set(tensors)
        for node in self.nodes:
            if node.op_type in SAME_SCALE and reached & set(self.moved(node)):
                reached.add(node.output[0])
        return {name for name, node in self.body.items() if node.input[0] in reached}

    def byte_readers(self, tensor: str) -> Iterator[onnx.NodeProto]:
        """The convolutions of the body that read a tensor, directly or moved about."""
        for node in self.readers.get(tensor, []):
            if node.op_type in SAME_SCALE:
                yield from self.byte_readers(node.output[0])
            elif node.name in self.body:
                yield node

    def front(self, stride: int) -> frozenset[str]:
        """The nodes of the body that make maps of at most that many input pixels a cell."""
        behind = self.behind_outputs()
        made = {n.name for n in self.nodes if n.output[0] not in behind}
        return frozenset(name for name in made if self._strides.get(name, stride + 1) <= stride)

    def makers_of(self, tensor: str) -> set[str]:
        """The convolutions that a tensor depends on."""
        found: set[str] = set()
        waiting, seen = [tensor], {tensor}
        while waiting:
            node = self.producer.get(waiting.pop())
            if node is None:
                continue
            if node.op_type == "Conv":
                found.add(node.name)
            waiting += [name for name in node.input if name not in seen]
            seen.update(node.input)
        return found

    def activation(self, conv: onnx.NodeProto) -> str:
        """The tensor behind a body convolution's SiLU."""
        return str(next(r.output[0] for r in self.readers[conv.output[0]] if r.op_type == "Mul"))

    def readers_of_activation(self, conv: onnx.NodeProto) -> set[str]:
        """The nodes that read what is behind a body convolution's SiLU."""
        return {r.name for r in self.readers[self.activation(conv)]}

    def sigmoid(self, conv: onnx.NodeProto) -> str:
        """The tensor between a body convolution and the product of its SiLU."""
        return str(next(r.output[0] for r in self.readers[conv.output[0]] if r.op_type == "Sigmoid"))

    def sums(self) -> Iterator[onnx.NodeProto]:
        """The residual additions of the body; the decode adds constants, which no node makes."""
        for node in self.nodes:
            if node.op_type == "Add" and all(i in self.producer for i in node.input):
                yield node

    def moves(self) -> Iterator[onnx.NodeProto]:
        """The nodes of the body that move values about without changing them, in order."""
        behind = self.behind_outputs()
        for node in self.nodes:
            if node.op_type in SAME_SCALE and node.output[0] not in behind:
                yield node

    def moved(self, node: onnx.NodeProto) -> list[str]:
        """The tensors that such a node moves."""
        return list(node.input) if node.op_type == "Concat" else [node.input[0]]

    def behind_outputs(self) -> set[str]:
        """The tensors that detection outputs make, and all that follows from them."""
        behind = {n.output[0] for n in self.outputs.values()}
        for node in self.nodes:
            if any(i in behind for i in node.input):
                behind.add(node.output[0])
        return behind

    def conv_inputs(self) -> list[str]:
        """What the body's convolutions read."""
        return sorted({n.input[0] for n in self.body.values()})

    def to_watch(self) -> list[str]:
        """Tensors whose values a placement must know."""
        made = [t for n in self.body.values() for t in (n.output[0], self.activation(n))]
        return [*made, *(n.output[0] for n in self.sums())]
