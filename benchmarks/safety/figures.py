"""The figures of ``edgestill eval --safety``: dangerous errors of detectors of traffic lights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.safety.darkness import LUMA_STEPS
from benchmarks.safety.lights_seen import GREEN, RED, Lights, Seen
from benchmarks.safety.proportion import Proportion, paired_p
from runtime.metrics.coco import AREA, SHORT_SIDE, Sizes
from runtime.metrics.confusion import MISSED

RARE = 300  # red lights; with fewer, not even no error among them excludes one in a hundred
LEAST_MINUTES = 10.0  # of visible light, summed over the lights

Mask = NDArray[np.bool_]


def figures_of(
    lights: Lights, seen: Seen, classes: Sequence[str], colours: Sequence[str | None]
) -> dict[str, Any]:
    """The figures of one detector as plain data.

    Args:
        lights: The labelled lights.
        seen: What the detector made of them.
        classes: Class names.
        colours: The colour of each class, see ``benchmarks.safety.lights_seen.colours_of``.
    """
    of = {colour: np.flatnonzero([c == colour for c in colours]) for colour in (RED, GREEN)}
    red, green = (np.isin(lights.true, of[colour]) for colour in (RED, GREEN))
    as_red, as_green = (np.isin(seen.seen, of[colour]) for colour in (RED, GREEN))
    missed = seen.seen == MISSED
    green_beside = red & ~as_green & seen.covered[:, of[GREEN]].any(1)
    false_green = int(seen.false[of[GREEN]].sum())
    return {
        "red_as_green": _share(red, as_green),
        "green_as_red": _share(green, as_red),
        "red_missed": _share(red, missed),
        "green_missed": _share(green, missed),
        "red_also_green": _share(red, green_beside),
        "false_green": {
            "count": false_green,
            "images": lights.images,
            "per_image": false_green / lights.images,
        },
        "red_missed_by_short_side_px": _by_size(lights, red, missed, SHORT_SIDE),
        "red_missed_by_size": _by_size(lights, red, missed, AREA),
        "red_missed_by_image_luma": _by_luma(lights.image_luma, red, missed),
        "red_missed_by_surroundings_luma": _by_luma(lights.around_luma, red, missed),
        "taken_for": _taken_for(lights, seen, classes),
    }


def against_first(lights: Lights, first: Seen, other: Seen, colours: Sequence[str | None]) -> dict[str, Any]:
    """Red lights that one of two detectors misses and the other does not, on the same images."""
    red = np.isin(lights.true, np.flatnonzero([c == RED for c in colours]))
    misses = [(one.seen == MISSED) & red for one in (first, other)]
    lost, gained = int((misses[1] & ~misses[0]).sum()), int((misses[0] & ~misses[1]).sum())
    return {"red_newly_missed": lost, "red_newly_found": gained, "p": paired_p(lost, gained)}


def doubts_about(
    lights: Lights, colours: Sequence[str | None], clips: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Reasons not to quote some of the figures."""
    red = int(np.isin(lights.true, np.flatnonzero([c == RED for c in colours])).sum())
    doubts = [
        "the intervals take lights as independent; those of one drive are alike, so they are too narrow"
    ]
    if red < RARE:
        upper = Proportion(count=0, of=red).interval() if red else None
        bound = (
            f"even no error among them excludes no share below {100 * upper[1]:.1f} %"
            if upper
            else "no figure"
        )
        doubts.append(f"there are {red} red lights: {bound}")
    minutes = sum(clip["smoothed"]["light_minutes"] for clip in clips)
    if clips and minutes < LEAST_MINUTES:
        doubts.append(f"flicker was seen on {minutes:.1f} minutes of visible light, which is little")
    return doubts


def _share(among: Mask, counted: Mask) -> dict[str, Any]:
    return Proportion(count=int((among & counted).sum()), of=int(among.sum())).to_json()


def _by_size(lights: Lights, among: Mask, counted: Mask, sizes: Sizes) -> dict[str, Any]:
    """Each light in one step: the lower bound belongs to it, the upper one to the next."""
    extent = sizes.extent(lights.wh_px)
    steps = {name: (extent >= low) & (extent < high) for name, (low, high) in sizes.bounds.items()}
    return {name: _share(among & step, counted) for name, step in steps.items()}


def _by_luma(values: NDArray[np.float64], among: Mask, counted: Mask) -> dict[str, Any]:
    step = np.digitize(values, list(LUMA_STEPS.values())) - 1
    return {name: _share(among & (step == k), counted) for k, name in enumerate(LUMA_STEPS)}


def _taken_for(lights: Lights, seen: Seen, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Labels by class and by class of their detection, as in ``runtime.metrics.confusion.taken_for``."""
    table = {
        name: {
            other: int(((lights.true == k) & (seen.seen == n)).sum())
            for n, other in [*enumerate(classes), (MISSED, "missed")]
        }
        for k, name in enumerate(classes)
    }
    return {**table, "nothing": dict(zip(classes, seen.false.tolist(), strict=True))}
