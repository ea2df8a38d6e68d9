"""Rules for operators, opsets and shapes."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import defs

from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.qdq_graph import CONVOLUTIONS, QdqGraph, label
from runtime.onnx_guard.model import EXTENSIONS, STANDARD

PARSED_OPSETS = range(11, 21)  # read by TensorRT's parser in our tests
LAST_OPSET = 18  # Resize of opset 19 has no CUDA kernel in ONNX Runtime; its quantiser ends at 20
PER_CHANNEL_OPSET = 13
#: Integer operators in place of Q/DQ pairs, and dynamic quantisation.
OPERATOR_FORMAT = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"})


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
    for node in graph.nodes:
        if node.op_type in OPERATOR_FORMAT or node.op_type.startswith("QLinear"):
            yield Finding(node=label(node), what=f"{node.op_type} in place of a Q/DQ pair")


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
        remedy="export with opset 17; TensorRT 8.5 and 8.6 read no later one",
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
