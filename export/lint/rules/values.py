"""What a rounding may look like: types, zero points, scales.

Sources: NVIDIA's explicit quantisation chapter
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/quantized-types-explicit-quantization.html),
and what the parser of TensorRT-RTX 1.7 accepts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgestill.quantization import overflows_int16
from export.lint.linter import Finding, LintRule, on_all_targets, on_tensorrt
from export.lint.qdq_graph import CONVOLUTIONS, QdqGraph, label
from export.lint.qdq_pair import QdqPair

BYTES_OF_TENSORRT = frozenset({"INT8", "FLOAT8E4M3FN", "FLOAT4E2M1"})
WEIGHTS_OF_TENSORRT = BYTES_OF_TENSORRT | {"INT4"}


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
        if pair.zero is not None and pair.zero.any():
            yield Finding(node=label(pair.node), what=f"zero point {pair.zero[0]} ({pair.kind})")


def _activation_type(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        if pair.kind and pair.kind not in BYTES_OF_TENSORRT:
            yield Finding(node=label(pair.node), what=f"rounds to {pair.kind}")


def _activation_per_tensor(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        if not pair.is_per_tensor and pair.scale is not None:
            yield Finding(node=label(pair.node), what=f"{pair.scale.size} scales for what is computed")


def _signed_activation(graph: QdqGraph) -> Iterator[Finding]:
    for pair in _activations(graph):
        at_zero = pair.zero is None or not pair.zero.any()
        read = [n for n in graph.readers_of(pair.output) if n.op_type in CONVOLUTIONS]
        if pair.kind == "INT8" and at_zero and read:
            yield Finding(node=label(pair.node), what=f"signed bytes about zero go into {label(read[0])}")


def _weight_zero_point(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        if pair.zero is not None and pair.zero.any():
            zero = pair.zero[np.flatnonzero(pair.zero)[0]]
            yield Finding(node=label(pair.node), what=f"zero point {zero} ({pair.kind})")


def _weight_type(graph: QdqGraph) -> Iterator[Finding]:
    for pair, _ in _weights(graph):
        if pair.kind and pair.kind not in WEIGHTS_OF_TENSORRT:
            yield Finding(node=label(pair.node), what=f"weights are {pair.kind}")


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
        stored = graph.constant(pair.source) if pair.is_stored and pair.kind == "INT8" else None
        unsigned = (graph.pair_making(node.input[0]) for node in graph.readers_of(pair.output))
        if stored is None or not any(a and a.kind == "UINT8" for a in unsigned):
            continue
        if overflows_int16(stored):
            largest = np.abs(stored.astype(np.int16)).max()
            yield Finding(node=label(pair.node), what=f"bytes up to {largest}, two of which may be added")


def _integer_bias(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.kind == "INT32" and not pair.is_activation:
            yield Finding(node=label(pair.node), what=f"{pair.source} is a bias of 32-bit integers")


def _sane_scale(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.scale is None:
            yield Finding(node=label(pair.node), what="the scale is computed, not stored")
        elif not (np.isfinite(pair.scale) & (pair.scale > 0)).all():
            wrong = pair.scale[~(np.isfinite(pair.scale) & (pair.scale > 0))][0]
            yield Finding(node=label(pair.node), what=f"a scale of {wrong:g}")


def _half_scale(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if pair.scale_type in {"FLOAT16", "BFLOAT16"}:
            yield Finding(node=label(pair.node), what=f"its scale is stored as {pair.scale_type}")


def _missing_zero(graph: QdqGraph) -> Iterator[Finding]:
    for pair in graph.pairs:
        if not pair.has_zero and not pair.kind:
            yield Finding(node=label(pair.node), what="no zero point, and so no type")


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
        remedy="calibrate symmetrically: signed bytes with zero point 0 (ActivationSymmetric=True in ONNX "
        "Runtime's quantiser)",
        check=_activation_zero_point,
    ),
    LintRule(
        id="activation-type",
        name="activations are signed bytes",
        severities=on_tensorrt("error"),
        remedy="round to INT8 (activation_type=QInt8 in ONNX Runtime's quantiser): NVIDIA describes no other "
        "bytes, though the parser of TensorRT-RTX 1.7 takes UINT8 with zero point 0 without a word",
        check=_activation_type,
    ),
    LintRule(
        id="activation-per-tensor",
        name="activations have one scale",
        severities=on_tensorrt("warning", onnx="warning"),
        remedy="give what is computed one scale; only weights may have one for each channel",
        check=_activation_per_tensor,
    ),
    LintRule(
        id="activation-signed-on-openvino",
        name="activations of convolutions are unsigned bytes with a zero point",
        severities={"openvino": "error"},
        remedy="export for openvino: its CPU plugin runs signed bytes about zero fast and wrongly (mAP50-95 "
        "of 0.01 to 0.06 where the float file has 0.32)",
        check=_signed_activation,
    ),
    LintRule(
        id="weight-zero-point",
        name="weights have zero point 0",
        severities=on_tensorrt("error"),
        remedy="round weights symmetrically (WeightSymmetric=True in ONNX Runtime's quantiser)",
        check=_weight_zero_point,
    ),
    LintRule(
        id="weight-type",
        name="weights are signed bytes",
        severities=on_tensorrt("error"),
        remedy="round weights to INT8 (weight_type=QInt8 in ONNX Runtime's quantiser)",
        check=_weight_type,
    ),
    LintRule(
        id="weight-bits",
        name="two weights beside unsigned bytes fit 16 bits together",
        severities={"onnx": "note", "openvino": "note"},
        remedy="nothing is wrong on ARM, nor on an x86 CPU with VNNI. Others cut off sums of products: for "
        "them let edgestill export the file, or set reduce_range=True in ONNX Runtime's quantiser",
        check=_weight_bits,
    ),
    LintRule(
        id="weight-axis",
        name="scales of weights lie along the output channels",
        severities=on_tensorrt("error", onnx="warning"),
        remedy="set axis to 0 for Conv, 1 for ConvTranspose",
        check=_weight_axis,
    ),
    LintRule(
        id="weight-per-channel",
        name="weights have one scale for each output channel",
        severities=on_all_targets("warning"),
        remedy="quantise weights per channel (per_channel=True): it costs no time and loses less",
        check=_weight_per_channel,
    ),
    LintRule(
        id="integer-bias",
        name="biases stay in float",
        severities=on_tensorrt("error"),
        remedy="leave biases alone (QuantizeBias=False in ONNX Runtime's quantiser)",
        check=_integer_bias,
    ),
    LintRule(
        id="scale-sane",
        name="scales are constants, finite and above zero",
        severities=on_all_targets("error"),
        remedy="calibrate again; a tensor or channel that was always zero needs a small positive scale",
        check=_sane_scale,
    ),
    LintRule(
        id="scale-half",
        name="scales are stored in FP32",
        severities=on_tensorrt("note"),
        remedy="nothing is wrong: the parser widens them, with a warning for each",
        check=_half_scale,
    ),
    LintRule(
        id="zero-point-given",
        name="the type of the bytes is written down",
        severities=on_all_targets("warning"),
        remedy="give each QuantizeLinear a zero point of its type: without, ONNX says UINT8, TensorRT INT8",
        check=_missing_zero,
    ),
    LintRule(
        id="weights-stored-in-bytes",
        name="weights are stored as bytes",
        severities=on_all_targets("note"),
        remedy="nothing is wrong: with the rounded weights and a DequantizeLinear alone, the file is a "
        "quarter as large",
        check=_float_weights,
    ),
)
