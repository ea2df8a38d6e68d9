"""From result files to the sections of a page: tables and plots for each kind of result.

The kind of a result is in its ``kind``, or is derived from its keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.accuracy_section import accuracy_against_latency, accuracy_section, eval_name
from benchmarks.report.blocks import Card, Picture, Pictures, Section
from benchmarks.report.history_plot import history_section
from benchmarks.report.latency_section import VERDICT_TONES, comparison_section, latency_section, title_of
from benchmarks.report.peers_section import peers_section
from benchmarks.report.result_kind import HINT, kind_of, refuse_incomplete
from benchmarks.report.safety_section import safety_cards, safety_section
from benchmarks.report.suite_section import suite_section
from benchmarks.report.training_section import training_section
from benchmarks.report.verification import exports_section, facts_table, verification_section
from edgestill.errors import DataError

Result = Mapping[str, Any]

BENCHES = ("bench", "offline", "mlperf")  # kinds of results of ``bench``
SINGLE = "single"  # the scenario whose latency is that of one frame at a time
#: Errors of reading a result whose values are of other types than a verb writes.
_BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError)


def build_page(
    results: Sequence[tuple[str, Result]], pictures: Sequence[Picture] = ()
) -> tuple[list[Section], list[Card]]:
    """The sections and the headline figures of a page.

    Args:
        results: File name and content of each result.
        pictures: Images for a section of their own.

    Raises:
        DataError: A file is not a result, or lacks what its kind has; the message names it.
    """
    for name, result in results:
        refuse_incomplete(result, name)
    try:
        return build_sections(results, pictures), headline_cards([result for _, result in results])
    except _BROKEN as error:
        for name, result in results:
            if reason := _why_broken(name, result):
                raise DataError(f"{name} is not a whole result: {reason}", hint=HINT) from error
        raise


def _why_broken(name: str, result: Result) -> str | None:
    """The error of a page of one result alone; None if there is none."""
    try:
        build_sections([(name, result)])
        headline_cards([result])
    except _BROKEN as error:
        kind = kind_of(result)
        return f"as {kind} it has no {error}" if isinstance(error, KeyError) else f"as {kind}: {error}"
    return None


def build_sections(results: Sequence[tuple[str, Result]], pictures: Sequence[Picture] = ()) -> list[Section]:
    """The sections of a page for any mix of results.

    Args:
        results: File name and content of each result.
        pictures: Images for a section of their own, e.g. frames of a clip.
    """
    by_kind: dict[str, list[tuple[str, Result]]] = {}
    for source, result in results:
        by_kind.setdefault(kind_of(result, source), []).append((source, result))
    measured = [(source, result) for kind in BENCHES for source, result in by_kind.get(kind, [])]
    sections = [
        accuracy_against_latency(_singles(_of(by_kind, "bench")), _of(by_kind, "eval")),
        accuracy_section(_of(by_kind, "eval")),
        *(safety_section(result) for result in _of(by_kind, "safety")),
        *_latency_sections(measured),
        history_section(_singles(_of(by_kind, "bench"))),
        comparison_section([c for r in _of(by_kind, "compare") for c in r["comparisons"]]),
        *(training_section(result, source) for source, result in by_kind.get("distill", [])),
        *(suite_section(result) for result in _of(by_kind, "suite")),
        *(peers_section(result) for result in _of(by_kind, "peers")),
        exports_section(_of(by_kind, "export")),
        verification_section([*_of(by_kind, "export"), *_of(by_kind, "verify")]),
        Section(title="Images", blocks=[Pictures(pictures)]) if pictures else None,
        *(
            Section(title=f"Result: {source}", blocks=[facts_table(result)])
            for source, result in by_kind.get("other", [])
        ),
    ]
    return [section for section in sections if section is not None]


def headline_cards(results: Sequence[Result]) -> list[Card]:
    """The headline figures of any mix of results: fastest, most accurate, largest gain in speed."""
    singles = _singles([r for r in results if kind_of(r) == "bench"])
    models = [m for r in singles for m in r["models"] if (m.get("stages_ms") or {}).get("inference")]
    evals = [r for r in results if kind_of(r) == "eval" and r.get("map50_95") is not None]
    ratios = [c for r in singles for c in r.get("ratios", ()) if c["measure"] == "inference"]
    cards = []
    if models:
        best = min(models, key=lambda m: m["stages_ms"]["inference"])
        cards.append(
            Card(value=f"{best['stages_ms']['inference']:.1f} ms", label=f"fastest inference: {best['name']}")
        )
    if evals:
        top = max(evals, key=lambda r: r["map50_95"])
        label = f"highest mAP50-95: {eval_name(top)}, {top['split']}"
        cards.append(Card(value=f"{100 * top['map50_95']:.1f}", label=label))
    if ratios:
        c = min(ratios, key=lambda c: c["ratio"])
        label = f"time of {c['b']} against {c['a']}: {c['verdict']}"
        cards.append(Card(value=f"{c['ratio']:.2f} ×", label=label, tone=VERDICT_TONES.get(c["verdict"], "")))
    return [*cards, *safety_cards([r for r in results if kind_of(r) == "safety"])]


def _latency_sections(benches: Sequence[tuple[str, Result]]) -> list[Section]:
    if len(benches) == 1:
        return [latency_section(benches[0][1])]
    return [latency_section(result, f"{title_of(result)}: {source}") for source, result in benches]


def _singles(benches: Sequence[Result]) -> list[Result]:
    return [bench for bench in benches if bench["scenario"] == SINGLE]


def _of(by_kind: Mapping[str, Sequence[tuple[str, Result]]], kind: str) -> list[Result]:
    return [result for _, result in by_kind.get(kind, [])]
