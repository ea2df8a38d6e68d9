"""Fallback to a higher precision: move the most sensitive blocks until a file is within its limits.

Blocks are ranked once, see ``export.quantize.sensitivity``. The smallest number of the most sensitive ones
with which the limits hold is found by doubling, then by bisection: for n blocks at most 2 log2(n) + 2 builds,
each compared like the first. At most ``MAX_WORK`` of the multiplications are moved; beyond that a file of the
higher precision is as fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.errors import VerificationError
from edgestill.manifest import Manifest
from edgestill.progress import say
from export.quantize.blocks import PrecisionBlock
from export.quantize.sensitivity import IMAGES, Sensitivity
from export.verify.gate import BeyondLimitsError

MAX_WORK = 0.5  # share of the body's multiplications
NO_LATENCY = "needs the device: the engine does not run here"
_FIGURES = (
    "candidate_map50_95",
    "drop_points",
    "drop_by_label_points",
    "reference_sure",
    "matched",
    "missed",
    "extra",
    "score_drift_mean",
    "red_green_swaps",
    "failures",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriedBuild:
    """One build and its comparison with the source.

    Attributes:
        path: The model file, in a folder of its own with its other files.
        record: Its manifest.
        compared: The compared file: the model file, or an engine's graph where the engine cannot run.
        refusal: The limits that it exceeds; None if it may be published.
    """

    path: Path
    record: Manifest
    compared: Path
    refusal: BeyondLimitsError | None

    @property
    def comparison(self) -> Mapping[str, Any]:
        """The comparison as plain JSON data; empty if there was none."""
        return self.refusal.comparison if self.refusal else self.record.verify or {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FallbackResult:
    """A build within the limits.

    Attributes:
        candidate: The build.
        moved: The blocks at a higher precision.
        record: The search, for the manifest.
    """

    candidate: TriedBuild
    moved: tuple[PrecisionBlock, ...]
    record: Mapping[str, Any]


#: Builds and compares the file with some blocks at a higher precision.
BuildWithout = Callable[[Sequence[PrecisionBlock]], TriedBuild]
#: Measures the latency of the second file relative to the first, with an interval, as plain JSON data.
MeasureLatency = Callable[[Path, Path], Mapping[str, Any]]


def find_fallback(
    first: TriedBuild, ranking: Sequence[Sensitivity], attempt: BuildWithout, measure: MeasureLatency
) -> FallbackResult:
    """Find the fewest blocks to move with which the limits hold.

    Args:
        first: The build with no block moved, which was refused.
        ranking: The sensitivities of all blocks, the highest first.
        attempt: Builds and compares with some blocks moved.
        measure: Measures the latency.

    Raises:
        VerificationError: The limits are exceeded with as many blocks moved as ``MAX_WORK`` allows.
    """
    worst = [found.block for found in ranking]
    say(f"repair: {_summary(first)}; most sensitive: {', '.join(block.name for block in worst[:5])}")
    tried: dict[int, TriedBuild] = {}

    def holds(count: int) -> bool:
        tried[count] = attempt(worst[:count])
        say(f"repair: moved {_names(worst[:count])}: {_summary(tried[count])}")
        return tried[count].refusal is None

    limit = _most(worst)
    count = _least(limit, holds)
    if count is None:
        left = "; ".join(tried[limit].comparison["failures"])
        raise VerificationError(
            f"{first.path.name} cannot be repaired: with {limit} of {len(worst)} blocks, "
            f"{_work(worst[:limit]):.0%} of the work, moved ({_names(worst[:limit])}): {left}",
            hint="check the calibration images; else export a higher precision, or train with QAT",
        )
    steps = [_step(first, worst[:tries], made, measure) for tries, made in tried.items()]
    record = {
        "because": list(first.comparison["failures"]),
        "unrepaired": _figures(first),
        "sensitivity": {found.block.name: round(found.error, 6) for found in ranking},
        "sensitivity_images": IMAGES,
        "steps": steps,
        "moved": [block.name for block in worst[:count]],
    }
    return FallbackResult(candidate=tried[count], moved=tuple(worst[:count]), record=record)


def _least(limit: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest count that holds, given that larger ones hold too; None if the limit does not hold."""
    low, high = 0, 1
    while not holds(high):
        if high == limit:
            return None
        low, high = high, min(2 * high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _most(worst: Sequence[PrecisionBlock]) -> int:
    """How many of the most sensitive blocks may be moved; at least one."""
    count = 1
    while count < len(worst) and _work(worst[: count + 1]) <= MAX_WORK:
        count += 1
    return count


def _work(blocks: Sequence[PrecisionBlock]) -> float:
    return sum(block.work for block in blocks)


def _step(
    first: TriedBuild, moved: Sequence[PrecisionBlock], made: TriedBuild, measure: MeasureLatency
) -> dict[str, Any]:
    """The blocks, the gain and the latency of one build, for the manifest."""
    before, after = (c.comparison.get("candidate_map50_95") for c in (first, made))
    runs = made.compared == made.path
    return {
        "moved": [block.name for block in moved],
        "work": round(_work(moved), 4),
        **_figures(made),
        "gain_points": None if before is None or after is None else 100 * (after - before),
        "latency": dict(measure(first.path, made.path)) if runs else {"unproved": NO_LATENCY},
    }


def _figures(made: TriedBuild) -> dict[str, Any]:
    return {name: made.comparison[name] for name in _FIGURES if name in made.comparison}


def _summary(made: TriedBuild) -> str:
    return "; ".join(made.comparison.get("failures", [])) or "within the limits"


def _names(blocks: Sequence[PrecisionBlock]) -> str:
    return ", ".join(block.name for block in blocks)
