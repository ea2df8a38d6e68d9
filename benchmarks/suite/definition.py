"""The definition of a suite: a TOML file with models and the axes of a matrix.

``[models]`` gives checkpoints by name, ``[matrix]`` the values of each axis. Each table ``[[leave_out]]``
names values of axes; the cells that have all of them are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError, unknown_name
from edgestill.files import read_text
from edgestill.target import FILE_PRECISIONS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "suites"

OWN_SIZE = "own"  # the input size of the checkpoint
#: The file format that a backend runs, as ``edgestill export --to`` names it.
FORMATS: Mapping[str, str] = {"ort": "onnx", "ov": "openvino", "trt": "tensorrt"}
SCENARIOS = ("single", "offline", "paced", "multi")
MOST_CELLS = 10_000
NO_BF16 = tuple({"precision": "bf16", "backend": name} for name in FORMATS if name != "ov")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file that a suite exports.

    Attributes:
        model: Name of the model in the suite.
        size: ``own``, or input height and width as ``HxW``.
        precision: Of ``FILE_PRECISIONS``.
        format: ``onnx``, ``openvino`` or ``tensorrt``.
    """

    model: str
    size: str
    precision: str
    format: str

    @property
    def key(self) -> str:
        """Its name in the folder of the suite."""
        return f"{self.model}-{self.size}-{self.precision}-{self.format}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measurement of a suite.

    Attributes:
        file: What is measured.
        backend: ``ort``, ``ov`` or ``trt``.
        threads: CPU threads.
        scenario: See ``SCENARIOS``.
    """

    file: ModelFile
    backend: str
    threads: int
    scenario: str

    @property
    def key(self) -> str:
        """Its name in the folder of the suite."""
        return f"{self.file.key}-{self.backend}-{self.threads}-{self.scenario}"

    def values(self) -> dict[str, Any]:
        """Its value of each axis."""
        own = {"backend": self.backend, "threads": self.threads, "scenario": self.scenario}
        return {"model": self.file.model, "size": self.file.size, "precision": self.file.precision, **own}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The content of a suite's file.

    Attributes:
        models: Checkpoints by name.
        precisions: Of ``FILE_PRECISIONS``; of the backends only ``ov`` has ``bf16``.
        backends: Of ``FORMATS``.
        threads: CPU threads.
        sizes: ``own``, or height and width as ``HxW`` or one number.
        scenarios: Of ``SCENARIOS``.
        visits: How often each cell is measured, each time in a new process.
        duration_s: Smallest measured time of a visit, seconds.
        min_samples: Smallest number of frames of a visit.
        fps: Frames per second of a camera, of the scenarios ``paced`` and ``multi``.
        streams: Cameras of the scenario ``multi``.
        leave_out: Values by axis; cells that have all values of one of them are left out.
    """

    models: Mapping[str, str]
    precisions: tuple[str, ...] = ("fp32", "int8")
    backends: tuple[str, ...] = ("ort",)
    threads: tuple[int, ...] = (1,)
    sizes: tuple[str, ...] = (OWN_SIZE,)
    scenarios: tuple[str, ...] = ("single",)
    visits: int = 3
    duration_s: float = 5.0
    min_samples: int = 32
    fps: float = 30.0
    streams: int = 4
    leave_out: tuple[Mapping[str, Any], ...] = ()

    def cells(self) -> list[Cell]:
        """The cells of the matrix, in the order of its axes; bf16 is of OpenVINO only."""
        axes = (self.models, self.sizes, self.backends, self.precisions, self.threads, self.scenarios)
        cells = [
            Cell(
                file=ModelFile(model=model, size=size, precision=precision, format=FORMATS[backend]),
                backend=backend,
                threads=threads,
                scenario=scenario,
            )
            for model, size, backend, precision, threads, scenario in product(*axes)
        ]
        return [
            cell for cell in cells if not any(_has(cell, values) for values in (*self.leave_out, *NO_BF16))
        ]


def suite_names() -> list[str]:
    """The suites that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_suite(name: str, models: Mapping[str, str] | None = None) -> Suite:
    """Read a suite.

    Args:
        name: A shipped suite, or a TOML file.
        models: Checkpoints by name, instead of those of the file.

    Raises:
        UsageError: There is no such suite, or its content is not one.
    """
    path = FOLDER / f"{name}.toml" if name in suite_names() else Path(name)
    if not path.is_file():
        raise unknown_name("suite", name, suite_names())
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is not TOML: {error}", hint="see docs/how-to/measure.md") from error
    return suite_of(content, name, models)


def suite_of(content: Mapping[str, Any], name: str, models: Mapping[str, str] | None = None) -> Suite:
    """A suite from the content of its file.

    Args:
        content: The tables of the file.
        name: The file, for messages.
        models: Checkpoints by name, instead of those of the file.

    Raises:
        UsageError: A key is unknown, a value has another type or is not one of its axis, or no cell is left.
    """
    matrix = content.get("matrix", {})
    if not isinstance(matrix, Mapping):
        raise UsageError(f"{name}: matrix is not a table", hint="[matrix] holds the values of each axis")
    known = {field.name for field in fields(Suite)} - {"models", "leave_out"}
    for table, keys in ((content, {"models", "matrix", "leave_out"}), (matrix, known)):
        if unknown := sorted(set(table) - keys):
            raise unknown_name(f"key of {name}", unknown[0], sorted(keys))
    values = {key: _value(name, key, value) for key, value in matrix.items()}
    left_out = content.get("leave_out", [])
    suite = Suite(
        models=_models(name, models or content.get("models", {})),
        leave_out=tuple(_left_out(name, table) for table in _list(name, "leave_out", left_out)),
        **values,
    )
    count = len(suite.models) * _count(suite)
    if count > MOST_CELLS:
        raise UsageError(
            f"{name} has {count} cells", hint=f"at most {MOST_CELLS}; leave out values of an axis"
        )
    if not suite.cells():
        raise UsageError(
            f"{name} has no cells", hint="every axis needs a value that leave_out does not remove"
        )
    return suite


def _count(suite: Suite) -> int:
    lengths = map(len, (suite.precisions, suite.backends, suite.threads, suite.sizes, suite.scenarios))
    count = 1
    for length in lengths:
        count *= length
    return count


#: The values that an axis takes; any whole number from 1 on for ``threads``, any size for ``sizes``.
_CHOICES: Mapping[str, Sequence[str]] = {
    "precisions": FILE_PRECISIONS,
    "backends": tuple(FORMATS),
    "scenarios": SCENARIOS,
}
_NUMBERS: Mapping[str, type] = {
    "visits": int,
    "duration_s": float,
    "min_samples": int,
    "fps": float,
    "streams": int,
}


def _value(name: str, key: str, value: Any) -> Any:
    """A value of the table ``matrix``, checked."""
    if key in _NUMBERS:
        return _number(f"{name}: {key}", value, _NUMBERS[key], least=0 if key == "duration_s" else 1)
    items = _list(name, key, value)
    if len({str(item) for item in items}) < len(items):
        raise UsageError(f"{name}: {key} names a value twice", hint="each value makes cells of its own")
    if key == "threads":
        return tuple(_number(f"{name}: threads", item, int, least=1) for item in items)
    if key == "sizes":
        return tuple(_size(name, item) for item in items)
    for item in items:
        if item not in _CHOICES[key]:
            raise unknown_name(f"value of {key} in {name}", str(item), _CHOICES[key])
    return tuple(items)


def _number(what: str, value: Any, kind: type, *, least: int) -> Any:
    is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not (is_number and least <= value < 1e9):
        raise UsageError(f"{what} is {value!r}", hint=f"a number of {least} or more")
    return kind(value)


def _size(name: str, value: Any) -> str:
    sides = str(value).lower().split("x")
    is_size = len(sides) in {1, 2} and all(side.isdecimal() and int(side[:6]) > 0 for side in sides)
    if value != OWN_SIZE and not is_size:
        raise UsageError(
            f"{name}: the size {value!r} is not HxW", hint=f'e.g. "384x640", 320 or "{OWN_SIZE}"'
        )
    return str(value).lower() if value == OWN_SIZE or len(sides) == 2 else f"{value}x{value}"


def _list(name: str, key: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{name}: {key} is not a list", hint="write the values in brackets")
    return value


def _models(name: str, models: Any) -> Mapping[str, str]:
    if not isinstance(models, Mapping) or not all(isinstance(path, str) for path in models.values()):
        raise UsageError(f"{name}: models is not a table of checkpoints", hint='[models] student = "student"')
    for model in models:
        if not model or not all(c.isalnum() or c in "._-" for c in model) or model.startswith("."):
            raise UsageError(
                f"{name}: {model!r} is no name of a model", hint="letters, digits, '.', '_' and '-'"
            )
    return models


def _left_out(name: str, table: Any) -> Mapping[str, Any]:
    axes = ("model", "size", "precision", "backend", "threads", "scenario")
    if not isinstance(table, Mapping) or not table:
        raise UsageError(
            f"{name}: an entry of leave_out is no table", hint='e.g. {backend = "ov", threads = 1}'
        )
    for axis in table:
        if axis not in axes:
            raise unknown_name(f"axis of leave_out in {name}", axis, axes)
    return {**table, "size": _size(name, table["size"])} if "size" in table else table


def _has(cell: Cell, values: Mapping[str, Any]) -> bool:
    """Whether a cell has all of some values of axes."""
    return all(cell.values()[axis] == value for axis, value in values.items())
