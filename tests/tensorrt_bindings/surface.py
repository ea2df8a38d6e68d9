"""The public names of a TensorRT package with their signatures, of NVIDIA's bindings and of our stand-in.

NVIDIA's bindings are made with pybind11, which writes the signature of each overload into the docstring:
https://pybind11.readthedocs.io/en/stable/basics.html#keyword-arguments
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import EnumMeta
from typing import Any, Literal

Kind = Literal["class", "method", "property", "member"]
#: Bases that every class of the bindings has.
_COMMON = {"object", "pybind11_object"}
_OVERLOAD = re.compile(r"^(?:\d+\. )?\w+\((?P<inside>.*)\) -> .*$", re.MULTILINE)
_RETURNS = re.compile(r"\) -> (?P<type>.+)$", re.MULTILINE)
_OPENING, _CLOSING = "([{<", ")]}>"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method, without ``self``.

    Attributes:
        name: Its name.
        type: Its type as the bindings write it; empty if they do not.
        required: Whether it has no default.
    """

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One public name.

    Attributes:
        kind: What it is; ``member`` is one of an enumeration.
        overloads: Parameters of a method, for each overload.
        type: Type of a property; empty if the bindings do not say.
        writable: Whether a property can be assigned.
    """

    kind: Kind
    overloads: tuple[tuple[Parameter, ...], ...] = ()
    type: str = ""
    writable: bool = False


Surface = Mapping[str, Entry]


def read_bindings(module: Any) -> dict[str, Entry]:
    """The classes of NVIDIA's bindings, and their members, by names such as ``"BuilderFlag.FP16"``."""
    found: dict[str, Entry] = {}
    for path, kind in _classes(vars(module)):
        found[path] = Entry("class")
        members = getattr(kind, "__members__", {})
        found |= {f"{path}.{name}": Entry("member") for name in members}
        if members:
            found[f"{path}.name"] = Entry("property", type="str")
            continue
        for base in reversed([one for one in kind.__mro__ if one.__name__ not in _COMMON]):
            for name, value in vars(base).items():
                if _is_public(name) and not isinstance(value, type):
                    found[f"{path}.{name}"] = _bound(value)
    return found


def read_standin(module: Any) -> dict[str, Entry]:
    """The same of a stand-in, which is written in Python."""
    found: dict[str, Entry] = {}
    for path, kind in _classes(vars(module)):
        found[path] = Entry("class")
        if isinstance(kind, EnumMeta):
            found |= {f"{path}.{name}": Entry("member") for name in kind.__members__}
            continue
        for base in reversed(kind.__mro__[:-1]):
            for name, value in vars(base).items():
                if _is_public(name) and not isinstance(value, type):
                    found[f"{path}.{name}"] = _written(value)
    return found


def to_json(surface: Surface) -> dict[str, Any]:
    """Plain JSON data; ``from_json`` is its inverse."""
    return {name: asdict(entry) for name, entry in surface.items()}


def from_json(data: Mapping[str, Any]) -> dict[str, Entry]:
    """Rebuild a surface from ``to_json``'s data."""
    return {
        name: Entry(
            kind=entry["kind"],
            overloads=tuple(tuple(Parameter(**p) for p in overload) for overload in entry["overloads"]),
            type=entry["type"],
            writable=entry["writable"],
        )
        for name, entry in data.items()
    }


def _classes(names: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """The public classes of a module, and those inside of them."""
    for name, value in names.items():
        if isinstance(value, type) and _is_public(name) and name != "__init__":
            path = f"{within}{name}"
            yield path, value
            if not within:
                yield from _classes(vars(value), f"{path}.")


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__init__"


def _bound(value: Any) -> Entry:
    """An attribute of a class of pybind11."""
    if isinstance(value, property):
        returns = _RETURNS.search((value.fget and value.fget.__doc__) or "")
        return Entry("property", type=returns["type"] if returns else "", writable=value.fset is not None)
    if not callable(value):
        return Entry("member")  # e.g. ILogger.ERROR, a copy of the nested enumeration's
    return Entry("method", overloads=tuple(read_overloads(value.__doc__ or "")))


def read_overloads(docstring: str) -> Iterator[tuple[Parameter, ...]]:
    """The parameters of each overload, from a docstring of pybind11."""
    for found in _OVERLOAD.finditer(docstring):
        parts = list(_split(found["inside"]))
        if parts[:1] == ["*args"]:
            continue  # the heading of several overloads
        yield tuple(_parameter(part) for part in parts if part and not re.match(r"self\b", part))


def _split(text: str) -> Iterator[str]:
    """The parts between commas that are in no brackets."""
    depth, part = 0, ""
    for i, letter in enumerate(text):
        is_arrow = letter == ">" and text[i - 1 : i] == "-"
        depth += (letter in _OPENING) - (letter in _CLOSING and not is_arrow)
        if letter == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()


def _parameter(text: str) -> Parameter:
    declared, default, _ = text.partition(" = ")
    name, _, kind = declared.partition(":")
    return Parameter(name.strip(), kind.strip(), required=not default)


def _written(value: Any) -> Entry:
    """An attribute of a class of the stand-in."""
    if isinstance(value, property):
        return Entry("property", writable=value.fset is not None)
    if isinstance(type(value), EnumMeta):
        return Entry("member")
    if not inspect.isfunction(value):
        return Entry("property")  # a plain value in the place of a property
    parameters = list(inspect.signature(value).parameters.values())[1:]
    return Entry(
        "method", overloads=(tuple(Parameter(p.name, "", p.default is p.empty) for p in parameters),)
    )
