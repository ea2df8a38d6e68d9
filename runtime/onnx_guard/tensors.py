"""Validation of the tensors stored in an ONNX file against their declared types and shapes.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html, and the comments of TensorProto in onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError

MAX_TOTAL_BYTES = 8 << 30  # of all tensors of a file; several may refer to the same bytes
#: For each element type, bits per element, and the field that holds them if it is not ``raw_data``.
_STORED: Mapping[str, tuple[int, str]] = {
    "FLOAT": (32, "float_data"),
    "COMPLEX64": (64, "float_data"),
    "DOUBLE": (64, "double_data"),
    "COMPLEX128": (128, "double_data"),
    "INT64": (64, "int64_data"),
    "UINT32": (32, "uint64_data"),
    "UINT64": (64, "uint64_data"),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), (16, "int32_data")),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ"), (8, "int32_data")),
    **dict.fromkeys(("FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), (8, "int32_data")),
    "INT32": (32, "int32_data"),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), (4, "int32_data")),
    **dict.fromkeys(("INT2", "UINT2"), (2, "int32_data")),
}
_TEXT = "STRING"
_COMPLEX_PARTS = {"COMPLEX64": 2, "COMPLEX128": 2}
#: ONNX Runtime's marker of a tensor in its memory, with an address; it must not occur in a file.
_ADDRESS = "_ORT_MEM_ADDR_"


def check_tensors(path: Path, tensors: Iterable[tuple[Any, Sequence[int]]]) -> None:
    """Refuse tensors whose data does not have the declared size, or is outside the folder of the file.

    Args:
        path: The ONNX file.
        tensors: Each ``TensorProto`` with its dims after expansion, which are its own unless it is sparse.

    Raises:
        ArtifactError: A tensor is invalid; the message has its name.
    """
    total = 0
    for tensor, expanded_dims in tensors:
        bits = _bits(path, tensor)
        wanted = _bytes(path, tensor, tensor.dims, bits)
        total += max(wanted, _bytes(path, tensor, expanded_dims, bits))
        if total > MAX_TOTAL_BYTES:
            raise ArtifactError(
                f"{path} expands to more than {MAX_TOTAL_BYTES} bytes of tensors",
                hint="do not run this file; export the model yourself",
            )
        if tensor.data_location == tensor.EXTERNAL:
            _check_external(path, tensor, wanted)
        else:
            _check_held(path, tensor, wanted)


def _kind(tensor: Any) -> str:
    return str(tensor.DataType.Name(tensor.data_type))


def _bits(path: Path, tensor: Any) -> int:
    known = tensor.data_type in tensor.DataType.values()
    if known and _kind(tensor) in _STORED:
        return _STORED[_kind(tensor)][0]
    if known and _kind(tensor) == _TEXT and tensor.data_location != tensor.EXTERNAL:
        return 0
    raise _wrong(path, tensor, f"has the unknown element type {tensor.data_type}")


def _bytes(path: Path, tensor: Any, dims: Sequence[int], bits: int) -> int:
    elements = 1
    for side in dims:
        if side < 0:
            raise _wrong(path, tensor, f"has the shape {list(dims)}")
        elements *= side
    return (elements * bits + 7) // 8


def _check_held(path: Path, tensor: Any, wanted: int) -> None:
    """Check a tensor inside the file: raw bytes, or the field of its element type."""
    kind = _kind(tensor)
    if kind == _TEXT:
        return
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    else:
        bits, field = _STORED[kind]
        held = len(getattr(tensor, field)) // _COMPLEX_PARTS.get(kind, 1) * max(bits, 8) // 8
    if held != wanted:
        raise _wrong(path, tensor, f"of shape {list(tensor.dims)} has {held} bytes, not {wanted}")


def _check_external(path: Path, tensor: Any, wanted: int) -> None:
    """Check a tensor in another file: inside the folder, and of the declared length."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise _wrong(path, tensor, "has duplicate entries for its external data")
    target = _inside(path, entries.get("location", ""))
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or wanted)
    except ValueError as error:
        raise _wrong(path, tensor, f"has an invalid offset or length of external data: {error}") from error
    if offset < 0 or length != wanted or offset + length > target.stat().st_size:
        raise _wrong(
            path,
            tensor,
            f"of shape {list(tensor.dims)} needs {wanted} bytes, and has {length} at offset {offset} of "
            f"the {target.stat().st_size} bytes of {target.name}",
        )


def _inside(path: Path, location: str) -> Path:
    """The external data file of a location, which must be in the folder of the model."""
    folder = path.parent.resolve()
    target = (folder / location).resolve()  # follows links, so that a link cannot lead out of the folder
    if not location or _ADDRESS in location or not target.is_relative_to(folder):
        raise ArtifactError(
            f"{path} reads external data outside its folder: {location or '(unnamed)'}",
            hint="do not run this file; export the model yourself",
        )
    if not target.is_file():
        raise ArtifactError(
            f"{path} needs its external data {location}, which is missing", hint="copy both files together"
        )
    return target


def _wrong(path: Path, tensor: Any, what: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is invalid: the tensor {tensor.name or '(unnamed)'} {what}",
        hint="copy it again, or export the model again",
    )
