"""Bring a file that is beyond its limits back within them: the blocks that rounding hurts most leave it.

Blocks are ranked once, see ``export.quantize.sensitivity``; then the smallest number of the worst of them is
looked for with which the gate holds, by doubling and then by halving the interval: with n blocks at most
2 log2(n) + 2 builds, each of them judged as the first was. At most ``MAX_WORK`` of the multiplications are
moved: with more, the file of the higher precision is as fast, and is the better answer.
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

MAX_WORK = 0.5  # of the body's multiplications
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
    """One build, and what the gate said of it.

    Attributes:
        path: The model file, in a folder of its own with all that belongs to it.
        record: Its manifest.
        judged: The file that was compared: the model file, or an engine's graph where the engine cannot run.
        refusal: Why it may not be published; None if it may.
    """

    path: Path
    record: Manifest
    judged: Path
    refusal: BeyondLimitsError | None

    @property
    def comparison(self) -> Mapping[str, Any]:
        """The comparison with the source; empty if there was none."""
        return self.refusal.comparison if self.refusal else self.record.verify or {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FallbackResult:
    """What was found.

    Attributes:
        candidate: The build that may be published.
        moved: What it lacks.
        record: For its manifest.
    """

    candidate: TriedBuild
    moved: tuple[PrecisionBlock, ...]
    record: Mapping[str, Any]


#: Builds and judges the file without some blocks.
BuildWithout = Callable[[Sequence[PrecisionBlock]], TriedBuild]
#: How many times the time of the first file the second one takes, with an interval, as plain JSON data.
MeasureLatency = Callable[[Path, Path], Mapping[str, Any]]


def repair(
    first: TriedBuild, ranking: Sequence[Sensitivity], attempt: BuildWithout, pace: MeasureLatency
) -> FallbackResult:
    """Move the worst blocks until the gate holds.

    Args:
        first: The file without repair, which was refused.
        ranking: Of all blocks, the worst first.
        attempt: Builds and judges without some of them.
        pace: Measures what that costs.

    Raises:
        VerificationError: The limits are not held even with as many blocks moved as may be.
    """
    worst = [found.block for found in ranking]
    say(f"repair: {_said(first)}; worst first: {', '.join(block.name for block in worst[:5])}")
    tried: dict[int, TriedBuild] = {}

    def holds(count: int) -> bool:
        tried[count] = attempt(worst[:count])
        say(f"repair: without {_names(worst[:count])}: {_said(tried[count])}")
        return tried[count].refusal is None

    limit = _most(worst)
    count = _least(limit, holds)
    if count is None:
        left = "; ".join(tried[limit].comparison["failures"])
        raise VerificationError(
            f"{first.path.name} cannot be repaired: with {limit} of {len(worst)} blocks, "
            f"{_work(worst[:limit]):.0%} of the work, moved out ({_names(worst[:limit])}): {left}",
            hint="look at the calibration images first; else a higher precision, or a training with rounding",
        )
    steps = [_step(first, worst[:tries], made, pace) for tries, made in tried.items()]
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
    """The smallest count that holds, if those above it hold too; None if not even the limit holds."""
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
    """How many of the worst blocks may be moved; at least one."""
    count = 1
    while count < len(worst) and _work(worst[: count + 1]) <= MAX_WORK:
        count += 1
    return count


def _work(blocks: Sequence[PrecisionBlock]) -> float:
    return sum(block.work for block in blocks)


def _step(
    first: TriedBuild, moved: Sequence[PrecisionBlock], made: TriedBuild, pace: MeasureLatency
) -> dict[str, Any]:
    """What one try moved, gained and cost."""
    before, after = (c.comparison.get("candidate_map50_95") for c in (first, made))
    runs = made.judged == made.path
    return {
        "moved": [block.name for block in moved],
        "work": round(_work(moved), 4),
        **_figures(made),
        "gain_points": None if before is None or after is None else 100 * (after - before),
        "latency": dict(pace(first.path, made.path)) if runs else {"unproved": NO_LATENCY},
    }


def _figures(made: TriedBuild) -> dict[str, Any]:
    return {name: made.comparison[name] for name in _FIGURES if name in made.comparison}


def _said(made: TriedBuild) -> str:
    return "; ".join(made.comparison.get("failures", [])) or "the limits are held"


def _names(blocks: Sequence[PrecisionBlock]) -> str:
    return ", ".join(block.name for block in blocks)
