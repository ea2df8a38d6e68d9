"""An ONNX file before it is trusted to an inference library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError, missing_library


def check_onnx(path: Path) -> None:
    """Refuse what is not an ONNX model, or reads files outside its folder.

    Raises:
        ArtifactError: The file is truncated, not ONNX, lacks its external data, or names external data
            that lies outside its folder.
        DeviceError: The ``onnx`` package is not installed.
    """
    try:
        import onnx  # noqa: PLC0415 (start-up time that OpenVINO's own files do not need)
    except ImportError as error:
        raise missing_library("reading an ONNX file", error.name, "onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no typed import
        raise ArtifactError(
            f"{path} is not an ONNX file, or it is truncated ({path.stat().st_size} bytes)",
            hint="copy it again, or export the model again",
        ) from error
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no ONNX graph", hint="export the model again")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_location(path, {e.key: e.value for e in tensor.external_data}.get("location", ""))


def _check_location(path: Path, location: str) -> None:
    folder = path.parent.resolve()
    target = (folder / location).resolve()  # follows links: a link out of the folder is out of the folder
    if not location or not target.is_relative_to(folder):
        raise ArtifactError(
            f"{path} reads external data outside its folder: {location or '(unnamed)'}",
            hint="do not run this file; export the model yourself",
        )
    if not target.is_file():
        raise ArtifactError(
            f"{path} needs its external data {location}, which is missing", hint="copy both files together"
        )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph stores, in sub-graphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
