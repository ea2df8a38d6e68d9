"""The unit of each key of a result, in plain words.

Keys end in their unit, see docs/reference/metrics.md; those that do not are named here.
"""

from __future__ import annotations

from collections.abc import Mapping

FRACTION, COUNT = "fraction, 0 to 1", "count"

#: By the end of a key; the first that fits counts.
SUFFIXES: Mapping[str, str] = {
    "_per_frame": "per frame",
    "_per_image": "per image",
    "_per_minute": "per minute",
    "_per_s": "per second",
    "_points": "points of 100",
    "_fps": "frames per second",
    "_share": FRACTION,
    "_mib": "mebibytes",
    "_gib": "gibibytes",
    "_mhz": "megahertz",
    "_ms": "milliseconds",
    "_mj": "millijoules",
    "_mw": "milliwatts",
    "_px": "pixels",
    "_hw": "pixels, height and width",
    "_hws": "pixels, height and width",
    "_minutes": "minutes",
    "_s": "seconds",
    "_c": "degrees Celsius",
}
NAMES: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "map50",
            "map75",
            "map50_95",
            "ap50",
            "ap50_95",
            "share",
            "conf",
            "iou",
            "confidence",
            "tile_overlap",
        ),
        FRACTION,
    ),
    **dict.fromkeys(("images", "labels", "samples", "frames", "count", "of", "epochs", "concurrency"), COUNT),
    **dict.fromkeys(("matched", "extra", "reference_sure", "red_green_swaps", "drops", "threads"), COUNT),
    "fps": "frames per second",
    "ratio": "ratio, no unit",
    "seconds_per_step": "seconds",
    "training_seconds": "seconds",
    "images_per_s": "images per second",
}


def unit_of(key: str) -> str | None:
    """The unit of a key, of its last part that has one; None without one.

    Args:
        key: Parts joined by dots, e.g. ``stages_ms.inference``.
    """
    for part in reversed(key.split(".")):
        if part in NAMES:
            return NAMES[part]
        unit = next((unit for suffix, unit in SUFFIXES.items() if part.endswith(suffix)), None)
        if unit:
            return unit
    return None


def words_of(key: str) -> str:
    """A key as words, without its unit: ``age_p95_ms`` is ``age p95``."""
    suffix = next((suffix for suffix in SUFFIXES if key.endswith(suffix) and key not in NAMES), "")
    kept = suffix if suffix.startswith("_per_") or suffix == "_share" else ""
    return (key.removesuffix(suffix) + kept).replace("_", " ")
