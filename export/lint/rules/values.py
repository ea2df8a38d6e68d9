"""Rules for types, zero points and scales of Q/DQ pairs.

Sources: NVIDIA's explicit quantisation chapter
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html),
and the behaviour of the parser of TensorRT-RTX 1.7.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgestill.quantization import overflows_int16
from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.qdq_graph import CONVOLUTIONS, QdqGraph, label
from export.lint.qdq_pair import QdqPair

TENSORRT_TYPES = frozenset({"INT8", "FLOAT8E4M3FN", "FLOAT4E2M1"})
TENSORRT_WEIGHT_TYPES = TENSORRT_TYPES | {"INT4"}


def _activations(graph: QdqGraph) -> Iterator[QdqPair]:
    return (pair for pair in graph.pairs if pair.is_activation)


def _weights(graph: QdqGraph) -> Iterator[tuple[QdqPair, str]]:
    """The pairs of weights, with the operator that reads them."""
    for pair in graph.pairs:
        for reader in graph.readers_of(pair.output):
            if not pair.is_activation and reader.op_type in CONVOLUTIONS and _reads(graph, reader, 1, pair):
                yield pair, str(reader.op_type)


def _reads(graph: QdqGraph, node: object, place: int, pair: QdqPair) -> bool:
    return graph.pair_making(node.input[place]) is pair  # type: ignore[attr-defined]


def _activation_zero_point(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        if pair.zero_point is not None and pair.zero_point.any():
            yield Finding(node=label(pair.node), what=f"zero point {pair.zero_point[0]} ({pair.dtype})")


def _activation_type(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        if pair.dtype and pair.dtype not in TENSORRT_TYPES:
            yield Finding(node=label(pair.node), what=f"quantises to {pair.dtype}")


def _activation_per_tensor(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        if not pair.is_per_tensor and pair.scale is not None:
            yield Finding(node=label(pair.node), what=f"{pair.scale.size} scales for an activation")


def _signed_activation(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        at_zero = pair.zero_point is None or not pair.zero_point.any()
        read = [n for n in graph.readers_of(pair.output) if n.op_type in CONVOLUTIONS]
        if pair.dtype == "INT8" and at_zero and read:
            yield Finding(node=label(pair.node), what=f"{label(read[0])} reads INT8 with zero point 0")


def _weight_zero_point(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        if pair.zero_point is not None and pair.zero_point.any():
            zero = pair.zero_point[np.flatnonzero(pair.zero_point)[0]]
            yield Finding(node=label(pair.node), what=f"zero point {zero} ({pair.dtype})")


def _weight_type(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        if pair.dtype and pair.dtype not in TENSORRT_WEIGHT_TYPES:
            yield Finding(node=label(pair.node), what=f"weights are {pair.dtype}")


def _weight_axis(graph: QdqGraph) -> Iterator[Finding]:
    for pair, operator in _weights(graph):
        wanted = 1 if operator == "ConvTranspose" else 0
        if not pair.is_per_tensor and pair.axis % len(pair.dims or (0,)) != wanted:
            yield Finding(node=label(pair.node), what=f"scales along axis {pair.axis}, outputs are {wanted}")


def _weight_per_channel(graph: QdqGraph) -> Iterator[Finding]:
    for pair, operator in _weights(graph):
        channels = (pair.dims or (1, 1))[1 if operator == "ConvTranspose" else 0]
        if pair.is_per_tensor and pair.scale is not None and channels > 1:
            yield Finding(node=label(pair.node), what=f"one scale for {channels} output channels")


def _weight_bits(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        stored = graph.constant(pair.source) if pair.is_stored and pair.dtype == "INT8" else None
        unsigned = (graph.pair_making(node.input[0]) for node in graph.readers_of(pair.output))
        if stored is None or not any(a and a.dtype == "UINT8" for a in unsigned):
            continue
        if overflows_int16(stored):
            largest = np.abs(stored.astype(np.int16)).max()
            yield Finding(
                node=label(pair.node), what=f"weights up to {largest}, pairs of which can saturate INT16"
            )


def _integer_bias(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.dtype == "INT32" and not pair.is_activation:
            yield Finding(node=label(pair.node), what=f"{pair.source} is an INT32 bias")


def _sane_scale(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.scale is None:
            yield Finding(node=label(pair.node), what="the scale is not a constant")
        elif not (np.isfinite(pair.scale) & (pair.scale > 0)).all():
            wrong = pair.scale[~(np.isfinite(pair.scale) & (pair.scale > 0))][0]
            yield Finding(node=label(pair.node), what=f"a scale of {wrong:g}")


def _half_scale(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.scale_type in {"FLOAT16", "BFLOAT16"}:
            yield Finding(node=label(pair.node), what=f"its scale is stored as {pair.scale_type}")


def _missing_zero(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if not pair.has_zero_point and not pair.dtype:
            yield Finding(node=label(pair.node), what="no zero point, and therefore no type")


def _float_weights(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        if not pair.is_stored:
            yield Finding(
                node=label(pair.node), what=f"{pair.source} is stored in float, {list(pair.dims or ())}"
            )


RULES: tuple[LintRule, ...] = (
    LintRule(
        id="activation-zero-point",
        name="activations have zero point 0",
        severities=on_tensorrt("error"),
        remedy="calibrate symmetrically: INT8 with zero point 0 (ActivationSymmetric=True in ONNX Runtime's "
        "quantiser)",
        check=_activation_zero_point,
    ),
    LintRule(
        id="activation-type",
        name="activations are INT8",
        severities=on_tensorrt("error"),
        remedy="quantise to INT8 (activation_type=QInt8 in ONNX Runtime's quantiser): NVIDIA documents no "
        "other 8-bit integer, though the parser of TensorRT-RTX 1.7 accepts UINT8 with zero point 0",
        check=_activation_type,
    ),
    LintRule(
        id="activation-per-tensor",
        name="activations have one scale",
        severities=on_tensorrt("warning", onnx="warning"),
        remedy="use one scale for an activation; only weights may have one for each channel",
        check=_activation_per_tensor,
    ),
    LintRule(
        id="activation-signed-on-openvino",
        name="activations of convolutions are UINT8 with a zero point",
        severities={"openvino": "error"},
        remedy="export for openvino: its CPU plugin computes wrong results with symmetric INT8 (mAP50-95 of "
        "0.01 to 0.06 where the float file has 0.32)",
        check=_signed_activation,
    ),
    LintRule(
        id="weight-zero-point",
        name="weights have zero point 0",
        severities=on_tensorrt("error"),
        remedy="quantise weights symmetrically (WeightSymmetric=True in ONNX Runtime's quantiser)",
        check=_weight_zero_point,
    ),
    LintRule(
        id="weight-type",
        name="weights are INT8",
        severities=on_tensorrt("error"),
        remedy="quantise weights to INT8 (weight_type=QInt8 in ONNX Runtime's quantiser)",
        check=_weight_type,
    ),
    LintRule(
        id="weight-bits",
        name="products of two weights and UINT8 activations fit INT16",
        severities={"onnx": "note", "openvino": "note"},
        remedy="correct on ARM and on x86 with VNNI. Other x86 CPUs saturate sums of products: for them let "
        "edgestill export the file, or set reduce_range=True in ONNX Runtime's quantiser",
        check=_weight_bits,
    ),
    LintRule(
        id="weight-axis",
        name="scales of weights are along the output channels",
        severities=on_tensorrt("error", onnx="warning"),
        remedy="set axis to 0 for Conv, 1 for ConvTranspose",
        check=_weight_axis,
    ),
    LintRule(
        id="weight-per-channel",
        name="weights have one scale for each output channel",
        severities=on_all_targets("warning"),
        remedy="quantise weights per channel (per_channel=True): it is as fast and more accurate",
        check=_weight_per_channel,
    ),
    LintRule(
        id="integer-bias",
        name="biases are float",
        severities=on_tensorrt("error"),
        remedy="do not quantise biases (QuantizeBias=False in ONNX Runtime's quantiser)",
        check=_integer_bias,
    ),
    LintRule(
        id="scale-sane",
        name="scales are constants, finite and above zero",
        severities=on_all_targets("error"),
        remedy="calibrate again; a tensor or channel of zeros needs a small positive scale",
        check=_sane_scale,
    ),
    LintRule(
        id="scale-half",
        name="scales are stored in FP32",
        severities=on_tensorrt("note"),
        remedy="no action needed: the parser converts them, with a warning for each",
        check=_half_scale,
    ),
    LintRule(
        id="zero-point-given",
        name="the type of quantised values is explicit",
        severities=on_all_targets("warning"),
        remedy="give each QuantizeLinear a zero point of its type: the default is UINT8 in ONNX, INT8 in "
        "TensorRT",
        check=_missing_zero,
    ),
    LintRule(
        id="weights-stored-in-bytes",
        name="weights are stored as integers",
        severities=on_all_targets("note"),
        remedy="no action needed: with quantised weights and DequantizeLinear only, the file is a quarter of "
        "the size",
        check=_float_weights,
    ),
)
