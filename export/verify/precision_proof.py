"""Proof of precision: the data types that a file stores and its compiled model executes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgestill.errors import ArtifactError, VerificationError
from edgestill.target import FilePrecision
from runtime.backend import Backend
from runtime.onnx_guard.model import open_onnx

#: Share of convolutions and matrix products that must run in INT8; the detection outputs are float by design.
MIN_INT8_SHARE = 0.8
#: Share of convolutions and matrix products that must run in bf16 where the file is written.
MIN_BF16_SHARE = 0.8
#: Share of weight elements that must be stored as FP16; layers beyond its range stay FP32.
MIN_FP16_SHARE = 0.8
MIN_WEIGHT_ELEMENTS = 16  # fewer are scalars and shapes, not weights

Proof = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """Layers that were left at a higher precision on purpose; the proof does not count them.

    Attributes:
        layers: Number of convolutions.
        elements: Number of their weights.
    """

    layers: int = 0
    elements: int = 0


def prove(
    path: Path, backend: Backend, precision: FilePrecision, excluded: Excluded = Excluded()
) -> dict[str, dict[str, int]]:
    """Read the precision of a built file and compare it with the requested one.

    Args:
        path: The model file.
        backend: The same file, loaded.
        precision: The requested precision.
        excluded: Layers that were left at a higher precision on purpose.

    Returns:
        ``executed``: arithmetic layers of the compiled model by data type; ``stored``: weight elements of the
        file by data type. The two can differ: a CPU executes stored FP16 in FP32.

    Raises:
        VerificationError: The file is not of the requested precision.
    """
    proof = {"executed": backend.layers_by_dtype(), "stored": stored_elements(path)}
    if problem := _problem(proof, precision, excluded):
        raise VerificationError(
            f"{path.name} is not {precision}: {problem}",
            hint=f"edgestill inspect {path} lists the layers by precision",
        )
    return proof


def stored_elements(path: Path) -> dict[str, int]:
    """Weight elements of a model file by data type; empty for an engine, whose format is not public.

    Raises:
        ArtifactError: The file is neither ``.onnx``, ``.xml`` nor ``.engine``.
    """
    if path.suffix == ".engine":
        return {}
    count = {".onnx": _onnx_elements, ".xml": _openvino_elements}.get(path.suffix)
    if count is None:
        raise ArtifactError(f"{path} is neither .onnx nor .xml", hint="name a model file")
    return dict(count(path).most_common())


def _problem(proof: Proof, precision: FilePrecision, excluded: Excluded) -> str:
    executed, stored = proof["executed"], proof["stored"]
    layers, elements = sum(executed.values()), sum(stored.values())
    if precision == "int8" and executed.get("int8", 0) < MIN_INT8_SHARE * max(layers - excluded.layers, 1):
        return f"only {executed.get('int8', 0)} of {layers} layers run in int8"
    if precision == "fp16" and stored.get("float16", 0) < MIN_FP16_SHARE * max(
        elements - excluded.elements, 1
    ):
        return f"only {stored.get('float16', 0)} of {elements} weights are stored as float16"
    if precision == "bf16" and executed.get("bfloat16", 0) < MIN_BF16_SHARE * max(layers, 1):
        return f"its {layers} layers run as {dict(executed)}"
    if precision == "fp32" and (executed.get("float32", 0) < layers or not layers):
        return f"its {layers} layers run as {dict(executed)}"
    return ""


def _onnx_elements(path: Path) -> Counter[str]:
    graph = open_onnx(path, custom_operators=True).graph
    counts: Counter[str] = Counter()
    tensors = [*graph.initializer, *(n.attribute[0].t for n in graph.node if n.op_type == "Constant")]
    for tensor in tensors:
        elements = 1
        for side in tensor.dims:
            elements *= side
        if elements >= MIN_WEIGHT_ELEMENTS and len(tensor.dims) > 1:
            counts[onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name] += elements
    return counts


def _openvino_elements(path: Path) -> Counter[str]:
    import openvino  # noqa: PLC0415 (not needed for an ONNX file)

    counts: Counter[str] = Counter()
    names = {"f32": "float32", "f16": "float16", "i8": "int8", "u8": "uint8", "bf16": "bfloat16"}
    for op in openvino.Core().read_model(str(path)).get_ops():
        shape = list(op.get_output_shape(0)) if op.get_type_name() == "Constant" else []
        elements = 1
        for side in shape:
            elements *= side
        if len(shape) > 1 and elements >= MIN_WEIGHT_ELEMENTS:
            kind = op.get_output_element_type(0).get_type_name()
            counts[names.get(kind, kind)] += elements
    return counts
