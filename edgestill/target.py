"""Targets and precisions of exported files, in the words of ``edgestill export``."""

from __future__ import annotations

from typing import Literal, get_args

from edgestill.errors import UsageError
from edgestill.spec import Precision

#: ONNX Runtime, OpenVINO, TensorRT, and TensorRT-RTX for GeForce and RTX cards.
Target = Literal["onnx", "openvino", "tensorrt", "tensorrt-rtx"]
#: Targets whose file is an engine: compiled for a GPU by a TensorRT library.
EngineTarget = Literal["tensorrt", "tensorrt-rtx"]
#: Targets with a Q/DQ placement of their own. TensorRT-RTX takes that of TensorRT.
QdqTarget = Literal["onnx", "openvino", "tensorrt"]
#: Of the computation of a file. ``bf16`` is for OpenVINO on CPUs: others have no such kernels, or choose them
#: by a flag of their own.
FilePrecision = Literal["fp32", "fp16", "bf16", "int8"]

TARGETS: tuple[Target, ...] = get_args(Target)
ENGINE_TARGETS: tuple[EngineTarget, ...] = get_args(EngineTarget)
QDQ_TARGETS: tuple[QdqTarget, ...] = get_args(QdqTarget)
FILE_PRECISIONS: tuple[FilePrecision, ...] = get_args(FilePrecision)


def engine_target(target: Target) -> EngineTarget | None:
    """The target itself if its file is an engine, else None."""
    return next((engine for engine in ENGINE_TARGETS if engine == target), None)


def qdq_target(target: Target) -> QdqTarget:
    """The target whose Q/DQ placement a target takes."""
    return "tensorrt" if target == "tensorrt-rtx" else target


def without_bf16(precision: FilePrecision) -> Precision:
    """The precision of a file that is not for OpenVINO.

    Raises:
        UsageError: It is bf16.
    """
    if precision == "bf16":
        raise UsageError("bf16 is for OpenVINO files", hint="--to openvino, or --precision fp16")
    return precision
