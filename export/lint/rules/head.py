"""Rules for the parts that must not be quantised: detection outputs and decode."""

from __future__ import annotations

from collections.abc import Iterator

from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.qdq_graph import QdqGraph, label


def _outputs_in_bytes(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.outputs.values():
        if graph.computes_int8(conv):
            yield Finding(node=label(conv), what="it is a detection output and is quantised")


def _decode_in_bytes(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.is_activation and pair.source in graph.decoded:
            yield Finding(node=label(pair.node), what=f"{pair.source} is part of the decode and is quantised")


def _outputs_in_single(graph: QdqGraph) -> Iterator[Finding]:
    for conv in graph.outputs.values() if graph.has_int8_activations else ():
        if not graph.computes_int8(conv) and graph.stored_type(conv.input[1]) == "FLOAT":
            yield Finding(node=label(conv), what="it computes in FP32 behind an INT8 body")


RULES: tuple[LintRule, ...] = (
    LintRule(
        id="detection-outputs-float",
        name="detection outputs are float",
        severities=on_tensorrt("error", openvino="warning", onnx="warning"),
        remedy="exclude them from quantisation (in YOLOv5 model.24.m.*, in YOLOv5u and YOLOv8 cv2.*.2 and "
        "cv3.*.2): they are a small share of the work, and quantisation harms scores",
        check=_outputs_in_bytes,
    ),
    LintRule(
        id="decode-float",
        name="nothing is quantised behind the detection outputs",
        severities=on_all_targets("error"),
        remedy="exclude all nodes behind the last convolutions: an INT8 scale for boxes of 640 pixels leaves "
        "no precision for scores",
        check=_decode_in_bytes,
    ),
    LintRule(
        id="detection-outputs-half",
        name="detection outputs are FP16 behind an INT8 body",
        severities=on_tensorrt("warning"),
        remedy="store their weights as FLOAT16: a strongly typed engine runs FP32 weights in FP32",
        check=_outputs_in_single,
    ),
)
