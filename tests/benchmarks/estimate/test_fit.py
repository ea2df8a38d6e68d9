"""The fit, its cross-validation, and the table that it is fitted to."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.estimate.__main__ import report
from benchmarks.estimate.cross_validation import (
    Estimated,
    estimated,
    interval_factor,
    leave_one_out,
    scores,
)
from benchmarks.estimate.fit import PRIORS, fit
from benchmarks.estimate.fitted import fit_all, shipped, train_rows
from benchmarks.estimate.latency_model import COSTS, latency_ms
from benchmarks.estimate.published_latencies import (
    PROFILE_OF,
    Published,
    read_table,
    table_sha256,
    usable_rows,
)
from devices.profile import profile_names


def remeasured(rows: Sequence[Published], costs: dict[str, float], noise: float = 0.0) -> list[Published]:
    """The rows with latencies of other costs, and noise."""
    random = np.random.default_rng(0)
    factors = np.exp(random.normal(0, noise, len(rows)))
    return [
        replace(row, measured_ms=latency_ms(row.terms, costs) * factor)
        for row, factor in zip(rows, factors, strict=True)
    ]


def test_the_shipped_fit_is_the_one_of_the_shipped_table() -> None:
    again = fit_all(train_rows())
    ours = shipped()
    assert ours.table_sha256 == table_sha256()
    assert ours.costs == pytest.approx(again.costs, rel=1e-4)
    assert ours.interval_factor == pytest.approx(again.interval_factor, abs=2e-3)
    assert (ours.rows, ours.devices) == (again.rows, again.devices)
    assert dict(ours.fitted) == dict(again.fitted)


def test_no_row_for_orientation_is_fitted() -> None:
    assert {row.split for row in train_rows()} == {"train"}
    table = read_table()
    train = [row for row in table if row["split"] == "train" and row["runtime"] == "tensorrt"]
    assert shipped().rows == len(train) == len(train_rows()), "every train row of TensorRT is understood"
    assert {row["split"] for row in table} == {"train", "aux"}
    assert all(row["source"] for row in table)


def test_devices_of_the_table_have_profiles() -> None:
    assert set(PROFILE_OF.values()) <= set(profile_names())


def test_known_costs_are_found_again() -> None:
    rows = train_rows()
    true = {
        name: prior.median * factor
        for (name, prior), factor in zip(PRIORS.items(), [1.2, 0.8] * 7, strict=True)
    }
    found = fit(remeasured(rows, true, noise=0.02))
    used = [name for name in COSTS if sum(row.terms[name] for row in rows) > 0]
    errors = scores(estimated(remeasured(rows, true), found))
    assert errors.median < 0.04
    assert errors.p90 < 0.1
    assert found["memory"] == pytest.approx(true["memory"], rel=0.2)
    assert found["fp16_tensor"] == pytest.approx(true["fp16_tensor"], rel=0.2)
    unused = set(COSTS) - set(used)
    assert unused == {"int8_dp4a"}, "the prior decides"
    assert found["int8_dp4a"] == pytest.approx(PRIORS["int8_dp4a"].median)


def test_one_wrong_row_does_not_decide() -> None:
    rows = list(train_rows())
    true = {name: prior.median for name, prior in PRIORS.items()}
    clean = remeasured(rows, true)
    wrong = [replace(clean[0], measured_ms=clean[0].measured_ms * 10), *clean[1:]]
    assert scores(estimated(clean, fit(wrong))).median < 0.05


def test_left_out_rows_are_not_seen_by_the_fit() -> None:
    rows = train_rows()
    publication = rows[0].source
    changed = [replace(r, measured_ms=r.measured_ms * 3) if r.source == publication else r for r in rows]
    of_it = [
        [e.estimate_ms for e in leave_one_out(some, lambda r: r.source) if e.group == publication]
        for some in (rows, changed)
    ]
    assert of_it[0] == pytest.approx(of_it[1])


def test_unseen_publications_are_estimated_as_well_as_the_aim_says() -> None:
    found = scores(leave_one_out(train_rows(), lambda row: row.source))
    assert found.median <= 0.15
    assert found.within[1.5] >= 0.9


def test_the_interval_holds_nine_tenths_of_unseen_rows() -> None:
    left_out = leave_one_out(train_rows(), lambda row: row.source)
    factor = interval_factor(left_out)
    held = [abs(one.error) <= np.log(factor) for one in left_out]
    assert np.mean(held) >= 0.9
    assert factor < 1.6


def test_the_document_has_the_tables_of_the_command() -> None:
    document = Path(__file__).parents[3] / "docs" / "results" / "estimate.md"
    shown = set(document.read_text("utf-8").splitlines())
    fitted = shipped()
    assert [
        line for line in report(train_rows(), fitted.costs, fitted.interval_factor) if line not in shown
    ] == []


def test_the_interval_grows_with_errors_and_with_fewer_publications() -> None:
    row = train_rows()[0]

    def with_errors(groups: Sequence[str], factor: float) -> list[Estimated]:
        return [Estimated(row=row, group=g, estimate_ms=row.measured_ms * factor) for g in groups]

    few, many = (interval_factor(with_errors(groups, 1.2)) for groups in ("abc", "abcdefghij"))
    assert 1.2 < many < few
    assert interval_factor(with_errors("abc", 1.3)) > few


def test_rows_for_orientation_with_stated_conditions_are_within_the_interval() -> None:
    rows = [row for row in usable_rows() if row.split == "aux" and row.trust != "C"]
    assert len(rows) >= 15
    found = estimated(rows, shipped().costs)
    held = [abs(one.error) <= np.log(shipped().interval_factor) for one in found]
    assert np.mean(held) >= 0.9
