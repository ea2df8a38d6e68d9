"""Results as one CSV file with a line for each model and measure, for spreadsheets and other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.report.portable import PathLabels
from benchmarks.report.result_kind import kind_of, refuse_incomplete
from benchmarks.report.units import unit_of
from edgestill.files import refuse_overwrite, write_bytes

Result = Mapping[str, Any]

#: Keys of conditions and raw samples, which are no measures.
NOT_MEASURES = frozenset(
    {
        "environment",
        "setting",
        "recipe",
        "calibration",
        "sha256",
        "footage",
        "models",
        "ratios",
        "comparisons",
    }
    | {"input_hw", "seed", "threads", "lights", "against_first"}
)
REASON = "_reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A line of the file.

    Attributes:
        result: The file of the result.
        kind: Its kind.
        scenario: Of a benchmark.
        model: The model; of a comparison, the one that is compared.
        backend: What ran it.
        precision: Of its weights.
        data: The data set.
        split: Its split.
        measure: The key, parts joined by dots.
        value: A number; None where it was not measured.
        unit: In plain words; empty for none.
        reason: Why there is no value; empty for no reason.
    """

    result: str
    kind: str
    scenario: str = ""
    model: str = ""
    backend: str = ""
    precision: str = ""
    data: str = ""
    split: str = ""
    measure: str
    value: float | None
    unit: str = ""
    reason: str = ""


def write_csv(results: Sequence[tuple[str, Result]], out: Path, *, force: bool = False) -> int:
    """Write the measures of results, without absolute paths; gives the number of lines.

    Args:
        results: File name and content of each result.
        out: The file.
        force: Whether an existing file is replaced.

    Raises:
        DataError: A file is not a result, or lacks what its kind has; the message names it.
        UsageError: The file exists and ``force`` is false.
    """
    refuse_overwrite(out, force=force)
    for name, result in results:
        refuse_incomplete(result, name)
    rows = [asdict(measure) for name, result in results for measure in measures(name, result)]
    labels = PathLabels(text for row in rows for text in row.values() if isinstance(text, str))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [field.name for field in fields(Measure)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: labels(cell) if isinstance(cell, str) else cell for key, cell in row.items()})
    write_bytes(out, stream.getvalue().encode("utf-8", "replace"), force=force)
    return len(rows)


def measures(name: str, result: Result) -> Iterator[Measure]:
    """The measures of one result, model by model.

    Args:
        name: The file of the result.
        result: Its content.
    """
    about = {
        "result": name,
        "kind": kind_of(result, name),
        **{key: str(result.get(key) or "") for key in ("scenario", "data", "split")},
    }
    parts = [*_list(result, "models"), *_list(result, "cells")]
    for part in parts:
        yield from _of_model(part, {**about, **_identity(part)})
    for ratio in [*_list(result, "ratios"), *_list(result, "comparisons")]:
        for key in ("ratio", "low", "high"):
            measure = f"{ratio.get('measure')}.against {ratio.get('a')}.{key}"
            unit = unit_of("ratio") or ""
            yield Measure(
                **about, model=str(ratio.get("b")), measure=measure, value=ratio.get(key), unit=unit
            )
    if not parts:
        yield from _of_model(result, {**about, **_identity(result)})


def _list(result: Result, key: str) -> list[Result]:
    found = result.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _identity(model: Result) -> dict[str, str]:
    named = next((model[key] for key in ("name", "key", "model", "candidate", "best") if model.get(key)), "")
    own = ("backend", "precision", *(["scenario"] if "scenario" in model else []))
    return {"model": str(named), **{key: str(model.get(key) or "") for key in own}}


def _of_model(model: Result, about: Mapping[str, str]) -> Iterator[Measure]:
    for key, value in _numbers(model):
        yield Measure(**about, measure=key, value=value, unit=unit_of(key) or "")
    for key, reason in _missing(model):
        yield Measure(**about, measure=key, value=None, unit=unit_of(key) or "", reason=reason)


def _missing(model: Result) -> Iterator[tuple[str, str]]:
    """Keys without a value, and why; some keys have a reason for each of their parts."""
    for key, reason in model.items():
        if not key.endswith(REASON) or not reason:
            continue
        named = [other for other in model if other.startswith(key.removesuffix(REASON)) and other != key]
        if isinstance(reason, Mapping):
            owners = [other for other in named if isinstance(model[other], Mapping)]
            for part, why in reason.items():
                yield from ((f"{o}.{part}", str(why)) for o in owners if model[o].get(part, 0) is None)
        else:
            yield from ((other, str(reason)) for other in named if model[other] is None)


def _numbers(data: Result, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Keys joined by dots, and numbers; lists are raw samples and left out."""
    for key, value in data.items():
        if key in NOT_MEASURES:
            continue
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + key, value
