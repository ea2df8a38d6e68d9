"""Leaves out of the samples the rounds in which a model was not in its steady state yet."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure.samples import Samples
from benchmarks.statistics.steady_state import truncation


def keep_steady(samples: Sequence[Samples], *, process: int = 0) -> None:
    """Leave out the rounds of a process before its steady state, see ``benchmarks.statistics.steady_state``.

    The steady state is looked for in the warm-up and the samples together, so that nothing is cut where the
    warm-up was long enough. A model that has none keeps its samples, and ``is_steady`` says so.

    Args:
        samples: Of models whose rounds of equal number are compared, so that a round is left out of all of
            them; changed.
        process: Number of the process, 0 if there is one.
    """
    rounds = set().union(*(_unsteady_rounds(taken, process) for taken in samples))
    if rounds:
        for taken in samples:
            taken.leave_out(rounds)


def _unsteady_rounds(samples: Samples, process: int) -> set[int]:
    """Numbers of the rounds before the steady state."""
    places = [k for k in range(len(samples)) if not samples.processes or samples.processes[k] == process]
    warmup_ms = samples.warmup_ms[process]
    cut = truncation([*warmup_ms, *(samples.stages_ms["inference"][k] for k in places)])
    if cut is None:
        samples.is_steady = False
        return set()
    return {samples.rounds[k] for k in places[: max(cut - len(warmup_ms), 0)]}
