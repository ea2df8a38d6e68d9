"""The fitted costs as they are shipped, and how far from the published rows they may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from benchmarks.estimate.cross_validation import interval_factor, leave_one_out
from benchmarks.estimate.fit import fit
from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.published_latencies import Published, table_sha256, usable_rows
from edgestill.errors import UsageError
from edgestill.files import read_json, write_json

FILE = Path(__file__).with_name("fitted.json")
COMMAND = "python -m benchmarks.estimate --write"
#: How far outside the range of the fitted rows a case may be, as a factor.
REACH = {"megapixels": 4.0, "gflops": 8.0, "batch": 2.0}
SIGNIFICANT = 6  # digits of the costs that are stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The result of a fit.

    Attributes:
        table_sha256: Of the table that it was fitted to.
        rows: Number of rows.
        costs: See ``latency_model.COSTS``.
        interval_factor: The interval is from the estimate divided by it to the estimate times it.
        fitted: By quantity of ``REACH``, the lowest and the highest value among the rows.
        devices: Keys of the devices of the rows.
    """

    table_sha256: str
    rows: int
    costs: Mapping[str, float]
    interval_factor: float
    fitted: Mapping[str, tuple[float, float]]
    devices: tuple[str, ...]


def train_rows() -> tuple[Published, ...]:
    """The rows that may be fitted."""
    return tuple(row for row in usable_rows() if row.split == "train")


def fit_all(rows: Sequence[Published]) -> Fitted:
    """Fit to rows, with the interval from a cross-validation by publication."""
    quantities = [_quantities(row.work, row.batch) for row in rows]
    left_out = leave_one_out(rows, lambda row: row.source)
    return Fitted(
        table_sha256=table_sha256(),
        rows=len(rows),
        costs={name: float(f"{cost:.{SIGNIFICANT}g}") for name, cost in fit(rows).items()},
        interval_factor=round(interval_factor(left_out), 3),
        fitted={name: _range([q[name] for q in quantities]) for name in REACH},
        devices=tuple(sorted({row.device for row in rows})),
    )


def write_fitted(fitted: Fitted) -> None:
    """Replace the shipped file."""
    write_json(FILE, asdict(fitted))


@cache
def shipped() -> Fitted:
    """The shipped fit."""
    data = read_json(FILE, hint=COMMAND)
    return Fitted(
        **{
            **data,
            "fitted": {name: tuple(ends) for name, ends in data["fitted"].items()},
            "devices": tuple(data["devices"]),
        }
    )


def refuse_outside(fitted: Fitted, work: ModelWork, batch: int) -> None:
    """Raise UsageError for a size, a model or a batch that is far from all rows of the fit."""
    for name, value in _quantities(work, batch).items():
        low, high = fitted.fitted[name]
        least, most = low / REACH[name], high * REACH[name]
        if not least * 0.999 <= value <= most * 1.001:  # the ends themselves are allowed
            raise UsageError(
                f"no estimate for {work.name}: {value:.3g} {name}, and the fitted latencies have "
                f"{low:.3g} to {high:.3g}",
                hint=f"{least:.2g} to {most:.4g} {name} can be estimated; measure others: edgestill bench",
            )


def _quantities(work: ModelWork, batch: int) -> dict[str, float]:
    height, width = work.input_hw
    return {"megapixels": height * width / 1e6, "gflops": work.gflops, "batch": float(batch)}


def _range(values: Sequence[float]) -> tuple[float, float]:
    return round(min(values), 4), round(max(values), 4)
