"""Leaves out of the samples the rounds in which a model was not in its steady state yet."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure.samples import Samples
from benchmarks.statistics.steady_state import truncation


def keep_steady(samples: Sequence[Samples], *, together: bool, least_rounds: int) -> None:
    """Leave out the rounds before the steady state, see ``benchmarks.statistics.steady_state``.

    The steady state of a process is looked for in its warm-up and its samples together, so that nothing is
    cut where the warm-up was long enough.

    Args:
        samples: Of each model; changed.
        together: Whether rounds of equal number are compared, so that they are left out of all models.
        least_rounds: Nothing is left out of a model that would keep fewer; it then counts as not steady.
    """
    found = [_unsteady_rounds(taken) for taken in samples]
    union = set().union(*found)
    for taken, own in zip(samples, found, strict=True):
        rounds = union if together else own
        if len(set(taken.rounds) - rounds) < least_rounds:
            taken.is_steady = False
        elif rounds:
            taken.leave_out(rounds)


def _unsteady_rounds(samples: Samples) -> set[int]:
    """Numbers of the rounds before the steady state of their process; ``is_steady`` says if one has none."""
    processes = samples.processes or [0] * len(samples)
    found: set[int] = set()
    for number, warmup_ms in enumerate(samples.warmup_ms):
        places = [k for k, process in enumerate(processes) if process == number]
        times_ms = [*warmup_ms, *(samples.stages_ms["inference"][k] for k in places)]
        cut = truncation(times_ms)
        if cut is None:
            samples.is_steady = False
        else:
            found |= {samples.rounds[k] for k in places[: max(cut - len(warmup_ms), 0)]}
    return found
