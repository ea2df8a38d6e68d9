"""The rows of the table, a program with a file each, and their figures from finished turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.model_files import ModelFile, model_files
from benchmarks.peers.programs import COVERS
from benchmarks.statistics.compare import LEAST_ROUNDS, ratio_of_medians

#: Figures of a turn that become a median of the row, see ``benchmarks.peers.programs.take``.
FIGURES = ("time_ms", "frame_ms", "gpu_ms", "cpu_ms", "process_cpu_s")
#: Of the row that the others of its backend are compared with.
BASE_RATIO: Mapping[str, float | None] = {"ratio": 1.0, "low": None, "high": None}

#: Kept turns of a row by round, see ``benchmarks.peers.turn_store``.
Turns = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A program with a file.

    Attributes:
        program: Of ``benchmarks.peers.programs.COVERS``.
        file: The file.
    """

    program: str
    file: ModelFile

    @property
    def key(self) -> str:
        """Its name in the kept turns."""
        return f"{self.program} {self.file.key}"

    @property
    def is_base(self) -> bool:
        """Whether the other rows of its backend are compared with it."""
        return self.program == "edgestill" and self.file.precision == "fp32"


def rows() -> list[Row]:
    """The rows that make sense on this machine, in the order of the table."""
    files = model_files()
    of = {backend: [f for f in files if f.backend == backend] for backend in ("ort", "ov", "trt")}
    found = [Row(program="edgestill", file=file) for file in of["ort"] + of["ov"]]
    found += [Row(program="benchmark_app", file=file) for file in of["ov"]]
    found += [Row(program="yolo predict", file=file) for file in of["ov"] if file.environment is None]
    return found + [Row(program=p, file=f) for p in ("edgestill", "trtexec") for f in of["trt"]]


def describe(row: Row, turns: Turns) -> dict[str, Any]:
    """What a row is, with the medians of its turns; milliseconds, seconds for ``process_cpu_s``."""
    by_round = {name: _by_round(turns, name) for name in FIGURES}
    return {
        "program": row.program,
        "covers": COVERS[row.program],
        "backend": row.file.backend,
        "precision": row.file.precision,
        "quantised_by": row.file.maker if row.file.precision == "int8" else None,
        **{name: round(median(values.values()), 3) if values else None for name, values in by_round.items()},
        "rounds": sorted(turns),
        "turns": {name: [round(v, 4) for v in values.values()] for name, values in by_round.items()},
    }


def ratio(turns: Turns, base: Turns) -> dict[str, float | None]:
    """Time over that of the base, and its interval by a bootstrap over the rounds that both have.

    With fewer than ``LEAST_ROUNDS`` the interval would be too narrow, and is None.
    """
    shared = sorted(set(turns) & set(base))
    if not shared:
        return {"ratio": None, "low": None, "high": None}
    a, b = ([np.asarray([kept[n]["figures"]["time_ms"]]) for n in shared] for kept in (base, turns))
    if len(shared) < LEAST_ROUNDS:
        return {"ratio": round(float(np.median(b) / np.median(a)), 4), "low": None, "high": None}
    middle, low, high = ratio_of_medians(a, b, paired=True)
    return {"ratio": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def interrupted(numbers: Iterable[int], turns_of_rows: Iterable[Turns]) -> int:
    """The number of rounds whose turns were not one after the other, but in two runs of the command."""
    kept = list(turns_of_rows)
    return sum(len({turns[n]["piece"] for turns in kept if n in turns}) > 1 for n in numbers)


def _by_round(turns: Turns, name: str) -> dict[int, float]:
    values = {number: turns[number]["figures"].get(name) for number in sorted(turns)}
    return {number: value for number, value in values.items() if value is not None}
