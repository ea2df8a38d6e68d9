"""Detections made of true boxes with the faults of a detector, so that a tracker is judged apart from one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.tracking.known_tracks import Clip, TrueFrame
from edgestill.detections import Detections

NEVER_BELOW = 0.25  # score: the default threshold of the detector


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How the simulated detector errs; the defaults are near those of the shipped student on real streets.

    Attributes:
        missed: Share of boxes that are not detected.
        centre: Standard deviation of the centre, share of the box's size.
        side: Standard deviation of the width and of the height, share.
        pixels: Standard deviation of the centre in addition, px.
        wrong_state: Share of detections with a wrong class.
        false_alarms: Mean number of false detections in a frame, at random places.
        score: Mean score.
        score_spread: Standard deviation of the score.
    """

    missed: float = 0.15
    centre: float = 0.05
    side: float = 0.07
    pixels: float = 0.4
    wrong_state: float = 0.03
    false_alarms: float = 0.1
    score: float = 0.62
    score_spread: float = 0.15


def simulate(clip: Clip, faults: Faults, seed: int) -> list[Detections]:
    """Detections for each frame of a clip; the same arguments give the same ones.

    The faults of two frames are independent, also at a high rate.
    """
    rng = np.random.default_rng((seed, round(clip.fps * 100)))
    return [_detect(frame, clip, faults, rng) for frame in clip.frames]


def _detect(frame: TrueFrame, clip: Clip, faults: Faults, rng: np.random.Generator) -> Detections:
    found = rng.random(len(frame.xyxy)) >= faults.missed
    boxes, state = frame.xyxy[found].astype(np.float64), frame.state[found].copy()
    count, size = len(boxes), boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + rng.normal(0, 1, (count, 2)) * (
        faults.centre * size + faults.pixels
    )
    size *= np.exp(rng.normal(0, faults.side, (count, 2)))
    wrong = rng.random(count) < faults.wrong_state
    state[wrong] = (state[wrong] + rng.integers(1, 3, int(wrong.sum()))) % min(3, len(clip.names))
    score = rng.normal(faults.score, faults.score_spread, count)

    extra = int(rng.poisson(faults.false_alarms))
    places = rng.random((extra, 2)) * clip.size_wh
    height = rng.uniform(12, 40, (extra, 1))
    extra_size = np.concatenate((height * 0.45, height), 1)
    centre, size = np.concatenate((centre, places)), np.concatenate((size, extra_size))
    state = np.concatenate((state, rng.integers(0, min(3, len(clip.names)), extra)))
    score = np.concatenate((score, rng.uniform(NEVER_BELOW, 0.5, extra))).clip(NEVER_BELOW, 0.95)

    order = np.argsort(-score, kind="stable")
    xyxy = np.concatenate((centre - size / 2, centre + size / 2), 1)
    return Detections(
        xyxy[order].astype(np.float32), score[order].astype(np.float32), state[order].astype(np.int64)
    )
