"""Counts of an earlier version, by what they depend on, and which counts have grown.

A count depends on the libraries and on the kind of processor, not on how fast or how busy the machine is. The
file holds the counts of each combination that somebody recorded; another combination has no baseline yet.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.instructions.counting import Counter, cpu_class
from devices.software import versions
from edgestill.errors import DataError
from edgestill.files import read_json, write_json

GROWTH_LIMIT = 0.05  # relative; repetitions differ by less than 0.005
Counts = dict[str, dict[str, int]]  # instructions a frame, by inputs and stage


def baseline_key(counter: Counter) -> str:
    """What the counts of this machine depend on, as one line."""
    libraries = versions(("numpy", "opencv-python"))
    parts = [
        f"{counter.name} {cpu_class()}",
        f"python {'.'.join(platform.python_version_tuple()[:2])}",
        " ".join(platform.libc_ver()),
        *(f"{name} {version}" for name, version in libraries.items()),
    ]
    return ", ".join(parts)


def read_baseline(path: Path) -> dict[str, Counts]:
    """The counts of a file by key; none if it does not exist.

    Raises:
        DataError: It is no file of counts.
    """
    if not path.exists():
        return {}
    found = read_json(path, hint="python -m benchmarks.instructions --update writes it")
    if not _is_baseline(found):
        raise DataError(
            f"{path} holds no instruction counts", hint="python -m benchmarks.instructions --update writes it"
        )
    return dict(found)


def write_baseline(path: Path, key: str, counts: Counts) -> None:
    """Set the counts of one key; those of others stay."""
    write_json(path, dict(sorted({**read_baseline(path), key: counts}.items())))


def changes(counts: Counts, earlier: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Each count beside the earlier one: ``ratio``, and whether it ``grew`` by more than ``GROWTH_LIMIT``.

    Raises:
        DataError: Something was counted that the earlier counts do not have, or the reverse.
    """
    pairs = {(name, stage) for name, stages in counts.items() for stage in stages}
    known = {(name, stage) for name, stages in earlier.items() for stage in stages}
    if pairs != known:
        odd = ", ".join(f"{name} {stage}" for name, stage in sorted(pairs ^ known))
        raise DataError(
            f"the baseline has other stages: {odd}", hint="python -m benchmarks.instructions --update"
        )
    return [
        {
            "inputs": name,
            "stage": stage,
            "instructions": counts[name][stage],
            "baseline": earlier[name][stage],
            "ratio": round(counts[name][stage] / earlier[name][stage], 4),
            "grew": counts[name][stage] > earlier[name][stage] * (1 + GROWTH_LIMIT),
        }
        for name, stage in sorted(pairs)
    ]


def _is_baseline(data: Any) -> bool:
    """Whether this is counts by key, inputs and stage."""
    if not isinstance(data, dict):
        return False
    levels = [of_key for of_key in data.values() if isinstance(of_key, dict)]
    stages = [stages for of_key in levels for stages in of_key.values() if isinstance(stages, dict)]
    numbers = [count for of_inputs in stages for count in of_inputs.values()]
    is_whole = len(levels) == len(data) and len(stages) == sum(map(len, levels))
    return is_whole and all(type(count) is int and count > 0 for count in numbers)
