"""Rules for the placement of Q/DQ pairs in the body, so that runtimes can fuse them into INT8 kernels."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from export.graph.index import passed_on
from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.qdq_graph import ACTIVATIONS, INTEGER_CONVOLUTION, QdqGraph, attribute, label

MIN_CHANNELS = 16  # INT8 kernels pad fewer channels; modelopt does not quantise such layers
MIN_SHARE = 0.8  # share of the body's convolutions that should be quantised


def _whole_input(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.body:
        has_input, has_weights = (graph.is_quantised(name) for name in conv.input[:2])
        if has_input and not has_weights:
            yield Finding(node=label(conv), what="its input is quantised, its weights are not")
        if has_weights and not has_input:
            yield Finding(node=label(conv), what="its weights are quantised, its input is not")


def _own_pair(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.convolutions:
        if _is_paired(graph, conv) and graph.pair_making(conv.input[0]) is None:
            maker = graph.producer_of(conv.input[0])
            yield Finding(node=label(conv), what=f"{label(maker or conv)} is between it and the pair")


def _on_conv_output(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.body:
        for pair in graph.pairs_reading(conv.output[0]):
            read = [n for n in graph.readers_of(pair.output) if n.op_type in ACTIVATIONS]
            if read:
                yield Finding(node=label(pair.node), what=f"is between {label(conv)} and its activation")


def _inside_silu(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type not in {"Sigmoid", "HardSigmoid"} or node.output[0] in graph.decoded:
            continue
        for pair in graph.pairs_reading(node.output[0]):
            if any(n.op_type == "Mul" for n in graph.readers_of(pair.output)):
                yield Finding(node=label(pair.node), what=f"is between {label(node)} and Mul")


def _open_output(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.body:
        if _is_paired(graph, conv) and not graph.pairs_reading(conv.output[0]):
            yield Finding(node=label(conv), what="its output is not quantised, so it computes in float")


def _residuals(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, str, str]]:
    """Residual additions of the body: the node, its shortcut, and the branch computed from the shortcut."""
    for node in graph.nodes:
        if (
            node.op_type != "Add"
            or node.output[0] in graph.decoded
            or any(map(graph.is_constant, node.input))
        ):
            continue
        for shortcut, branch in (tuple(node.input), tuple(node.input)[::-1]):
            if graph.comes_from(graph.before_pair(branch), graph.before_pair(shortcut)):
                yield node, shortcut, branch
                break


def _quantised_branch(graph: QdqGraph) -> Iterator[Finding]:
    for node, _, branch in _residuals(graph):
        if graph.pair_making(branch) is not None:
            yield Finding(
                node=label(node), what=f"{graph.before_pair(branch)} is quantised in front of the addition"
            )


def _float_shortcut(graph: QdqGraph) -> Iterator[Finding]:
    computes_int8 = {graph.activated(c.output[0]) for c in graph.convolutions if graph.computes_int8(c)}
    for node, shortcut, branch in _residuals(graph):
        if graph.before_pair(branch) in computes_int8 and graph.pair_making(shortcut) is None:
            yield Finding(node=label(node), what=f"the shortcut {shortcut} is not quantised")


def _concat_scales(graph: QdqGraph) -> Iterator[Finding]:
    for node in _of_body(graph, "Concat"):
        found = [pair for name in node.input if (pair := graph.pair_making(name)) is not None]
        if any(not found[0].same_parameters(other) for other in found[1:]):
            yield Finding(node=label(node), what=f"its {len(found)} quantised inputs have different scales")


def _concat_again(graph: QdqGraph) -> Iterator[Finding]:
    yield from _change_of_scale(graph, "Concat")


def _pool_scale(graph: QdqGraph) -> Iterator[Finding]:
    yield from _change_of_scale(graph, "MaxPool")


def _pool_input(graph: QdqGraph) -> Iterator[Finding]:
    for node in _of_body(graph, "MaxPool"):
        if graph.pairs_reading(node.output[0]) and not graph.is_quantised(node.input[0]):
            yield Finding(node=label(node), what="its input is float and its output quantised")


def _resize_scale(graph: QdqGraph) -> Iterator[Finding]:
    for kind in ("Resize", "Upsample"):
        yield from _change_of_scale(graph, kind)


def _quantised_twice(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        before = graph.pair_making(pair.source)
        if before is not None and not before.same_parameters(pair):
            yield Finding(
                node=label(pair.node), what=f"quantises the output of {label(before.node)} with another scale"
            )


def _small_channels(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.convolutions:
        dims = graph.dims(conv.input[1])
        if not graph.computes_int8(conv) or dims is None:
            continue
        inputs, outputs = dims[1] * int(attribute(conv, "group", 1)), dims[0]
        if min(inputs, outputs) < MIN_CHANNELS:
            yield Finding(node=label(conv), what=f"{inputs} channels in, {outputs} out")


def _body_share(graph: QdqGraph) -> Iterator[Finding]:
    body = graph.body
    int8 = sum(map(graph.computes_int8, body))
    if graph.has_int8_activations and int8 < MIN_SHARE * len(body):
        left = [label(conv) for conv in body if not graph.computes_int8(conv)]
        yield Finding(
            node=left[0],
            what=f"{int8} of {len(body)} convolutions of the body are quantised, this one is not",
        )


def _is_paired(graph: QdqGraph, conv: onnx.NodeProto) -> bool:
    """Whether a convolution computes in INT8 by Q/DQ pairs, and not by dynamic quantisation."""
    return conv.op_type != INTEGER_CONVOLUTION and graph.computes_int8(conv)


def _of_body(graph: QdqGraph, kind: str) -> Iterator[onnx.NodeProto]:
    return (n for n in graph.nodes if n.op_type == kind and n.output[0] not in graph.decoded)


def _change_of_scale(graph: QdqGraph, kind: str) -> Iterator[Finding]:
    """Nodes of a type whose output is quantised with another scale than their inputs."""
    for node in _of_body(graph, kind):
        before = [pair for name in passed_on(node) if (pair := graph.pair_making(name)) is not None]
        for after in graph.pairs_reading(node.output[0]):
            if any(not pair.same_parameters(after) for pair in before):
                yield Finding(node=label(node), what="the scales in front of it and behind it differ")


RULES: tuple[LintRule, ...] = (
    LintRule(
        id="convolution-wholly-rounded",
        name="input and weights of a convolution are both quantised, or neither",
        severities=on_tensorrt("warning", openvino="warning", onnx="note"),
        remedy="add the missing pair or remove the other one: as it is the layer computes in float",
        check=_whole_input,
    ),
    LintRule(
        id="convolution-own-pair",
        name="the pair of a convolution's input is directly in front of it",
        severities=on_tensorrt("warning"),
        remedy="repeat the pair, with the same scale, directly in front of the convolution",
        check=_own_pair,
    ),
    LintRule(
        id="convolution-output-open",
        name="nothing is quantised between a convolution and its activation",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="quantise the output of the activation, which the next convolution reads",
        check=_on_conv_output,
    ),
    LintRule(
        id="silu-whole",
        name="nothing is quantised inside a SiLU",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="keep Sigmoid and Mul in float and quantise the output of Mul",
        check=_inside_silu,
    ),
    LintRule(
        id="convolution-output-rounded-for-onnxruntime",
        name="the output of a convolution is quantised directly",
        severities={"onnx": "warning"},
        remedy="quantise the output of the convolution as well, as `edgestill export --to onnx --precision "
        "int8` does: ONNX Runtime has no INT8 convolution with float output",
        check=_open_output,
    ),
    LintRule(
        id="residual-branch-float",
        name="the branch of a residual addition is float",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="quantise the shortcut only, so that convolution and addition become one kernel",
        check=_quantised_branch,
    ),
    LintRule(
        id="residual-shortcut-rounded",
        name="the shortcut of a residual addition is quantised",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="let the addition read the quantised shortcut, which the first convolution reads already",
        check=_float_shortcut,
    ),
    LintRule(
        id="concat-one-scale",
        name="the inputs of a concat share one scale",
        severities=on_all_targets("note"),
        remedy="one scale for all inputs is faster and slightly less accurate: try both",
        check=_concat_scales,
    ),
    LintRule(
        id="concat-not-rounded-again",
        name="a concat of quantised inputs is not quantised again",
        severities=on_tensorrt("warning", openvino="warning"),
        remedy="quantise in front of the concat with one scale, or behind it, not both",
        check=_concat_again,
    ),
    LintRule(
        id="pool-same-scale",
        name="a max pool keeps its scale",
        severities=on_all_targets("warning"),
        remedy="give the pair behind the pool the scale of the one in front: the maximum of INT8 values is "
        "one of them",
        check=_pool_scale,
    ),
    LintRule(
        id="pool-rounded-before",
        name="the input of a max pool is quantised if its output is",
        severities=on_tensorrt("warning", openvino="note"),
        remedy="quantise in front of the pool with the scale behind it",
        check=_pool_input,
    ),
    LintRule(
        id="resize-same-scale",
        name="an upsampling keeps its scale",
        severities=on_all_targets("warning"),
        remedy="give the pair behind it the scale of the one in front, or remove one of them",
        check=_resize_scale,
    ),
    LintRule(
        id="rounded-once",
        name="nothing is quantised twice in a row",
        severities=on_all_targets("warning"),
        remedy="keep one of the two pairs",
        check=_quantised_twice,
    ),
    LintRule(
        id="enough-channels",
        name=f"quantised convolutions have {MIN_CHANNELS} or more input and output channels",
        severities=on_tensorrt("note"),
        remedy="measure this layer in FP16: INT8 kernels pad channels and may be slower",
        check=_small_channels,
    ),
    LintRule(
        id="body-in-bytes",
        name="the body is quantised",
        severities=on_all_targets("warning"),
        remedy="exclude the detection outputs and the decode only; excluding every Sigmoid splits a network "
        "with SiLU into parts that run in float",
        check=_body_share,
    ),
)
