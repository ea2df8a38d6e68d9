"""The text of ``--source`` as a value: kind, target and options.

The query of a camera number, ``v4l2://`` and ``csi://`` holds options only, and an unknown name is an error.
That of ``rtsp://`` and ``http://`` belongs to the camera, but for the names of the options of that kind: they
are taken out, and the rest reaches the camera as it was written. If such a URL has a ``#``, the options are
behind it, and the whole query is the camera's. ``gst://`` and files have no options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import UsageError, closest
from runtime.decoders.orientation import FLIP_METHODS
from runtime.decoders.redaction import without_secrets

MOST_PX, MOST_FPS, MOST_LATENCY_MS = 16_384, 1000, 60_000
TRANSPORTS = ("tcp", "udp")
_CAMERA = ("width", "height", "fps", "format", "flip")
#: The options of each kind of source that has some, by module of ``runtime.sources``.
OPTIONS_OF: Mapping[str, tuple[str, ...]] = {
    "webcam": _CAMERA,
    "v4l2": _CAMERA,
    "csi": ("width", "height", "fps", "flip"),
    "rtsp": ("latency", "transport", "flip"),
    "http": ("flip",),
}
#: Modules by the scheme that a user writes.
KIND_OF_SCHEME: Mapping[str, str] = {
    "csi": "csi",
    "gst": "gst",
    "http": "http",
    "https": "http",
    "rtsp": "rtsp",
    "v4l2": "v4l2",
}
KINDS = (
    "an image, a folder, a glob, a video, a camera number, csi://N, v4l2:///dev/videoN, rtsp://..., "
    "http://..., gst://PIPELINE"
)
_ITS_QUERY = frozenset({"rtsp", "http"})
_NUMBER = re.compile(r"(\d+)(?:\?(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user wants of a camera or stream; None for what the camera chooses.

    Attributes:
        width: Width, pixels; given with ``height``.
        height: Height, pixels.
        fps: Frames per second.
        format: Pixel format of a V4L2 camera, four characters, e.g. ``"MJPG"``.
        flip: How the image is turned, see ``runtime.decoders.orientation.flipped``.
        latency_ms: How long a network stream may be held back to put late packets in order, milliseconds.
        transport: ``"tcp"`` or ``"udp"``.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    format: str | None = None
    flip: int = 0
    latency_ms: int | None = None
    transport: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A source.

    Attributes:
        kind: The module of ``runtime.sources`` that reads it.
        target: Path, glob, camera number, device file, URL without our options, or pipeline.
        shown: What is shown of it: without passwords.
        options: What is wanted of it.
    """

    kind: str
    target: str
    shown: str
    options: Options = Options()


def parse_address(text: str) -> Address:
    """Read the text of ``--source``.

    Raises:
        UsageError: There is no source of that scheme, or an option is unknown or has a bad value.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        number = _NUMBER.fullmatch(text)
        if number is None:
            return Address(kind=_kind_of_path(text), target=text, shown=text)
        options = _options("webcam", f"camera {number[1]}", _pairs(number[2] or ""))
        return Address(kind="webcam", target=number[1], shown=f"camera {number[1]}", options=options)
    kind = KIND_OF_SCHEME.get(scheme.lower())
    if kind is None:
        near = closest(scheme, KIND_OF_SCHEME)
        hint = f"did you mean {near}://? " if near else ""
        raise UsageError(f"no frame source reads {scheme}://", hint=f"{hint}use {KINDS}")
    if "\0" in text:  # no program takes it as an argument
        raise UsageError(f"{without_secrets(text)} holds a NUL character", hint="leave it out")
    if kind == "gst":
        return Address(kind=kind, target=rest.strip(), shown=f"gst://{without_secrets(rest)}")
    if kind in _ITS_QUERY:
        return _of_url(kind, text)
    place, _, query = rest.partition("?")
    shown = place if kind == "v4l2" else f"{kind}://{place}"
    return Address(kind=kind, target=place, shown=shown, options=_options(kind, shown, _pairs(query)))


def _of_url(kind: str, text: str) -> Address:
    url, separator, fragment = text.partition("#")
    shown = without_secrets(url)
    if separator:
        return Address(kind=kind, target=url, shown=shown, options=_options(kind, shown, _pairs(fragment)))
    place, _, query = url.partition("?")
    pieces = query.split("&") if query else []
    ours = [piece for piece in pieces if unquote(piece.partition("=")[0]) in OPTIONS_OF[kind]]
    theirs = "&".join(piece for piece in pieces if piece not in ours)
    target = f"{place}?{theirs}" if theirs else place
    options = _options(kind, shown, _pairs("&".join(ours)))
    return Address(kind=kind, target=target, shown=without_secrets(target), options=options)


def _pairs(query: str) -> list[tuple[str, str]]:
    split = (piece.partition("=") for piece in query.split("&") if piece)
    return [(unquote(name), unquote(value)) for name, _, value in split]


def _options(kind: str, shown: str, pairs: Iterable[tuple[str, str]]) -> Options:
    known = OPTIONS_OF[kind]
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name not in known:
            near = closest(name, known)
            others = [f.name.removesuffix("_ms") for f in fields(Options)]
            where = "that is for another kind of source; " if name in others else ""
            hint = f"did you mean {near!r}?" if near else f"{where}its options are {', '.join(known)}"
            raise UsageError(f"{shown} has no option {name!r}", hint=hint)
        field = "latency_ms" if name == "latency" else name
        if field in values:
            raise UsageError(f"{shown}: {name} is given twice", hint="give it once")
        values[field] = _READ[name](name, value)
    if ("width" in values) != ("height" in values):
        raise UsageError(f"{shown}: width and height go together", hint="e.g. ?width=1280&height=720")
    return Options(**values)


def _whole(least: int, most: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", value) or not least <= int(value) <= most:
            raise UsageError(f"{name}={value} is no value", hint=f"use a whole number from {least} to {most}")
        return int(value)

    return read


def _rate(name: str, value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", value) or not 0 < float(value) <= MOST_FPS:
        raise UsageError(f"{name}={value} is no value", hint=f"use frames per second, at most {MOST_FPS}")
    return float(value)


def _format(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{4}", value):
        raise UsageError(f"{name}={value} is no value", hint="use four characters, e.g. MJPG or YUYV")
    return value.upper()


def _transport(name: str, value: str) -> str:
    if value.lower() not in TRANSPORTS:
        raise UsageError(f"{name}={value} is no value", hint=f"use {' or '.join(TRANSPORTS)}")
    return value.lower()


_READ: Mapping[str, Callable[[str, str], Any]] = {
    "width": _whole(1, MOST_PX),
    "height": _whole(1, MOST_PX),
    "fps": _rate,
    "format": _format,
    "flip": _whole(FLIP_METHODS[0], FLIP_METHODS[-1]),
    "latency": _whole(0, MOST_LATENCY_MS),
    "transport": _transport,
}


def _kind_of_path(text: str) -> str:
    path = Path(text)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_file():
        return "images" if is_image else "video"
    is_glob = any(sign in text for sign in "*?[")
    return "images" if is_image or is_glob or path.is_dir() else "video"
