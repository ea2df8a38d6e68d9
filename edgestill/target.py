"""Targets: what reads an exported file, in the words of ``edgestill export --to``."""

from __future__ import annotations

from typing import Literal, get_args

#: ONNX Runtime, OpenVINO, TensorRT, and TensorRT-RTX for GeForce and RTX cards.
Target = Literal["onnx", "openvino", "tensorrt", "tensorrt-rtx"]
#: Targets whose file is an engine: compiled for a GPU by a TensorRT library.
EngineTarget = Literal["tensorrt", "tensorrt-rtx"]
#: Targets with a Q/DQ placement of their own. TensorRT-RTX takes that of TensorRT.
QdqTarget = Literal["onnx", "openvino", "tensorrt"]

TARGETS: tuple[Target, ...] = get_args(Target)
ENGINE_TARGETS: tuple[EngineTarget, ...] = get_args(EngineTarget)
QDQ_TARGETS: tuple[QdqTarget, ...] = get_args(QdqTarget)


def engine_target(target: Target) -> EngineTarget | None:
    """The target itself if its file is an engine, else None."""
    return next((engine for engine in ENGINE_TARGETS if engine == target), None)


def qdq_target(target: Target) -> QdqTarget:
    """The target whose Q/DQ placement a target takes."""
    return "tensorrt" if target == "tensorrt-rtx" else target
