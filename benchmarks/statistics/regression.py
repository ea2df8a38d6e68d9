"""Whether models became slower since an earlier result of ``bench``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.statistics.compare import compare_results
from edgestill.errors import DataError


def against_baseline(earlier: Mapping[str, Any], now: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """Compare a result with an earlier one of the same models.

    A regression is a verdict ``slower`` of ``compare_models`` for whole frames or for inference: the interval
    of the ratio lies beyond the margin of separate runs, and neither power mode, governor, clocks nor library
    versions explain it. What they explain is in ``explained``.

    Args:
        earlier: The baseline.
        now: The result that was just measured.
        name: File of the baseline, for messages.

    Returns:
        ``file``, ``comparisons``, ``regressions`` and ``explained`` as sentences, and ``doubts``.

    Raises:
        DataError: The baseline is no result of bench.
        UsageError: They have no model in common.
    """
    found = compare_results(earlier, now, names=(name, "this run"))
    comparisons = found["comparisons"]
    return {
        "file": name,
        "comparisons": comparisons,
        "regressions": [_sentence(c, name) for c in comparisons if c["verdict"] == "slower"],
        "explained": [
            f"{_sentence(c, name)}: {c['reason']}"
            for c in comparisons
            if c["verdict"] == "can't tell" and c["low"] > 1 + c["margin"] and c["reason"]
        ],
        "doubts": found["doubts"],
    }


def refuse_other_machine(earlier: Mapping[str, Any], title: str, *, name: str) -> None:
    """Raise DataError if a baseline is not of this machine: its times say nothing about a regression.

    Args:
        earlier: The baseline.
        title: This machine, ``devices.detect.detect().title``.
        name: File of the baseline.
    """
    machine = (earlier["models"][0].get("environment") or {}).get("machine") or {}
    if machine.get("title") != title:
        raise DataError(
            f"{name} was measured on {machine.get('title') or 'an unknown machine'}, and this is {title}",
            hint="a baseline is of one machine; edgestill compare compares machines",
        )


def _sentence(comparison: Mapping[str, Any], name: str) -> str:
    c = comparison
    return (
        f"{c['b']}, {c['measure']}: {c['b_ms']:g} ms, {c['ratio']:.3f} times the {c['a_ms']:g} ms of {name} "
        f"({c['confidence']:.0%} interval {c['low']:.3f} to {c['high']:.3f})"
    )
