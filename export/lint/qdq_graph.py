"""The graph of a quantised file with its Q/DQ pairs, and the queries of the lint rules."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.errors import ArtifactError
from export.graph.index import SAME_SCALE, GraphIndex, passed_on
from export.lint.operator_forms import DEQUANTIZE, QUANTIZE, as_pairs, written_forms
from export.lint.qdq_pair import QdqPair

INTEGER_CONVOLUTION = "ConvInteger"  # of dynamic quantisation: no pair, no scale, an INT32 output
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv", INTEGER_CONVOLUTION})
SAME_VALUES = frozenset({"Cast", "Identity"})  # nodes that rules skip
PASSING = SAME_SCALE | {"Upsample"}  # nodes whose output is quantised if their inputs are
#: Activations that runtimes fuse with a convolution. A SiLU is Sigmoid and Mul.
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

    Quantised operators are seen as pairs around float ones, see ``export.lint.operator_forms``.

    Attributes:
        opset: Version of ONNX's own operators.
        operators: The nodes of the file that compute in integers and are no pairs.
        forms: How the file writes quantisation, see ``export.lint.operator_forms.written_forms``.

    Raises:
        ArtifactError: The nodes are not in the order of execution.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.forms = written_forms(model)
        in_pairs, self.operators = as_pairs(model)
        super().__init__(in_pairs)
        self.opset = max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0)
        self._check_order()
        self._pairs: dict[str, QdqPair] = {}  # by output
        for node in self.nodes:
            if node.op_type == DEQUANTIZE:
                pair = self._pair(node)
                self._pairs[pair.output] = pair

    def _check_order(self) -> None:
        """Raise ArtifactError if the nodes are not in the order of execution, on which rules rely."""
        known = {"", *self.constants, *(i.name for i in self.model.graph.input)}
        known |= {s.values.name for s in self.model.graph.sparse_initializer}
        for node in self.nodes:
            if late := [name for name in node.input if name not in known]:
                raise ArtifactError(
                    f"the node {label(node)} reads {late[0]}, which no earlier node makes",
                    hint="export the model again; ONNX requires nodes in the order of execution",
                )
            known.update(node.output)

    # --- tensors

    def producer_of(self, tensor: str) -> onnx.NodeProto | None:
        """The node that makes a tensor, ``SAME_VALUES`` skipped; None for inputs and constants."""
        node = self.producer.get(tensor)
        while node is not None and node.op_type in SAME_VALUES:
            node = self.producer.get(node.input[0])
        return node

    def readers_of(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, ``SAME_VALUES`` skipped."""
        found, waiting = [], [tensor]
        while waiting:
            for node in self.readers.get(waiting.pop(), []):
                if node.op_type in SAME_VALUES:
                    waiting.append(node.output[0])
                else:
                    found.append(node)
        return found

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is a constant."""
        return self._root(tensor) in self.constants

    def constant(self, tensor: str) -> NDArray[Any] | None:
        """The values of a constant; None for another tensor."""
        stored = self.constants.get(self._root(tensor))
        return None if stored is None else numpy_helper.to_array(stored)

    def dims(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a constant, before or behind a Q/DQ pair; None for another tensor."""
        if (pair := self.pair_making(tensor)) is not None:
            return pair.dims
        stored = self.constants.get(self._root(tensor))
        return None if stored is None else tuple(stored.dims)

    def stored_type(self, tensor: str) -> str:
        """The element type of a constant, e.g. ``"FLOAT16"``; empty for another tensor."""
        stored = self.constants.get(self._root(tensor))
        return "" if stored is None else _name(stored.data_type)

    def _root(self, tensor: str) -> str:
        while (node := self.producer.get(tensor)) is not None and node.op_type in SAME_VALUES:
            tensor = node.input[0]
        return tensor

    # --- Q/DQ pairs

    @property
    def pairs(self) -> list[QdqPair]:
        """All of them, in order."""
        return list(self._pairs.values())

    def pair_making(self, tensor: str) -> QdqPair | None:
        """The pair whose output a tensor is; None for another tensor."""
        node = self.producer_of(tensor)
        return None if node is None else self._pairs.get(node.output[0])

    def pairs_reading(self, tensor: str) -> list[QdqPair]:
        """The pairs that quantise a tensor."""
        quantisers = [n for n in self.readers_of(tensor) if n.op_type == QUANTIZE]
        return [
            self._pairs[b.output[0]]
            for n in quantisers
            for b in self.readers_of(n.output[0])
            if b.op_type == DEQUANTIZE
        ]

    def before_pair(self, tensor: str) -> str:
        """The tensor in front of the pair whose output a tensor is, or the tensor itself."""
        pair = self.pair_making(tensor)
        return tensor if pair is None else pair.source

    def _pair(self, dequantise: onnx.NodeProto) -> QdqPair:
        first = self.producer_of(dequantise.input[0])
        quantise = first if first is not None and first.op_type == QUANTIZE else None
        node = quantise or dequantise
        scale = self.constant(node.input[1])
        source = node.input[0]
        return QdqPair(
            node=node,
            source=source,
            output=dequantise.output[0],
            scale=None if scale is None else scale.astype(np.float64).reshape(-1),
            scale_type=self.stored_type(node.input[1]),
            zero_point=self._zero_point(node),
            has_zero_point=_has_zero_point(node),
            dtype=self._quantised_type(node, dequantise),
            axis=next((a.i for a in node.attribute if a.name == "axis"), 1),
            dims=None if self.constants.get(self._root(source)) is None else self.dims(source),
            is_stored=quantise is None,
        )

    def _zero_point(self, node: onnx.NodeProto) -> NDArray[np.int64] | None:
        values = self.constant(node.input[2]) if _has_zero_point(node) else None
        return None if values is None else values.astype(np.int64).reshape(-1)

    def _quantised_type(self, node: onnx.NodeProto, dequantise: onnx.NodeProto) -> str:
        if _has_zero_point(node):
            # Tracers may write a zero point as a cast of a constant of another type.
            maker = self.producer.get(node.input[2])
            if maker is not None and maker.op_type == "Cast":
                return _name(next(a.i for a in maker.attribute if a.name == "to"))
            return self.stored_type(node.input[2])
        if node is dequantise:
            return self.stored_type(dequantise.input[0])
        return next((_name(a.i) for a in node.attribute if a.name == "output_dtype" and a.i), "")

    # --- convolutions

    @property
    def convolutions(self) -> list[onnx.NodeProto]:
        """All of them, in order."""
        return [n for n in self.nodes if n.op_type in CONVOLUTIONS]

    @cached_property
    def outputs(self) -> dict[str, onnx.NodeProto]:
        """The detection outputs by their output: the convolutions on which no other convolution depends.

        A projection to one channel (the expectation of a distance in DFL) is part of the decode.
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
        """The convolutions that are neither detection outputs nor part of the decode."""
        return [
            n for n in self.convolutions if n.output[0] not in self.outputs and not self._is_projection(n)
        ]

    @cached_property
    def decoded(self) -> set[str]:
        """The outputs of the detection outputs, and every tensor that depends on them."""
        found = set(self.outputs)
        for node in self.nodes:
            if found & set(node.input):
                found.update(node.output)
        return found

    def computes_int8(self, conv: onnx.NodeProto) -> bool:
        """Whether a convolution's input and weights are quantised."""
        if conv.op_type == INTEGER_CONVOLUTION:
            return True
        return all(self.is_quantised(name) for name in conv.input[:2])

    def is_quantised(self, tensor: str) -> bool:
        """Whether a tensor is the output of a pair, directly or through ``PASSING`` nodes."""
        waiting, visited = [tensor], set()
        while waiting:
            name = waiting.pop()
            node = self.producer_of(name)
            if self.pair_making(name) is not None or name in visited:
                continue
            if node is None or node.op_type not in PASSING:
                return False
            visited.add(name)
            waiting += passed_on(node)
        return True

    @property
    def has_int8_activations(self) -> bool:
        """Whether any activation is quantised."""
        return any(pair.is_activation for pair in self._pairs.values())

    def activated(self, tensor: str) -> str:
        """The output of the activation behind a convolution's output, Q/DQ pairs within it skipped."""
        for node in self._past_pairs(tensor):
            if node.op_type in ACTIVATIONS and node.op_type != "Mul":
                if node.op_type != "Sigmoid":
                    return str(node.output[0])
                gated = [n for n in self._past_pairs(node.output[0]) if n.op_type == "Mul"]
                return str((gated or [node])[0].output[0])
        return tensor

    def _past_pairs(self, tensor: str) -> Iterator[onnx.NodeProto]:
        for node in self.readers_of(tensor):
            if node.op_type != QUANTIZE:
                yield node
        for pair in self.pairs_reading(tensor):
            yield from self.readers_of(pair.output)

    def _is_projection(self, node: onnx.NodeProto) -> bool:
        dims = self.dims(node.input[1]) if node.op_type in CONVOLUTIONS else None
        return dims is not None and dims[0] == 1

    def comes_from(self, tensor: str, ancestor: str) -> bool:
        """Whether a tensor depends on another one."""
        waiting, visited = [tensor], set()
        while waiting:
            name = waiting.pop()
            if name == ancestor:
                return True
            node = self.producer.get(name)
            if node is not None and name not in visited:
                visited.add(name)
                waiting += node.input
        return False


def label(node: onnx.NodeProto) -> str:
    """The name of a node, or of its output if it has none."""
    return str(node.name or (node.output[0] if node.output else node.op_type))


def _has_zero_point(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)) if kind in TensorProto.DataType.values() else ""


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
