"""``python -m benchmarks.estimate``: fit the model of latency and print its cross-validation as Markdown.

``--write`` replaces the shipped fit, which is needed after a change of the table, of the layers, of the model
or of the peaks of a device that has rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.estimate.cross_validation import Estimated, Scores, estimated, leave_one_out, scores
from benchmarks.estimate.fitted import fit_all, train_rows, write_fitted
from benchmarks.estimate.published_latencies import Published, usable_rows

HEAD = ("left out", "rows", "median error", "90th percentile", "within x1.25", "within x1.5", "bias")


def main() -> None:
    """Print the costs and the tables, and write the fit if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the shipped fit")
    args = parser.parse_args()
    rows = train_rows()
    fitted = fit_all(rows)
    if args.write:
        write_fitted(fitted)
    print("\n".join(report(rows, fitted.costs, fitted.interval_factor)))


def report(rows: Sequence[Published], costs: Mapping[str, float], factor: float) -> Iterator[str]:
    """The lines of docs/results/estimate.md that are measured.

    Args:
        rows: Rows that may be fitted.
        costs: The costs that were fitted to them.
        factor: Of the interval.
    """
    yield f"{len(rows)} rows, interval: the estimate divided by {factor:g} to the estimate times {factor:g}"
    yield from ("", _line(("cost", "value")), _line(("---", "---:")))
    yield from (_line((name, f"{cost:.4g}")) for name, cost in costs.items())
    for title, group_of in (("publication", lambda r: r.source), ("device", lambda r: r.device)):
        found = leave_one_out(rows, group_of)
        yield from ("", f"Each {title} left out of the fit in turn:", "", *_table(found, lambda e: e.group))
    found = leave_one_out(rows, lambda r: r.source)
    yield from ("", "The same errors by precision, each publication left out in turn:", "")
    yield from _table(found, lambda e: e.row.precision)
    never = [row for row in usable_rows() if row.split == "aux"]
    yield from ("", "Rows that are never fitted, by the trust in their conditions:", "")
    yield from _table(estimated(never, costs), lambda e: f"trust {e.row.trust}")


def _table(found: Sequence[Estimated], group_of: Callable[[Estimated], str]) -> Iterator[str]:
    yield from (_line(HEAD), _line(("---", *["---:"] * (len(HEAD) - 1))))
    for group in sorted(set(map(group_of, found))):
        yield _row(group, scores([one for one in found if group_of(one) == group]))
    yield _row("**all**", scores(found))


def _row(name: str, of: Scores) -> str:
    within = [f"{part:.0%}" for part in of.within.values()]
    return _line((name, str(of.rows), f"{of.median:.0%}", f"{of.p90:.0%}", *within, f"{of.bias:+.0%}"))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
