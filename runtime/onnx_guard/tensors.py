"""The tensors that an ONNX file stores, held against what it declares of them.

Source: https://onnx.ai/onnx/repo-docs/ExternalData.html, and the comments of TensorProto in onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgestill.errors import ArtifactError

MAX_TOTAL_BYTES = 8 << 30  # of all tensors of a file; several may stand for the same bytes
#: By type of the elements, their bits, and which list holds them where it is not ``raw_data``.
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
#: Where ONNX Runtime keeps tensors in its own memory: an address, which no file has any business to name.
_ADDRESS = "_ORT_MEM_ADDR_"


def check_tensors(path: Path, tensors: Iterable[tuple[Any, Sequence[int]]]) -> None:
    """Refuse tensors that hold more or less than they declare, or that read files outside their folder.

    Args:
        path: The ONNX file.
        tensors: Each ``TensorProto`` with the dims that it unfolds to, which are its own unless it is sparse.

    Raises:
        ArtifactError: The first that is wrong, by name.
    """
    total = 0
    for tensor, unfolds_to in tensors:
        bits = _bits(path, tensor)
        wanted = _bytes(path, tensor, tensor.dims, bits)
        total += max(wanted, _bytes(path, tensor, unfolds_to, bits))
        if total > MAX_TOTAL_BYTES:
            raise ArtifactError(
                f"{path} unfolds to more than {MAX_TOTAL_BYTES} bytes of tensors",
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
    raise _wrong(path, tensor, f"has elements of the unknown type {tensor.data_type}")


def _bytes(path: Path, tensor: Any, dims: Sequence[int], bits: int) -> int:
    elements = 1
    for side in dims:
        if side < 0:
            raise _wrong(path, tensor, f"has the shape {list(dims)}")
        elements *= side
    return (elements * bits + 7) // 8


def _check_held(path: Path, tensor: Any, wanted: int) -> None:
    """Values inside the file: as raw bytes, or in the list of their type."""
    kind = _kind(tensor)
    if kind == _TEXT:
        return
    if tensor.HasField("raw_data"):
        held = len(tensor.raw_data)
    else:
        bits, field = _STORED[kind]
        held = len(getattr(tensor, field)) // _COMPLEX_PARTS.get(kind, 1) * max(bits, 8) // 8
    if held != wanted:
        raise _wrong(path, tensor, f"of shape {list(tensor.dims)} holds {held} bytes, not {wanted}")


def _check_external(path: Path, tensor: Any, wanted: int) -> None:
    """Values in another file: inside the folder, long enough, and as long as declared."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise _wrong(path, tensor, "names the place of its external data twice")
    target = _inside(path, entries.get("location", ""))
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or wanted)
    except ValueError as error:
        raise _wrong(path, tensor, f"has a place in its external data that is no number: {error}") from error
    if offset < 0 or length != wanted or offset + length > target.stat().st_size:
        raise _wrong(
            path,
            tensor,
            f"of shape {list(tensor.dims)} needs {wanted} bytes, and is given {length} at {offset} of "
            f"the {target.stat().st_size} of {target.name}",
        )


def _inside(path: Path, location: str) -> Path:
    """The file that a location names, which must be in the model's folder."""
    folder = path.parent.resolve()
    target = (folder / location).resolve()  # follows links: a link out of the folder is out of the folder
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
        f"{path} is broken: the tensor {tensor.name or '(unnamed)'} {what}",
        hint="copy it again, or export the model again",
    )
