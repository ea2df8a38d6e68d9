"""Completion of verbs, flags, names and files in a shell, by argcomplete.

The shell starts the program with ``_ARGCOMPLETE`` in its environment for each press of the tab key; without
it nothing here is imported. What an argument takes is told from its metavar, which its help shows, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from argcomplete import autocomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter

from edgestill.shipped import LIGHT_STATES, NAMES

MODEL_SUFFIXES = ("onnx", "xml", "engine", "pt")
CLASSIFIER_SUFFIXES = ("onnx", "xml", "engine")
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff")
VIDEO_SUFFIXES = ("mp4", "avi", "mkv", "mov")

Completer = Callable[..., Iterable[str]]


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and exit.

    Args:
        parser: With all verbs as sub-parsers.
    """
    _attach(parser)
    autocomplete(parser)


def _attach(parser: argparse.ArgumentParser) -> None:
    """Give every argument of a parser and of its sub-parsers a completer."""
    for action in parser._actions:  # argparse has no public list
        if isinstance(action.choices, Mapping):
            for below in action.choices.values():
                _attach(below)
        elif action.choices is None and action.nargs != 0 and (found := _completer(action)):
            action.completer = found  # type: ignore[attr-defined]  # argcomplete reads it


def _completer(action: argparse.Action) -> Completer | None:
    """What completes an argument; None for all files, argcomplete's default."""
    metavar = str(action.metavar or "")
    if "--source" in action.option_strings:
        metavar = "SOURCE"
    elif "--backend" in action.option_strings:
        metavar = "BACKEND"
    elif "--lights" in action.option_strings:
        metavar = "LIGHTS"
    elif metavar in {"FILE", "CKPT"} and not action.option_strings:
        metavar = "ANY_MODEL"
    if metavar.startswith("{"):
        return _either(metavar.strip("{}").split(","))
    kind = KINDS.get(metavar.partition("[")[0])
    return kind() if kind is not None else _nothing if metavar in NUMBERS else None


def _either(names: Iterable[str], more: Completer | None = None) -> Completer:
    known = tuple(names)

    def found(prefix: str, **context: Any) -> list[str]:
        own = [name for name in known if name.startswith(prefix)]
        return [*own, *(more(prefix=prefix, **context) if more else ())]

    return found


def _files(*suffixes: str) -> Completer:
    """Files with these suffixes, and folders."""
    return FilesCompleter(suffixes)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]


def _folders() -> Completer:
    return DirectoriesCompleter()  # type: ignore[no-any-return,no-untyped-call,unused-ignore]


def _shipped_toml(folder: str) -> list[str]:
    found = files("distill").joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in found if file.name.endswith(".toml"))


def _device_keys(prefix: str, **context: Any) -> list[str]:
    from devices.profile import profile_names  # noqa: PLC0415 (for one argument only)

    return [key for key in profile_names() if key.startswith(prefix)]


def _backends(prefix: str, **context: Any) -> list[str]:
    from runtime.backend import BACKENDS  # noqa: PLC0415 (imports NumPy)

    return [name for name in ("auto", *BACKENDS.names()) if name.startswith(prefix)]


def _nothing(prefix: str, **context: Any) -> list[str]:
    return []


def _models() -> Completer:
    return _either(NAMES, _files(*MODEL_SUFFIXES))


#: By metavar.
KINDS: Mapping[str, Callable[[], Completer]] = {
    **dict.fromkeys(("MODEL", "CKPT", "A", "B"), _models),
    "ANY_MODEL": lambda: _either((*NAMES, LIGHT_STATES), _files(*MODEL_SUFFIXES)),
    "LIGHTS": lambda: _either([LIGHT_STATES], _files(*CLASSIFIER_SUFFIXES)),
    **dict.fromkeys(("A.json", "B.json", "RESULT.json"), lambda: _files("json")),
    **dict.fromkeys(("DIR", "SRC"), _folders),
    "DATA.yaml": lambda: _files("yaml", "yml"),
    "RECIPE": lambda: _either(_shipped_toml("recipes"), _files("toml")),
    "STUDY": lambda: _either(_shipped_toml("studies"), _files("toml")),
    "BUNDLE": lambda: _files("tar", "zst"),
    "DEVICE": lambda: _either(["aarch64", "x86_64"], _device_keys),
    "VERSION": lambda: _either(["3.10", "3.11", "3.12"]),
    "KEY": lambda: _either(["here"], _device_keys),
    "BACKEND": lambda: _backends,
    "SOURCE": lambda: _files(*IMAGE_SUFFIXES, *VIDEO_SUFFIXES),
}
NUMBERS = frozenset({"N", "S", "T", "F", "MIB", "POINTS", "HxW", "CxR", "WxH"})
