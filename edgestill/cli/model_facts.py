"""What a model file needs from a device, read without running it; for ``edgestill doctor --for``."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from devices.deployment.question import ModelFacts
from edgestill.errors import ArtifactError
from edgestill.spec import Precision
from edgestill.target import Target

if TYPE_CHECKING:
    from onnx import ValueInfoProto

    from export.lint.qdq_graph import QdqGraph

#: Axes of an input image in the layout of PyTorch.
AXES = ("batch", "channels", "height", "width")


def read_model_facts(name: str, targets: Iterable[Target]) -> ModelFacts:
    """Read a model.

    Args:
        name: A model file, a checkpoint, or the name of shipped weights.
        targets: The targets whose lint rules an ONNX file must fulfil.

    Raises:
        ArtifactError: There is no such file, it is broken, or it is no model.
        DeviceError: An ONNX file is to be read and ``onnx`` is not installed.
    """
    from edgestill.checkpoint import read_checkpoint  # noqa: PLC0415
    from edgestill.manifest import read_manifest  # noqa: PLC0415
    from edgestill.shipped import checkpoint_folder, hint_for_missing  # noqa: PLC0415

    path = checkpoint_folder(name)
    if path.is_dir():
        read_checkpoint(path)
        return ModelFacts(name=name, format="checkpoint")
    if not path.is_file():
        raise ArtifactError(
            f"{path} does not exist",
            hint=hint_for_missing(path, "give a model file, a checkpoint, or `student`"),
        )
    if path.suffix == ".pt":
        return ModelFacts(name=name, format="checkpoint")
    if path.suffix == ".onnx":
        return _onnx(path, targets)
    if path.suffix not in {".xml", ".engine"}:
        raise ArtifactError(
            f"{path} is not a model file", hint="give an .onnx, .xml or .engine file, or a checkpoint"
        )
    manifest = read_manifest(path)
    return ModelFacts(
        name=path.name,
        format="openvino" if path.suffix == ".xml" else "engine",
        precision=manifest.precision if manifest else None,
        built_on=manifest.built_on if manifest else None,
    )


def _onnx(path: Path, targets: Iterable[Target]) -> ModelFacts:
    from edgestill.manifest import read_manifest  # noqa: PLC0415
    from export.lint.linter import LINT_NAMES, lint, read  # noqa: PLC0415

    graph = read(path)
    manifest = read_manifest(path)
    faults: dict[str, dict[str, None]] = {}
    for violation in lint(graph, list(targets)):
        for target, severity in violation.severities.items():
            if severity == "error":
                found = violation.finding
                told = f"{found.node}: {found.what}" if found.node else found.what
                faults.setdefault(LINT_NAMES[target], {})[f"{violation.rule.id} ({told})"] = None
    return ModelFacts(
        name=str(path),
        format="onnx",
        precision=manifest.precision if manifest else _precision(graph),
        opset=graph.opset,
        input_dtype=_input_dtype(graph),
        free_axes=_free_axes(graph),
        faults={target: _few(list(told)) for target, told in faults.items()},
    )


def _precision(graph: QdqGraph) -> Precision:
    """The precision of a graph of any exporter, by its Q/DQ pairs and the type of most of its weights."""
    from onnx import TensorProto  # noqa: PLC0415

    if graph.forms:
        return "int8"
    elements = {TensorProto.FLOAT16: 0, TensorProto.FLOAT: 0}
    for tensor in graph.constants.values():
        if tensor.data_type in elements:
            elements[tensor.data_type] += prod(tensor.dims)
    return "fp16" if elements[TensorProto.FLOAT16] > elements[TensorProto.FLOAT] else "fp32"


def _input(graph: QdqGraph) -> ValueInfoProto | None:
    """The first input that is no initializer."""
    return next((i for i in graph.model.graph.input if i.name not in graph.constants), None)


def _input_dtype(graph: QdqGraph) -> str | None:
    from onnx import TensorProto  # noqa: PLC0415

    image = _input(graph)
    names = {TensorProto.UINT8: "uint8", TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
    return None if image is None else names.get(image.type.tensor_type.elem_type)


def _free_axes(graph: QdqGraph) -> tuple[str, ...]:
    image = _input(graph)
    dims = image.type.tensor_type.shape.dim if image is not None else ()
    named = AXES if len(dims) == len(AXES) else tuple(f"axis {n}" for n in range(len(dims)))
    # Files of this project name their free axes, also where the channels are the last axis.
    return tuple(
        dim.dim_param if dim.dim_param in AXES else axis
        for axis, dim in zip(named, dims, strict=True)
        if not dim.HasField("dim_value")
    )


def _few(lines: list[str], most: int = 3) -> tuple[str, ...]:
    return (*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else []))
