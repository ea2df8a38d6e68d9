"""Rules for operators, opsets and shapes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import defs

from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.operator_forms import CONCAT, DEQUANTIZE, FORMS, INTEGER, QUANTIZE
from export.lint.qdq_graph import CONVOLUTIONS, QdqGraph, attribute, label
from runtime.onnx_guard.model import EXTENSIONS, STANDARD

PARSED_OPSETS = range(11, 21)  # read by TensorRT's parser in our tests
LAST_OPSET = 18  # Resize of opset 19 has no CUDA kernel in ONNX Runtime; its quantiser ends at 20
PER_CHANNEL_OPSET = 13
#: Operators that the rules understand in either form.
UNDERSTOOD = FORMS.keys() | INTEGER | {CONCAT, QUANTIZE, DEQUANTIZE}
#: Names of operators that quantise, e.g. FakeQuantize of OpenVINO, QAttention, MatMulNBits of ONNX Runtime.
QUANTISING = re.compile(r"Q[A-Z]|Quant|NBits")


def _parsed_opset(graph: QdqGraph) -> Iterator[Finding]:
    if graph.opset not in PARSED_OPSETS:
        yield Finding(node="", what=f"opset {graph.opset}")


def _late_opset(graph: QdqGraph) -> Iterator[Finding]:
    if graph.opset > LAST_OPSET:
        yield Finding(node="", what=f"opset {graph.opset}")


def _channels_before_opset(graph: QdqGraph) -> Iterator[Finding]:
    if graph.opset < PER_CHANNEL_OPSET:
        for pair in graph.pairs:
            if not pair.is_per_tensor:
                yield Finding(node=label(pair.node), what=f"scales by channel in opset {graph.opset}")


def _custom(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        known = node.domain in STANDARD and defs.has(node.op_type)
        if not known and node.op_type not in EXTENSIONS.get(node.domain, ()):
            yield Finding(node=label(node), what=f"{node.op_type} of {node.domain or 'ai.onnx'}")


def _suppression(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type == "NonMaxSuppression" or "NMS" in node.op_type:
            yield Finding(node=label(node), what=f"{node.op_type} is part of the graph")


def _operator_format(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.operators:
        yield Finding(node=label(node), what=f"{node.op_type} in place of a Q/DQ pair")


def _dynamic(graph: QdqGraph) -> Iterator[Finding]:
    found = [node for node in graph.operators if node.op_type in INTEGER]
    if found:
        kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(n.op_type for n in found).items())
        yield Finding(node=label(found[0]), what=f"{kinds}: ranges are measured in each run")


def _not_judged(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        inner = list(_inner_nodes(node))
        if inner:
            layers = sum(n.op_type in CONVOLUTIONS | FORMS.keys() for n in inner)
            what = (
                f"{node.op_type} with {len(inner)} nodes inside, {layers} of them convolutions or quantised"
            )
            yield Finding(node=label(node), what=f"{what}: the rules do not look into it")
        elif node.op_type not in UNDERSTOOD and QUANTISING.search(node.op_type):
            yield Finding(
                node=label(node), what=f"{node.op_type} quantises in a form that the rules do not know"
            )
        elif node.op_type in {QUANTIZE, DEQUANTIZE} and attribute(node, "block_size", 0):
            yield Finding(
                node=label(node), what="a scale for each block of values, which the rules do not know"
            )


def _inner_nodes(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the graphs inside a node, and inside those."""
    waiting = [node]
    while waiting:
        for attribute_of in waiting.pop().attribute:
            for graph in (attribute_of.g, *attribute_of.graphs):
                yield from graph.node
                waiting += graph.node


def _tanh(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type != "Tanh":
            continue
        before = graph.producer_of(graph.before_pair(node.input[0]))
        if before is not None and before.op_type == "Mul" and any(map(graph.is_constant, before.input)):
            before = next((m for name in before.input if (m := graph.producer_of(name)) is not None), None)
        if before is not None and before.op_type in CONVOLUTIONS:
            yield Finding(node=label(node), what=f"a SiLU written with Tanh behind {label(before)}")


def _free_shape(graph: QdqGraph) -> Iterator[Finding]:
    stored = {t.name for t in graph.model.graph.initializer}
    for value in graph.model.graph.input:
        sides = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
        if value.name not in stored and any(side is None or side <= 0 for side in sides):
            shown = ", ".join("?" if not side or side < 0 else str(side) for side in sides)
            yield Finding(node=value.name, what=f"[{shown}]")


RULES: tuple[LintRule, ...] = (
    LintRule(
        id="opset-parsed",
        name=f"the opset is one of {PARSED_OPSETS.start} to {PARSED_OPSETS.stop - 1}",
        severities=on_tensorrt("warning"),
        remedy="export with opset 17; TensorRT 8.5 and 8.6 read no later one, 8.2 no later one than 13",
        check=_parsed_opset,
    ),
    LintRule(
        id="opset-with-kernels",
        name=f"the opset is at most {LAST_OPSET}",
        severities=on_tensorrt("note", onnx="warning"),
        remedy="export with opset 17 or 18",
        check=_late_opset,
    ),
    LintRule(
        id="opset-of-channels",
        name=f"scales by channel need opset {PER_CHANNEL_OPSET} or later",
        severities=on_all_targets("error"),
        remedy="export with opset 17 and quantise again",
        check=_channels_before_opset,
    ),
    LintRule(
        id="no-custom-operators",
        name="all operators are of ONNX, or known ones of ONNX Runtime and OpenVINO",
        severities={**on_all_targets("error"), "tensorrt": "warning"},
        remedy="export without plugins: a plugin is native code that every machine needs",
        check=_custom,
    ),
    LintRule(
        id="no-suppression-inside",
        name="non-maximum suppression is not part of the graph",
        severities={"tensorrt-rtx": "error", "tensorrt": "warning", "openvino": "note", "onnx": "note"},
        remedy="export without NMS (nms=False) and run NMS on the output, as the runtime does: "
        "TensorRT-RTX parses it and cannot run it, EfficientNMS is deprecated since 10.12",
        check=_suppression,
    ),
    LintRule(
        id="pairs-not-operators",
        name="quantisation is written as QuantizeLinear and DequantizeLinear",
        severities=on_tensorrt("error", openvino="warning"),
        remedy="quantise with quant_format=QDQ, statically",
        check=_operator_format,
    ),
    LintRule(
        id="static-quantisation",
        name="ranges of activations are stored in the file",
        severities=on_tensorrt("error", openvino="warning", onnx="warning"),
        remedy="quantise statically with calibration images (`edgestill export --precision int8`, or "
        "quantize_static of ONNX Runtime, which advises it for convolutional networks): measuring each "
        "activation costs time in each run, and TensorRT has no such operators",
        check=_dynamic,
    ),
    LintRule(
        id="form-judged",
        name="the rules can read all of the file",
        severities=on_all_targets("warning"),
        remedy="judge these places by hand: no finding about them does not mean that they are right. Inline "
        "branches and loops, and write quantisation as QuantizeLinear and DequantizeLinear",
        check=_not_judged,
    ),
    LintRule(
        id="no-tanh-silu",
        name="a SiLU is Sigmoid and Mul",
        severities=on_tensorrt("warning"),
        remedy="keep the SiLU as it was exported: TensorRT 11.2 fuses one written with Tanh and computes "
        "wrong results without an error",
        check=_tanh,
    ),
    LintRule(
        id="fixed-shape",
        name="inputs have fixed shapes",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="export with a fixed shape; a free one needs a profile (--minShapes, --optShapes, "
        "--maxShapes), and OpenVINO has crashed on INT8 with one",
        check=_free_shape,
    ),
)
