"""Quantised operators of ONNX Runtime in the form of Q/DQ pairs, so that every lint rule sees them.

A ``QLinearConv`` computes what DequantizeLinear, Conv and QuantizeLinear compute, and so on for the others
that ``quant_format=QOperator`` writes. Operators that pass bytes on unchanged get pairs of the same scale.
``ConvInteger`` and the other ``*Integer`` operators of dynamic quantisation have no constant scale and stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorForm:
    """Where a quantised operator has its operands.

    Attributes:
        operator: The float operator that it stands for.
        operands: By operand, the places of its values, scale and zero point among the inputs.
        result: The places of scale and zero point of the result; None for a float result.
        first: Inputs in front of the operands that are passed on, e.g. a condition.
    """

    operator: str
    operands: tuple[tuple[int, int, int], ...]
    result: tuple[int, int] | None
    first: tuple[int, ...] = ()


ONE = ((0, 1, 2),)
TWO = ((0, 1, 2), (3, 4, 5))
FORMS: Mapping[str, OperatorForm] = {
    "QLinearConv": OperatorForm(operator="Conv", operands=TWO, result=(6, 7)),
    "QLinearMatMul": OperatorForm(operator="MatMul", operands=TWO, result=(6, 7)),
    "QLinearAdd": OperatorForm(operator="Add", operands=TWO, result=(6, 7)),
    "QLinearMul": OperatorForm(operator="Mul", operands=TWO, result=(6, 7)),
    "QGemm": OperatorForm(operator="Gemm", operands=TWO, result=(7, 8)),
    "QLinearWhere": OperatorForm(
        operator="Where", operands=((1, 2, 3), (4, 5, 6)), result=(7, 8), first=(0,)
    ),
    **{
        f"QLinear{name}": OperatorForm(operator=name, operands=ONE, result=(3, 4))
        for name in ("Sigmoid", "LeakyRelu", "Softmax", "AveragePool", "GlobalAveragePool", "ReduceMean")
    },
}
CONCAT = "QLinearConcat"  # scale and zero point of the result, then those of each operand behind it
#: Operators that compute in integers with scales of their own, or measured in each run.
DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul"})
INTEGER = DYNAMIC | {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"}
#: Operators that pass bytes on unchanged, as they stand between quantised operators.
PASSING_BYTES = frozenset(
    {
        *(
            "Concat",
            "Flatten",
            "Gather",
            "MaxPool",
            "NhwcMaxPool",
            "Pad",
            "Reshape",
            "Resize",
            "Slice",
            "Split",
        ),
        *("Squeeze", "Transpose", "Unsqueeze", "Upsample"),
    }
)
#: Values of a Constant that are numbers in place of a tensor, and their types.
NUMBERS = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
WEIGHT_AXIS = {"Conv": 0, "MatMul": 1, "Gemm": 1}  # of the output channels, for one scale a channel


def as_pairs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """A model with Q/DQ pairs in place of its quantised operators; the model itself if it has none.

    Returns:
        The model for the rules, which is not made to be run, and the operators of the original that are no
        pairs: those that were replaced, and those of dynamic quantisation.
    """
    nodes = model.graph.node
    odd = [n for n in nodes if n.op_type in FORMS or n.op_type in INTEGER or n.op_type == CONCAT]
    quantised = {n.output[0] for n in nodes if n.op_type == QUANTIZE}
    passed = any(n.op_type in PASSING_BYTES and quantised.intersection(n.input) for n in nodes)
    numbers = any(a.name in NUMBERS for n in nodes if n.op_type == "Constant" for a in n.attribute)
    if not passed and not numbers and all(n.op_type in INTEGER for n in odd):
        return model, odd
    return _Rewriter(model).run(), odd


def written_forms(model: onnx.ModelProto) -> list[str]:
    """How a file writes quantisation: ``pairs``, ``operators``, ``dynamic``; empty for a float file."""
    kinds = {n.op_type for n in model.graph.node}
    floats = {n.output[0] for n in model.graph.node if n.op_type == DEQUANTIZE}
    layers = {"Conv", "ConvTranspose", *WEIGHT_AXIS}
    found = {
        "pairs": any(n.op_type in layers and floats.intersection(n.input) for n in model.graph.node),
        "operators": bool(kinds & (FORMS.keys() | {CONCAT})),
        "dynamic": bool(kinds & INTEGER),
    }
    return [form for form, is_there in found.items() if is_there]


class _Rewriter:
    """Copies the nodes of a graph in order, with pairs around what computes in bytes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes: list[onnx.NodeProto] = []
        self._parameters: dict[str, list[str]] = {}  # scale and zero point of each tensor of bytes
        self._floats: dict[tuple[str, ...], str] = {}  # dequantised tensors, by tensor, scale and zero point

    def run(self) -> onnx.ModelProto:
        for node in self._model.graph.node:
            self._copy(node)
        made = onnx.ModelProto()
        made.CopyFrom(self._model)
        del made.graph.node[:]
        made.graph.node.extend(self._nodes)
        return made

    def _copy(self, node: onnx.NodeProto) -> None:
        if node.op_type in FORMS:
            self._expand(node, FORMS[node.op_type])
        elif node.op_type == CONCAT:
            places = tuple((i, i + 1, i + 2) for i in range(2, len(node.input) - 2, 3))
            self._expand(node, OperatorForm(operator="Concat", operands=places, result=(0, 1)))
        elif node.op_type in PASSING_BYTES and node.input[0] in self._parameters:
            self._pass_on(node)
        elif node.op_type == DEQUANTIZE and tuple(node.input) in self._floats:
            again = self._floats[tuple(node.input)]
            self._nodes.append(helper.make_node("Identity", [again], list(node.output), name=node.name))
        elif node.op_type == "Constant":
            self._nodes.append(_as_tensor(node))
        else:
            if node.op_type == QUANTIZE:
                self._parameters[node.output[0]] = list(node.input[1:])
            elif node.op_type == DEQUANTIZE:
                self._floats[tuple(node.input)] = node.output[0]
            self._nodes.append(node)

    def _expand(self, node: onnx.NodeProto, form: OperatorForm) -> None:
        """The float operator of a quantised one, between pairs."""
        axis = WEIGHT_AXIS.get(form.operator)
        inputs = [node.input[i] for i in form.first]
        for place, operand in enumerate(form.operands):
            values = [name for i in operand if (name := _input(node, i))]
            inputs.append(self._dequantised(values, axis if place == 1 else None))
        parameters = [name for i in form.result or () if (name := _input(node, i))]
        self._compute(node, form.operator, inputs, parameters)

    def _pass_on(self, node: onnx.NodeProto) -> None:
        """An operator that passes bytes on: the same on floats, with the same scale behind it."""
        parameters = self._parameters[node.input[0]]
        inputs = [
            self._dequantised([name, *self._parameters[name]], None) if name in self._parameters else name
            for name in node.input
        ]
        self._compute(node, node.op_type.removeprefix("Nhwc"), inputs, parameters)

    def _compute(
        self, node: onnx.NodeProto, operator: str, inputs: Sequence[str], parameters: list[str]
    ) -> None:
        """A float operator with the node's name, and the quantisation of each of its results."""
        name = node.name or node.output[0]
        made = [f"{output}.float" if parameters and output else output for output in node.output]
        computed = helper.make_node(operator, list(inputs), made, name=name)
        computed.attribute.extend(node.attribute)
        self._nodes.append(computed)
        for result, output in zip(made, node.output, strict=True):
            if parameters and output:
                self._nodes.append(helper.make_node(QUANTIZE, [result, *parameters], [output], name=name))
                self._parameters[output] = parameters

    def _dequantised(self, values: list[str], axis: int | None) -> str:
        """The float tensor of values, scale and zero point."""
        key = tuple(values)
        if key not in self._floats:
            name = f"{values[0]}.dequantised.{len(self._floats)}"
            attributes = {} if axis is None else {"axis": axis}
            self._nodes.append(helper.make_node(DEQUANTIZE, values, [name], name=values[0], **attributes))
            self._floats[key] = name
        return self._floats[key]


def _input(node: onnx.NodeProto, place: int) -> str:
    """An input's name; empty if the node leaves it out."""
    return node.input[place] if place < len(node.input) else ""


def _as_tensor(node: onnx.NodeProto) -> onnx.NodeProto:
    """A Constant whose value is a tensor, also where it is written as numbers."""
    for attribute in node.attribute:
        if attribute.name in NUMBERS:
            value = np.asarray(helper.get_attribute_value(attribute), NUMBERS[attribute.name])
            tensor = numpy_helper.from_array(value, "")
            return helper.make_node("Constant", [], list(node.output), name=node.name, value=tensor)
    return node
