"""What tables call the figures of a comparison of two files; the keys are those of the JSON result."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LABELS: Mapping[str, str] = MappingProxyType(
    {
        "reference": "reference",
        "images": "images",
        "lights": "lights",
        "changed": "lights of another state",
        "reference_sure": "confident detections of the reference",
        "matched": "matched",
        "missed": "missed",
        "missed_small": "missed, small objects",
        "extra": "extra detections",
        "red_green_swaps": "red/green confusions",
        "difference_max": "largest difference of a probability",
        "score_drift_mean": "mean drift of scores",
        "score_drift_max": "largest drift of a score",
        "iou_mean": "mean IoU of matched boxes",
        "drop_points": "mAP50-95 drop, points",
    }
)
