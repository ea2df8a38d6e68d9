"""An ONNX graph with the questions that rules ask: who rounds what, and what stands where."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.errors import ArtifactError
from export.graph.index import GraphIndex
from export.lint.qdq_pair import QdqPair

ROUND, BACK = "QuantizeLinear", "DequantizeLinear"
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
SAME_VALUES = frozenset({"Cast", "Identity"})  # what may stand between two nodes without a difference to us
MOVES = frozenset({"MaxPool", "Resize", "Upsample", "Concat"})  # of bytes they make bytes
#: What may follow a convolution in one kernel. A SiLU is Sigmoid and Mul.
ACTIVATIONS = frozenset(
    {
        "Sigmoid",
        "Mul",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Clip",
        "HardSwish",
        "HardSigmoid",
        "Tanh",
        "Elu",
        "Mish",
    }
)


class QdqGraph(GraphIndex):
    """The index of a quantised file, with its Q/DQ pairs.

    Attributes:
        opset: Version of ONNX's own operators.

    Raises:
        ArtifactError: The nodes are not in the order of execution.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model)
        self.opset = max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0)
        self._check_order()
        self._pairs: dict[str, QdqPair] = {}  # by output
        for node in self.nodes:
            if node.op_type == BACK:
                pair = self._pair(node)
                self._pairs[pair.output] = pair

    def _check_order(self) -> None:
        """Refuse a graph that is not in the order of execution, which every rule goes by."""
        known = {"", *self.constants, *(i.name for i in self.model.graph.input)}
        known |= {s.values.name for s in self.model.graph.sparse_initializer}
        for node in self.nodes:
            if late := [name for name in node.input if name not in known]:
                raise ArtifactError(
                    f"the node {label(node)} reads {late[0]}, which nothing in front of it makes",
                    hint="export the model again; ONNX wants nodes in the order of execution",
                )
            known.update(node.output)

    # --- tensors

    def producer_of(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, without what changes no value; None for inputs and constants."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type in SAME_VALUES:
            node = self.producer.get(node.input[0])
        return node

    def readers_of(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, without what changes no value."""
        found, waiting = [], [tensor]
        while waiting:
            for node in self.readers.get(waiting.pop(), []):
                if node.op_type in SAME_VALUES:
                    waiting.append(node.output[0])
                else:
                    found.append(node)
        return found

    def is_constant(self, tensor: str) -> bool:
        """Whether the file holds the tensor's values."""
        return self._root(tensor) in self.constants

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """The values of a constant; None if it is none."""
        stored = self.constants.get(self._root(tensor))
        return None if stored is None else numpy_helper.to_array(stored)

    def dims(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a constant, rounded or not; None if it is none."""
        if (pair := self.pair_making(tensor)) is not None:
            return pair.dims
        stored = self.constants.get(self._root(tensor))
        return None if stored is None else tuple(stored.dims)

    def stored_type(self, tensor: str) -> str:
        """The element type of a constant, e.g. ``"FLOAT16"``; empty if it is none."""
        stored = self.constants.get(self._root(tensor))
        return "" if stored is None else _name(stored.data_type)

    def _root(self, tensor: str) -> str:
        while (node := self.producer.get(tensor)) is not None and node.op_type in SAME_VALUES:
            tensor = node.input[0]
        return tensor

    # --- roundings

    @property
    def pairs(self) -> list[QdqPair]:
        """All of them, in order."""
        return list(self._pairs.values())

    def pair_making(self, tensor: str) -> QdqPair | None:
        """The pair that a tensor comes out of; None if it is as it was computed."""
        node = self.producer_of(tensor)
        return None if node is None else self._pairs.get(node.output[0])

    def pairs_reading(self, tensor: str) -> list[QdqPair]:
        """The pairs that round a tensor."""
        rounds = [n for n in self.readers_of(tensor) if n.op_type == ROUND]
        return [
            self._pairs[b.output[0]]
            for n in rounds
            for b in self.readers_of(n.output[0])
            if b.op_type == BACK
        ]

    def before_pair(self, tensor: str) -> str:
        """A tensor as it was computed, in front of the pair that it may come out of."""
        pair = self.pair_making(tensor)
        return tensor if pair is None else pair.source

    def _pair(self, back: onnx.NodeProto) -> QdqPair:
        first = self.producer_of(back.input[0])
        rounds = first if first is not None and first.op_type == ROUND else None
        node = rounds or back
        scale, zero = self.constant(node.input[1]), self._zero(node)
        source = node.input[0]
        return QdqPair(
            node=node,
            source=source,
            output=back.output[0],
            scale=None if scale is None else scale.astype(np.float64).reshape(-1),
            scale_type=self.stored_type(node.input[1]),
            zero=zero,
            has_zero=_has_zero(node),
            kind=self._rounded_type(node, back),
            axis=next((a.i for a in node.attribute if a.name == "axis"), 1),
            dims=None if self.constants.get(self._root(source)) is None else self.dims(source),
            is_stored=rounds is None,
        )

    def _zero(self, node: onnx.NodeProto) -> NDArray[np.int64] | None:
        values = self.constant(node.input[2]) if _has_zero(node) else None
        return None if values is None else values.astype(np.int64).reshape(-1)

    def _rounded_type(self, node: onnx.NodeProto, back: onnx.NodeProto) -> str:
        if _has_zero(node):
            # The last cast decides where a tracer wrote the type as a cast of a constant.
            maker = self.producer.get(node.input[2])
            if maker is not None and maker.op_type == "Cast":
                return _name(next(a.i for a in maker.attribute if a.name == "to"))
            return self.stored_type(node.input[2])
        if node is back:
            return self.stored_type(back.input[0])
        return next((_name(a.i) for a in node.attribute if a.name == "output_dtype" and a.i), "")

    # --- convolutions

    @property
    def convolutions(self) -> list[onnx.NodeProto]:
        """All of them, in order."""
        return [n for n in self.nodes if n.op_type in CONVOLUTIONS]

    @cached_property
    def outputs(self) -> dict[str, onnx.NodeProto]:
        """The detection outputs by what they make: convolutions that no further one follows.

        A projection to one channel (of a distribution over distances to one distance) is part of the decode.
        """
        followed: set[str] = set()
        ends: dict[str, onnx.NodeProto] = {}
        for node in reversed(self.nodes):
            is_layer = node.op_type in CONVOLUTIONS and not self._is_projection(node)
            if is_layer and not followed & set(node.output):
                ends[node.output[0]] = node
            if is_layer or followed & set(node.output):
                followed.update(node.input)
        return ends

    @property
    def body(self) -> list[onnx.NodeProto]:
        """The convolutions that others follow."""
        return [
            n for n in self.convolutions if n.output[0] not in self.outputs and not self._is_projection(n)
        ]

    @cached_property
    def decoded(self) -> set[str]:
        """The tensors that detection outputs make, and all that follows from them."""
        found = set(self.outputs)
        for node in self.nodes:
            if found & set(node.input):
                found.update(node.output)
        return found

    def computes_int8(self, conv: onnx.NodeProto) -> bool:
        """Whether a convolution multiplies bytes: its input and its weights are."""
        return all(self.is_quantised(name) for name in conv.input[:2])

    def is_quantised(self, tensor: str) -> bool:
        """Whether a tensor comes out of a pair, directly or moved about."""
        waiting, seen = [tensor], set()
        while waiting:
            name = waiting.pop()
            node = self.producer_of(name)
            if self.pair_making(name) is not None or name in seen:
                continue
            if node is None or node.op_type not in MOVES:
                return False
            seen.add(name)
            waiting += moved(node)
        return True

    @property
    def has_int8_activations(self) -> bool:
        """Whether anything that is computed is rounded."""
        return any(pair.is_activation for pair in self._pairs.values())

    def activated(self, tensor: str) -> str:
        """What is behind the activation that follows a convolution, roundings within it skipped."""
        for node in self._past_pairs(tensor):
            if node.op_type in ACTIVATIONS and node.op_type != "Mul":
                if node.op_type != "Sigmoid":
                    return str(node.output[0])
                gated = [n for n in self._past_pairs(node.output[0]) if n.op_type == "Mul"]
                return str((gated or [node])[0].output[0])
        return tensor

    def _past_pairs(self, tensor: str) -> Iterator[onnx.NodeProto]:
        for node in self.readers_of(tensor):
            if node.op_type != ROUND:
                yield node
        for pair in self.pairs_reading(tensor):
            yield from self.readers_of(pair.output)

    def _is_projection(self, node: onnx.NodeProto) -> bool:
        dims = self.dims(node.input[1]) if node.op_type in CONVOLUTIONS else None
        return dims is not None and dims[0] == 1

    def comes_from(self, tensor: str, ancestor: str) -> bool:
        """Whether a tensor is computed from another one."""
        waiting, seen = [tensor], set()
        while waiting:
            name = waiting.pop()
            if name == ancestor:
                return True
            node = self.producer.get(name)
            if node is not None and name not in seen:
                seen.add(name)
                waiting += node.input
        return False


def moved(node: onnx.NodeProto) -> list[str]:
    """The tensors whose values a node moves about."""
    return list(node.input) if node.op_type == "Concat" else [node.input[0]]


def label(node: onnx.NodeProto) -> str:
    """What to call a node: not all have names."""
    return str(node.name or (node.output[0] if node.output else node.op_type))


def _has_zero(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)) if kind in TensorProto.DataType.values() else ""


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
