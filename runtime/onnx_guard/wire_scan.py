"""Count the fields of a serialised ONNX file before protobuf parses it and allocates memory for them.

A file of 10 MB that consists of empty nodes is parsed into 800 MiB of objects, so a limit of the file size is
not enough.

Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from typing import Any

MAX_FIELDS = 1_000_000  # a detector of 300 nodes has about 12,000; a parsed field takes up to 160 bytes
MAX_DEPTH = 64  # of nested messages; each level of subgraphs adds three

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types; the other two (groups) do not occur in ONNX
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES = 10


def scan(data: bytes, message: Any) -> None:
    """Walk over the headers of all fields; data of tensors is skipped.

    Args:
        data: The serialised message.
        message: Descriptor of its type, e.g. ``onnx.ModelProto.DESCRIPTOR``.

    Raises:
        ValueError: It is not such a message, or it exceeds ``MAX_FIELDS`` or ``MAX_DEPTH``.
    """
    children: dict[Any, dict[int, Any]] = {}
    words: dict[Any, set[int]] = {}
    waiting = [(0, len(data), message, 1)]
    fields = 0
    while waiting:
        at, end, kind, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"messages are nested more than {MAX_DEPTH} deep")
        if kind not in children:
            children[kind] = {f.number: f.message_type for f in kind.fields if f.message_type is not None}
            words[kind] = {f.number for f in kind.fields if f.type == f.TYPE_STRING}
        inside, text = children[kind], words[kind]
        while at < end:
            if (fields := fields + 1) > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS} fields")
            tag, at = _varint(data, at, end)
            wire = tag & 7
            if wire == _VARINT:
                _, at = _varint(data, at, end)
            elif wire == _LENGTH:
                length, at = _varint(data, at, end)
                if length and (below := inside.get(tag >> 3)) is not None:
                    waiting.append((at, at + length, below, depth + 1))
                elif tag >> 3 in text:
                    data[at : at + length].decode()  # the parser accepts invalid UTF-8; reading it would fail
                at += length
            elif wire in _FIXED_BYTES:
                at += _FIXED_BYTES[wire]
            else:
                raise ValueError(f"byte {at} is not a field of ONNX")
            if at > end:
                raise ValueError("it ends in the middle of a field")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint, and the position after it."""
    if at < end and (first := data[at]) < 0x80:  # most of them
        return first, at + 1
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        if at >= end:
            raise ValueError("it ends in the middle of a field")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise ValueError(f"byte {at} is not a varint")
