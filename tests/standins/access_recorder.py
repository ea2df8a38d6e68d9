"""Records which names of the stand-in for TensorRT edgestill uses: how, with which arguments, and where.

A watched module hands out watched classes, objects and enumeration members. Only accesses of edgestill's own
modules count, not those of tests. ``tests.tensorrt_bindings`` compares the records with NVIDIA's bindings.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, EnumMeta
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

#: Folder for the records; they are only made where it is set.
FOLDER_VARIABLE = "EDGESTILL_TENSORRT_ACCESSES"
ROOT = Path(__file__).resolve().parent.parent.parent
OWN_PACKAGES = ("export.", "runtime.")
INIT = "__init__"


def watched(module: ModuleType) -> Any:
    """The module, recorded if the environment names a folder for records."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return module
    recorder = Recorder(module)
    atexit.register(recorder.write, Path(folder))
    return _Watched(recorder, module, "")


class Recorder:
    """The accesses to one stand-in.

    Attributes:
        records: JSON of each access: ``version``, ``name`` such as ``"Builder.create_network"``, ``how``
            (``read``, ``write``, ``call``, ``absent``, ``override``), ``arguments``, ``keywords``, ``where``.
    """

    def __init__(self, module: ModuleType) -> None:
        self.version = str(vars(module)["__version__"])
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        nested = [value for kind in classes for value in vars(kind).values() if isinstance(value, EnumMeta)]
        self.classes = frozenset(classes + nested)
        self.records: set[str] = set()

    def note(
        self, name: str, how: str, arguments: Sequence[Any] = (), keywords: Mapping[str, Any] | None = None
    ) -> None:
        """Keep an access if one of edgestill's modules makes it."""
        caller = _caller()
        last = name.rpartition(".")[2]
        if caller is None or (last.startswith("_") and last != INIT):
            return
        place = Path(caller.f_code.co_filename).resolve().relative_to(ROOT)
        record = {
            "version": self.version,
            "name": name,
            "how": how,
            "arguments": [_types(value) for value in arguments],
            "keywords": {key: _types(value) for key, value in (keywords or {}).items()},
            "where": f"{place}:{caller.f_lineno}",
        }
        self.records.add(json.dumps(record, sort_keys=True))

    def write(self, folder: Path) -> None:
        """Write the records to a file of this process and stand-in."""
        path = folder / f"{os.getpid()}-{id(self)}.jsonl"
        path.write_text("".join(f"{line}\n" for line in sorted(self.records)), "utf-8")

    def wrap(self, value: Any, path: str) -> Any:
        """A value that edgestill receives: watched if it is of the stand-in."""
        if isinstance(value, type) and value in self.classes:
            return _Watched(self, value, path)
        if type(value) in self.classes:
            # Attributes of an enumeration's member are recorded as of the enumeration.
            return _Watched(self, value, type(value).__name__)
        return self._method(value, path) if callable(value) else value

    def unwrap(self, value: Any) -> Any:
        """A value that edgestill passes, and a record of the methods that it overrides."""
        if isinstance(value, _Watched):
            return object.__getattribute__(value, "_real")
        kind = type(value)
        base = next((one for one in kind.__mro__ if one in self.classes), None)
        if base is not None and kind is not base:
            for name, method in vars(kind).items():
                if callable(method) and hasattr(base, name):
                    names = method.__code__.co_varnames[1 : method.__code__.co_argcount]
                    self.note(f"{base.__name__}.{name}", "override", keywords=dict.fromkeys(names))
        return value

    def _method(self, method: Callable[..., Any], path: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            given = [self.unwrap(value) for value in arguments]
            named = {key: self.unwrap(value) for key, value in keywords.items()}
            # A subclass passes itself to the constructor of its base.
            self.note(path, "call", given[1:] if path.endswith(f".{INIT}") else given, named)
            return self.wrap(method(*given, **named), path)

        return call


class _Watched:
    """Stands before a module, class, object or enumeration member of the stand-in."""

    def __new__(cls, recorder: Recorder, real: Any, path: str) -> _Watched:
        self = object.__new__(cls)
        for name, value in (("_recorder", recorder), ("_real", real), ("_path", path)):
            object.__setattr__(self, name, value)
        return self

    def __getattribute__(self, name: str) -> Any:
        # ``trt.ILogger.__init__(self)`` in a subclass must find the method of the real class.
        return self.__getattr__(name) if name == INIT else object.__getattribute__(self, name)

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def __getattr__(self, name: str) -> Any:
        path = self._at(name)
        try:
            value = getattr(self._real, name)
        except AttributeError:
            self._recorder.note(path, "absent")
            raise
        self._recorder.note(path, "read")
        return self._recorder.wrap(value, path)

    def __setattr__(self, name: str, value: Any) -> None:
        given = self._recorder.unwrap(value)
        setattr(self._real, name, given)
        self._recorder.note(self._at(name), "write", [given])

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        given = [self._recorder.unwrap(value) for value in arguments]
        self._recorder.note(f"{self._path}.{INIT}", "call", given, keywords)
        return self._recorder.wrap(self._real(*given, **keywords), self._path)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._real,)

    def __eq__(self, other: object) -> bool:
        return bool(self._real == self._recorder.unwrap(other))

    def __hash__(self) -> int:
        return hash(self._real)

    def __int__(self) -> int:
        return int(self._real)

    def __str__(self) -> str:
        return str(self._real)


def _caller() -> FrameType | None:
    """The frame of edgestill's module that made the access; None if another module made it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    own = frame is not None and str(frame.f_globals.get("__name__")).startswith(OWN_PACKAGES)
    return frame if own else None


def _types(value: Any) -> list[str]:
    """Names of the classes of a value; of an enumeration's member only its own."""
    kinds = type(value).__mro__[:1] if isinstance(value, Enum) else type(value).__mro__[:-1]
    return [kind.__name__ for kind in kinds]
