"""Ways to damage a file, each from a random generator, so that a case is the same in every run."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml

Damage = Callable[[bytes, Random], bytes]

DEEP = 60_000
#: Values of a wrong type or size, in place of any value of a JSON, YAML or TOML file.
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**40,
    float("nan"),
    float("inf"),
    "",
    "a\0b",
    "\ud800",
    "é" * 300,
    "../../../etc/passwd",
    [],
    {},
    [[[]]],
    {"a": {"b": 1}},
    ["x", 1, None],
    {"1": 2},
)
ODD_WORDS = (
    *("nan", "-inf", "1e999", "-1", "", "0x10", "1_0", "٣", "1,5", "None", "9" * 400, "9" * 5000, "x", "0"),
    *("\0", "\ufeff", "é" * 300, "-0.0", "1e-320"),
)
ODD_TOML = (
    *("-1", "0", "nan", "inf", "true", '""', '"a\\u0000b"', "[]", "{}", "1e308", "99999999999999999999"),
    *(
        "9223372036854775807",
        "1979-05-27",
        '["x", 1]',
        "{a = 1}",
        "[[[]]]",
        "'" + "é" * 300 + "'",
        "[-1, nan]",
    ),
)
ODD_YAML = (
    b"&a [*a]\n",
    b"a: &x [1]\nb: *x\n<<: *x\n",
    b"names: {0: red, one: green, 1.5: blue}\ntrain: images/train\nval: images/val\n",
    b"names: !!python/object:os.system {}\n",
    b"train: images/train\n\tval: x\n",
    b"- 1\n- 2\n",
    b"just words\n",
    b"names: [red, green]\ntrain: 2020-01-01\nval: {a: 1}\n",
    b"path: " + b"n" * 251 + b"\nnames: [a]\ntrain: x\nval: x\n",
    b"? [a, b]\n: c\n",
    b"names: [on, off, yes, no, null, ~]\ntrain: images/train\nval: images/val\n",
    b"a: " + b"[" * 3000 + b"]" * 3000 + b"\n",
    b"names: {-1: a, 99999999999: b}\ntrain: images/train\nval: images/val\n",
    b"nc: 1e400\nnames: [a]\ntrain: [[images/train]]\nval: images/val\n",
)


def flip_bits(data: bytes, random: Random) -> bytes:
    """A few bits, most of them near the beginning, where headers are."""
    out = bytearray(data or b"\0")
    for _ in range(random.choice((1, 3, 20))):
        span = random.choice((64, 4096, len(out)))
        out[random.randrange(min(span, len(out)))] ^= 1 << random.randrange(8)
    return bytes(out)


def truncate(data: bytes, random: Random) -> bytes:
    """The first part."""
    return data[: random.randrange(len(data) or 1)]


def splice(data: bytes, random: Random) -> bytes:
    """A part of the file in another place of it."""
    size = len(data) or 1
    start, place = random.randrange(size), random.randrange(size)
    return data[:place] + data[start : start + random.randrange(1, 2000)] + data[place:]


def zero(data: bytes, random: Random) -> bytes:
    """A block of zero bytes, as a power failure leaves."""
    start = random.randrange(len(data) or 1)
    length = min(random.choice((8, 500, 4096)), len(data) - start)
    return data[:start] + bytes(length) + data[start + length :]


def not_utf8(data: bytes, random: Random) -> bytes:
    """Bytes in the middle that no UTF-8 text has."""
    place = random.randrange(len(data) + 1)
    return data[:place] + random.choice((b"\xff\xfe", b"\xe9", b"\xc3", b"\x80\x81")) + data[place:]


def empty(data: bytes, random: Random) -> bytes:
    """No bytes, or white space."""
    return random.choice((b"", b"\n", b"   ", b"\0" * 16, b"\xef\xbb\xbf"))


def other_encoding(data: bytes, random: Random) -> bytes:
    """As an editor of Windows saves it."""
    text = data.decode("utf-8", "replace")
    return random.choice((text.encode("utf-16"), b"\xef\xbb\xbf" + data, text.replace("\n", "\r").encode()))


def noise(data: bytes, random: Random) -> bytes:
    """A part replaced by random bytes."""
    start = random.randrange(len(data) or 1)
    length = random.choice((4, 64, 1024))
    return data[:start] + random.randbytes(length) + data[start + length :]


def deep(data: bytes, random: Random) -> bytes:
    """Brackets or elements nested deeper than a recursive parser can go."""
    return random.choice(
        (b"[" * DEEP, b'{"a":' * DEEP, b"<a>" * DEEP, b"x = " + b"[" * DEEP, b"[" * DEEP + b"]" * DEEP)
    )


def json_value(data: bytes, random: Random) -> bytes:
    """A JSON file with one value replaced, removed or renamed."""
    value = json.loads(data)
    return json.dumps(_replaced(value, random)).encode()


def json_lines(data: bytes, random: Random) -> bytes:
    """A file of JSON lines with one line damaged as ``json_value`` does."""
    lines = data.splitlines()
    place = random.randrange(len(lines))
    lines[place] = json_value(lines[place], random)
    return b"\n".join(lines) + b"\n"


def yaml_value(data: bytes, random: Random) -> bytes:
    """A YAML file with one value replaced, or one that is odd as a whole."""
    if random.random() < 0.5:
        return random.choice(ODD_YAML)
    value = _replaced(yaml.safe_load(data), random)
    return yaml.safe_dump(json.loads(json.dumps(value).replace("\\ud800", "\\ud7ff"))).encode()


def toml_value(data: bytes, random: Random) -> bytes:
    """A TOML file with one value replaced, or an odd line more."""
    lines = data.decode().splitlines()
    places = [i for i, line in enumerate(lines) if re.match(r"[\w.\"-]+ = [^\[]", line)]
    if not places or random.random() < 0.2:
        return data + random.choice(
            (b"\n[methods]\nx = 1\n", b"\nunknown_key = 1\n", b"\n[[x]]\n", b"\nepochs = 1\n")
        )
    place = random.choice(places)
    lines[place] = f"{lines[place].partition(' = ')[0]} = {random.choice(ODD_TOML)}"
    return "\n".join(lines).encode()


def number(data: bytes, random: Random) -> bytes:
    """A text file with one number replaced by an odd word."""
    text = data.decode("utf-8", "replace")
    found = list(re.finditer(r"-?\d+(\.\d+)?", text))
    if not found:
        return text.encode() + random.choice(ODD_WORDS).encode()
    match = random.choice(found)
    return (text[: match.start()] + random.choice(ODD_WORDS) + text[match.end() :]).encode()


def xml_entities(data: bytes, random: Random) -> bytes:
    """An XML file with a document type, entities, or another element at the top."""
    bomb = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + b"".join(
        b'<!ENTITY c%d "%s">' % (i, (b"&c%d;" % (i - 1) if i else b"&b;") * 10) for i in range(9)
    )
    return random.choice(
        (
            bomb + b"]><net>&c8;</net>",
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
            b"<html></html>",
            re.sub(rb"<(\w+)", rb"<other:\1", data, count=2),
            data.replace(b'version="1', b'version="99', 1),
            data + data,
        )
    )


def huge_image(data: bytes, random: Random) -> bytes:
    """The header of a picture that says it is larger than the memory."""
    side = random.choice((0, 1, 60_000, 2**31 - 1))
    if data[:4] == b"\x89PNG":
        return data[:16] + side.to_bytes(4, "big") * 2 + data[24:]
    place = data.find(b"\xff\xc0")
    size = min(side, 65535).to_bytes(2, "big") * 2
    return data[: place + 5] + size + data[place + 9 :] if place >= 0 else data[: len(data) // 2]


def in_zip(data: bytes, random: Random) -> bytes:
    """A zip file, as torch writes it, with right checksums and one damaged entry, more often its pickle."""
    old, new = io.BytesIO(data), io.BytesIO()
    with zipfile.ZipFile(old) as read, zipfile.ZipFile(new, "w") as write:
        entries = read.namelist()
        pickles = [name for name in entries if name.endswith(".pkl")]
        target = random.choice(pickles if pickles and random.random() < 0.8 else entries)
        for name in entries:
            content = read.read(name)
            if name == target:
                words = list(re.finditer(rb"[a-z_.]{3,}", content))
                way = random.choice((flip_bits, not_utf8, truncate, splice, zero))
                if words and random.random() < 0.6:
                    word = random.choice(words)
                    odd = random.choice((b"\xff", b"\xed\xa0\x80", b"\x00", b"\n"))
                    content = (
                        content[: word.start()] + odd * (word.end() - word.start()) + content[word.end() :]
                    )
                    content = content[: len(read.read(name))]
                else:
                    content = way(content, random)
            write.writestr(name, content)
    return new.getvalue()


def in_onnx(data: bytes, random: Random) -> bytes:
    """A file that is ONNX, with one field of the graph or of the metadata changed."""
    import onnx

    model = onnx.load_from_string(data)
    graph = model.graph
    node = random.choice(list(graph.node))
    weights = random.choice(list(graph.initializer))
    port = random.choice([*graph.input, *graph.output])
    sides = port.type.tensor_type.shape.dim
    entry = random.choice(list(model.metadata_props) or [onnx.StringStringEntryProto()])
    how = random.randrange(12)
    if how < 4:
        words = (
            "",
            "[]",
            "{}",
            "nan",
            "{0: 'a', 'b': 1}",
            "[0, 0]",
            "[-1, 64]",
            "é" * 300,
            "None",
            "1e400",
            "(",
            "[1e9]",
        )
        try:
            entry.value = json.dumps(_replaced(json.loads(entry.value), random))
        except ValueError:
            entry.value = random.choice(words)
    elif how == 4:
        model.metadata_props.remove(entry)
    elif how == 5:
        random.choice(sides).dim_value = random.choice((0, -1, 1, 7, 2**31, 2**62))
    elif how == 6:
        random.choice(sides).dim_param = random.choice(("N", ""))
    elif how == 7:
        port.type.tensor_type.elem_type = random.choice((0, 2, 6, 7, 8, 10, 11, 16, 99))
    elif how == 8:
        weights.data_type = random.choice((0, 1, 3, 7, 8, 10, 99))
    elif how == 9:
        weights.dims[:] = random.choice(([], [0], [2**40], [-1], [1, 1, 1, 1, 1]))
    elif how == 10:
        node.op_type = random.choice(
            ("Relu", "Conv", "Loop", "If", "NonMaxSuppression", "Cast", "Nothing", "")
        )
    else:
        node.input[:] = random.choice(([], ["images"], ["gone"], [*node.input, *node.input], [*node.output]))
    return bytes(model.SerializeToString())


def in_safetensors(data: bytes, random: Random) -> bytes:
    """A safetensors file whose header is JSON of the right length, with one tensor described otherwise."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = random.choice([key for key in header if key != "__metadata__"])
    how = random.randrange(6)
    if how == 0:
        del header[name]
    elif how == 1:
        header[f"{name}.more"] = header.pop(name)
    elif how == 2:
        header[name]["dtype"] = random.choice(("I64", "BF16", "F8_E4M3", "BOOL", "X", 3))
    elif how == 3:
        header[name]["shape"] = list(reversed(header[name]["shape"])) + random.choice(([], [1], [0]))
    elif how == 4:
        header = _replaced(header, random)
    else:
        header["__metadata__"] = random.choice(({"a": 1}, [], {"a": "b"}))
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


BYTES: tuple[Damage, ...] = (flip_bits, truncate, splice, zero, not_utf8, empty, noise)
TEXT: tuple[Damage, ...] = (*BYTES[:6], other_encoding, number, deep)
BY_SUFFIX: dict[str, tuple[Damage, ...]] = {
    ".json": (*TEXT, json_value, json_value, json_value, json_value),
    ".yaml": (*TEXT, yaml_value, yaml_value, yaml_value, yaml_value),
    ".toml": (*TEXT, toml_value, toml_value, toml_value, toml_value),
    ".xml": (*TEXT, xml_entities, number, number),
    ".csv": (*TEXT, number, number),
    ".txt": (*TEXT, number, number),
    ".onnx": (*BYTES, *(in_onnx,) * 10),
    ".safetensors": (*BYTES, *(in_safetensors,) * 7),
    ".pt": (*BYTES, in_zip, in_zip, in_zip, in_zip, in_zip, in_zip),
    ".npz": (*BYTES, in_zip, in_zip, in_zip),
    ".jsonl": (*TEXT, json_lines, json_lines, json_lines, json_lines),
    ".png": (*BYTES, huge_image),
    ".jpg": (*BYTES, huge_image),
}


def damage(path: Path, random: Random) -> str:
    """Damage a file in a way that fits its suffix; returns the name of the way."""
    way = random.choice(BY_SUFFIX.get(path.suffix, BYTES))
    path.write_bytes(way(path.read_bytes(), random))
    return way.__name__


def _replaced(value: Any, random: Random) -> Any:
    """A copy with one node replaced, removed or renamed; any node, at any depth."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in items:
            places.append((node, key))
            walk(child)

    walk(value)
    if not places or random.random() < 0.05:
        return random.choice(ODD_VALUES)
    node, key = random.choice(places)
    how = random.random()
    if how < 0.2:
        del node[key]
    elif how < 0.3 and isinstance(node, dict):
        node[random.choice(("", "x", "\0", "é"))] = node.pop(key)
    else:
        node[key] = random.choice(ODD_VALUES)
    return value
