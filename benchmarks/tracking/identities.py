"""Identities over frames: HOTA and IDF1 by the TrackEval package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tracking.known_tracks import Clip
from benchmarks.tracking.played_clip import PlayedFrame
from edgestill.boxes import pairwise_iou
from edgestill.errors import DeviceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """How well identities are kept; detections without an id do not count as found.

    Attributes:
        hota: Higher order tracking accuracy, mean over IoU thresholds, in [0, 1].
        assa: Its association accuracy.
        idf1: F1 of the best assignment of track ids to objects, at IoU 0.5.
        detections: Number of detections.
        without_id: Those without an id.
        tracks: Number of ids.
    """

    hota: float
    assa: float
    idf1: float
    detections: int
    without_id: int
    tracks: int


def score_identities(clip: Clip, played: Sequence[PlayedFrame]) -> Identities:
    """Compare the tracks of a clip with its truth, regardless of states.

    Raises:
        DeviceError: TrackEval is not installed.
    """
    try:
        from trackeval.metrics import HOTA, Identity  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise DeviceError(
            "HOTA and IDF1 need the package TrackEval", hint="pip install 'edgestill[dev]'"
        ) from error
    data = _sequence(clip, played)
    hota = HOTA().eval_sequence(data)
    identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return Identities(
        hota=float(np.mean(hota["HOTA"])),
        assa=float(np.mean(hota["AssA"])),
        idf1=float(identity["IDF1"]) if "IDF1" in identity else 0.0,
        detections=sum(len(frame.xyxy) for frame in played),
        without_id=sum(int((~frame.tracked).sum()) for frame in played),
        tracks=data["num_tracker_ids"],
    )


def _sequence(clip: Clip, played: Sequence[PlayedFrame]) -> dict[str, Any]:
    """The input of TrackEval's metrics: ids from 0 on without gaps, and the IoU of all pairs of a frame."""
    true_ids = _numbered([frame.identity for frame in clip.frames])
    track_ids = _numbered([frame.track_id[frame.tracked] for frame in played])
    overlap = [
        pairwise_iou(true.xyxy, frame.xyxy[frame.tracked]).astype(np.float64)
        for true, frame in zip(clip.frames, played, strict=True)
    ]
    return {
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, track_ids)),
        "num_gt_ids": 1 + max((int(i.max()) for i in true_ids if len(i)), default=-1),
        "num_tracker_ids": 1 + max((int(i.max()) for i in track_ids if len(i)), default=-1),
        "gt_ids": true_ids,
        "tracker_ids": track_ids,
        "similarity_scores": overlap,
    }


def _numbered(frames: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    known = np.unique(np.concatenate(frames)) if frames else np.zeros(0, np.int64)
    return [np.searchsorted(known, ids) for ids in frames]
