"""Validation of an untrusted ONNX file before an inference library loads it; all readers use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError, missing_library
from runtime.onnx_guard.tensors import check_tensors
from runtime.onnx_guard.wire_scan import MAX_FIELDS, scan

SUFFIX = ".onnx"
MAX_FILE_BYTES = 2 << 30  # protobuf's own limit
MAX_VALUES = 1 << 28  # elements of an input, output or intermediate value: 1 GiB in FP32
MAX_CALL_DEPTH = 32  # of calls between functions

STANDARD = frozenset({"", "ai.onnx"})
#: Allowed operators that are not ONNX's own, by domain: those that quantisers and optimisers write. Others of
#: these domains read files or load engines (``EPContext``); other domains need a library of native code.
EXTENSIONS: Mapping[str, frozenset[str]] = {
    "com.microsoft": frozenset(
        {
            *("QuantizeLinear", "DequantizeLinear", "QLinearAdd", "QLinearMul", "QLinearConcat"),
            *("QLinearConv", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearWhere"),
            *("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearReduceMean", "QGemm"),
            *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "NhwcMaxPool"),
            *("FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "QuickGelu", "FastGelu", "BiasGelu"),
        }
    ),
    "org.openvinotoolkit": frozenset({"FakeQuantize"}),
}


def check_onnx(path: Path) -> None:
    """Validate a file with ``open_onnx``, for a library that then reads the file itself."""
    open_onnx(path)


def open_onnx(path: Path, *, custom_operators: bool = False) -> Any:
    """Read and validate an ONNX file; external data is checked but not loaded.

    Args:
        path: The file.
        custom_operators: Whether operators that are not on the list are allowed, for inspection only.

    Returns:
        The ``onnx.ModelProto``.

    Raises:
        ArtifactError: The file is truncated, not ONNX or too large; tensors do not have their declared sizes;
            an operator is not on the list; or external data is missing or outside the folder of the file.
        DeviceError: The ``onnx`` package is not installed.
    """
    model = _parse(path)
    if not model.graph.node:
        raise ArtifactError(f"{path} holds no ONNX graph", hint="export the model again")
    _check_calls(path, model)
    nodes = list(_nodes(model))
    if not custom_operators:
        _check_operators(path, model, nodes)
    _check_arity(path, model, nodes)
    _check_declared(path, model)
    check_tensors(path, _tensors(model, nodes))
    return model


def _parse(path: Path) -> Any:
    try:
        import onnx  # noqa: PLC0415 (slow to import, and not needed for OpenVINO's own files)
    except ImportError as error:
        raise missing_library("reading an ONNX file", error.name, "onnx") from error
    if path.suffix != SUFFIX or not path.is_file():
        raise ArtifactError(f"{path} is not an {SUFFIX} file", hint="give a model file")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise ArtifactError(
            f"{path} has {size} bytes, the limit is {MAX_FILE_BYTES}",
            hint="store its weights as external data",
        )
    data = path.read_bytes()
    try:
        scan(data, onnx.ModelProto.DESCRIPTOR)
        return onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's DecodeError has no typed import
        raise ArtifactError(
            f"{path} is not an ONNX file, or it is truncated ({size} bytes): {error}",
            hint="copy it again, or export the model again",
        ) from error


def _nodes(model: Any) -> Iterator[Any]:
    """All nodes: of the graph, of training information, of functions, and of subgraphs of nodes."""
    waiting = [model.graph, *model.functions]
    waiting += [g for t in model.training_info for g in (t.initialization, t.algorithm)]
    while waiting:
        for node in waiting.pop().node:
            yield node
            waiting += _inner(node)


def _inner(node: Any) -> list[Any]:
    """The subgraphs of a node: branches and loop bodies."""
    return [g for a in node.attribute for g in (a.g, *a.graphs) if g.node or g.initializer]


def _graphs(model: Any, nodes: list[Any]) -> Iterator[Any]:
    yield model.graph
    for training in model.training_info:
        yield from (training.initialization, training.algorithm)
    for node in nodes:
        yield from _inner(node)


def _tensors(model: Any, nodes: list[Any]) -> Iterator[Any]:
    """All tensors that a file stores, as ``(TensorProto, dims after expansion)``."""
    for graph in _graphs(model, nodes):
        yield from ((t, t.dims) for t in graph.initializer)
        for sparse in graph.sparse_initializer:
            yield from _sparse(sparse)
    defaults = [a for f in model.functions for a in f.attribute_proto]
    for attribute in (*defaults, *(a for n in nodes for a in n.attribute)):
        stored = (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors
        yield from ((t, t.dims) for t in stored)
        dense = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for sparse in (*dense, *attribute.sparse_tensors):
            yield from _sparse(sparse)


def _sparse(sparse: Any) -> Iterator[Any]:
    """The two tensors of a sparse one. Its values are expanded to all of its dims when it is loaded."""
    yield sparse.values, sparse.dims
    yield sparse.indices, sparse.indices.dims


def _check_operators(path: Path, model: Any, nodes: list[Any]) -> None:
    from onnx import defs  # noqa: PLC0415 (see _parse)

    own = {(f.domain, f.name) for f in model.functions}
    odd = {
        (n.domain, n.op_type)
        for n in nodes
        if (n.domain, n.op_type) not in own
        and not (n.domain in STANDARD and defs.has(n.op_type))
        and n.op_type not in EXTENSIONS.get(n.domain, ())
    }
    if odd:
        listed = ", ".join(f"{kind} ({domain or 'ai.onnx'})" for domain, kind in sorted(odd)[:5])
        raise ArtifactError(
            f"{path} uses {len(odd)} operators that are not supported: {listed}",
            hint=f"allowed: those of ONNX, and known ones of {', '.join(EXTENSIONS)}; "
            "export the model without plugins and without NMS in the graph",
        )


def _check_arity(path: Path, model: Any, nodes: list[Any]) -> None:
    """Refuse nodes with fewer inputs or outputs than their operator requires."""
    from onnx import defs  # noqa: PLC0415 (see _parse)

    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=1)
    least: dict[str, tuple[int, int]] = {}
    for node in nodes:
        if node.domain not in STANDARD or not defs.has(node.op_type, opset):
            continue
        if node.op_type not in least:
            schema = defs.get_schema(node.op_type, opset)
            least[node.op_type] = (schema.min_input, schema.min_output)
        inputs, outputs = least[node.op_type]
        if len(node.input) < inputs or len(node.output) < outputs:
            raise ArtifactError(
                f"{path} is invalid: a {node.op_type} {node.name} has {len(node.input)} inputs and "
                f"{len(node.output)} outputs",
                hint="export the model again",
            )


def _check_calls(path: Path, model: Any) -> None:
    """Refuse recursive functions, and functions that expand to more nodes than the limit of fields."""
    functions = {(f.domain, f.name): f for f in model.functions}
    unfolded: dict[tuple[str, str], int] = {}

    def count(holder: Any, depth: int) -> int:
        if depth > MAX_CALL_DEPTH:
            raise ArtifactError(
                f"{path} has calls between functions that are more than {MAX_CALL_DEPTH} deep",
                hint="do not run this file; export the model again",
            )
        total = 0
        for node in holder.node:
            total += 1 + sum(count(graph, depth + 1) for graph in _inner(node))
            called = (node.domain, node.op_type)
            if called in functions:
                if called not in unfolded:
                    unfolded[called] = count(functions[called], depth + 1)
                total += unfolded[called]
        return total

    if (total := count(model.graph, 0)) > MAX_FIELDS:
        raise ArtifactError(
            f"{path} expands to {total} nodes, the limit is {MAX_FIELDS}",
            hint="do not run this file; export the model again",
        )


def _check_declared(path: Path, model: Any) -> None:
    """Refuse duplicate inputs, and values with invalid or too large declared shapes."""
    doubles = [name for name, n in Counter(v.name for v in model.graph.input).items() if n > 1]
    if doubles:
        raise ArtifactError(f"{path} has two inputs {doubles[0]}", hint="export the model again")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        sides = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        elements = 1
        for side in sides:
            elements *= side
        if any(side < 0 for side in sides) or elements > MAX_VALUES:
            raise ArtifactError(
                f"{path} declares {value.name} with shape {sides}; the limit is {MAX_VALUES} elements",
                hint="export the model again at a smaller input size",
            )
