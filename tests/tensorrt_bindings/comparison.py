"""What differs between edgestill's use of TensorRT, its stand-in, and NVIDIA's bindings of one version."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tensorrt_bindings.surface import Parameter, Surface

#: Names of TensorRT that other objects have too: an attribute that no test reaches is one of theirs.
COMMON_WORDS = frozenset(
    [
        "append",
        "clear",
        "data",
        "dtype",
        "free",
        "metadata",
        "name",
        "nbytes",
        "pop",
        "release",
        "shape",
        "size",
        "strides",
        "write",
    ]
)
#: By type of the bindings, the Python types that pybind11 converts to it. ``Dims`` takes any sequence of
#: integers: https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/
CONVERTED: Mapping[str, frozenset[str]] = {
    "int": frozenset({"int"}),
    "SupportsInt": frozenset({"int"}),
    "SupportsIndex": frozenset({"int"}),
    "buffer": frozenset({"bytes", "memoryview"}),
    "Buffer": frozenset({"bytes", "memoryview"}),
    "Dims": frozenset({"tuple", "list"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One use of a name, see ``tests.standins.access_recorder``.

    Attributes:
        version: Version of the stand-in.
        name: E.g. ``"Builder.create_network"``.
        how: ``read``, ``write``, ``call``, ``absent``, or ``override`` by a subclass of edgestill.
        arguments: Names of the classes of each positional argument, or of the value that is assigned.
        keywords: The same by keyword; of an override its parameters.
        where: File and line.
    """

    version: str
    name: str
    how: str
    arguments: Sequence[Sequence[str]]
    keywords: Mapping[str, Sequence[str]]
    where: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Access:
        """Read a record."""
        return cls(**data)


def relevant(accesses: Sequence[Access], version: str, standin: Surface) -> list[Access]:
    """What edgestill would use of a version: what it used, and what it used of other versions and this has.

    Not all tests run with all versions.
    """
    return [
        access
        for access in accesses
        if _minor(access.version) == _minor(version) or (access.how != "absent" and access.name in standin)
    ]


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def access_problems(accesses: Iterable[Access], vendor: Surface, *, in_any: frozenset[str]) -> Iterator[str]:
    """What edgestill uses and this version does not have, or not so.

    Args:
        accesses: The relevant ones.
        vendor: NVIDIA's bindings.
        in_any: The names of all versions, to find a misspelt name that edgestill looks for.
    """
    for access in accesses:
        if access.how == "absent":
            if access.name in vendor:
                yield f"{access.where}: {access.name} is absent in the stand-in and exists"
            elif access.name not in in_any:
                yield f"{access.where}: {access.name} exists in no version"
        elif access.name not in vendor:
            yield f"{access.where}: {access.name} does not exist"
        elif problem := _misuse(access, vendor):
            yield f"{access.where}: {access.name} {problem}"


def _misuse(access: Access, vendor: Surface) -> str:
    """How a use differs from what the bindings allow; empty if it does not."""
    entry = vendor[access.name]
    if access.how == "call":
        if not any(_takes(overload, access) for overload in entry.overloads):
            return f"does not take {_shown(access)}: {entry.overloads}"
    elif access.how == "override":
        if not any(len(overload) == len(access.keywords) for overload in entry.overloads):
            return f"is overridden with {list(access.keywords)}: {entry.overloads}"
    elif access.how == "write":
        if not entry.writable:
            return "cannot be assigned"
        if entry.type and not _fits(entry.type, access.arguments[0]):
            return f"is {entry.type}, not {access.arguments[0][0]}"
    return ""


def _takes(overload: Sequence[Parameter], access: Access) -> bool:
    names = [parameter.name for parameter in overload]
    if len(access.arguments) > len(overload):
        return False
    given = dict(zip(names, access.arguments, strict=False))
    if given.keys() & access.keywords.keys() or access.keywords.keys() - set(names):
        return False
    given |= access.keywords
    return all(
        _fits(parameter.type, given[parameter.name]) if parameter.name in given else not parameter.required
        for parameter in overload
    )


def _fits(declared: str, given: Sequence[str]) -> bool:
    """Whether a value of these classes converts to a type of the bindings."""
    last = declared.rpartition(".")[2]
    return not declared or bool(CONVERTED.get(last, frozenset({last})) & set(given))


def _shown(access: Access) -> str:
    named = [f"{name}={types[0]}" for name, types in access.keywords.items()]
    return f"({', '.join([*(types[0] for types in access.arguments), *named])})"


def standin_problems(standin: Surface, vendor: Surface, *, in_any_standin: frozenset[str]) -> Iterator[str]:
    """Where the stand-in of a version differs from NVIDIA's bindings.

    Args:
        standin: The stand-in.
        vendor: NVIDIA's bindings.
        in_any_standin: The names of the stand-ins of all versions.
    """
    for name, entry in standin.items():
        real = vendor.get(name)
        if real is None:
            if not name.endswith(".__init__"):
                yield f"the stand-in has {name}, which does not exist"
        elif entry.kind != real.kind:
            yield f"{name} is a {real.kind}, in the stand-in a {entry.kind}"
        elif entry.writable and not real.writable:
            yield f"{name} cannot be assigned, in the stand-in it can"
        elif entry.overloads and real.overloads and not _is_part(entry.overloads[0], real.overloads):
            yield f"{name} takes {real.overloads}, in the stand-in {entry.overloads[0]}"
    for name in sorted((in_any_standin - standin.keys()) & vendor.keys()):
        yield f"the stand-in lacks {name}, which exists"


def _is_part(ours: Sequence[Parameter], overloads: Sequence[Sequence[Parameter]]) -> bool:
    """Whether a signature is one of the overloads, at most without parameters that have a default."""
    mine = [(p.name, p.required) for p in ours]
    for overload in overloads:
        theirs = [(p.name, p.required) for p in overload]
        if theirs[: len(mine)] == mine and not any(required for _, required in theirs[len(mine) :]):
            return True
    return False


def unused(standins: Iterable[Surface], accesses: Iterable[Access]) -> list[str]:
    """Names of the stand-ins that edgestill never uses: they would only have to be kept right.

    Members of enumerations may be there that edgestill receives, or that are a default.
    """
    used = {access.name for access in accesses}
    used |= {name.rpartition(".")[0] for name in used}
    entries = {name: entry for standin in standins for name, entry in standin.items()}
    return sorted(
        name
        for name, entry in entries.items()
        if name not in used and entry.kind != "member" and not name.endswith(".__init__")
    )


def unreached(sources: Iterable[Path], accesses: Iterable[Access], in_any: frozenset[str]) -> Iterator[str]:
    """Attributes in edgestill's sources that have a name of TensorRT and that no recorded test reached."""
    known = {name.rpartition(".")[2] for name in in_any} - COMMON_WORDS
    seen: dict[str, set[str]] = {}
    for access in accesses:
        seen.setdefault(access.where.rpartition(":")[0], set()).add(access.name.rpartition(".")[2])
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = _attribute(node)
            if name in known and name not in seen.get(str(path), set()):
                yield f"{path}:{getattr(node, 'lineno', 0)}: no test reaches .{name}"


def _attribute(node: ast.AST) -> str | None:
    """The name of ``x.name``, or of ``getattr(x, "name")`` and ``hasattr``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"getattr", "hasattr"}
    ):
        name = node.args[1]
        return name.value if isinstance(name, ast.Constant) else None
    return None
