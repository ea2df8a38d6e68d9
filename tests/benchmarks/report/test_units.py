"""Units in plain words beside the keys of results."""

from __future__ import annotations

import pytest

from benchmarks.report.units import FRACTION, unit_of, words_of


@pytest.mark.parametrize(
    ("key", "unit", "words"),
    [
        ("p50_ms", "milliseconds", "p50"),
        ("age_p95_ms", "milliseconds", "age p95"),
        ("throughput_fps", "frames per second", "throughput"),
        ("rss_mib", "mebibytes", "rss"),
        ("energy_mj", "millijoules", "energy"),
        ("dropped_share", FRACTION, "dropped share"),
        ("detections_per_frame", "per frame", "detections per frame"),
        ("map50_95", FRACTION, "map50 95"),
        ("images", "count", "images"),
        ("seconds_per_step", "seconds", "seconds per step"),
        ("verdict", None, "verdict"),
    ],
)
def test_a_key_has_a_unit_and_words(key: str, unit: str | None, words: str) -> None:
    assert (unit_of(key), words_of(key)) == (unit, words)


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("stages_ms.inference", "milliseconds"),
        ("monitors.clocks_mhz.gpu.median", "megahertz"),
        ("monitors.temperatures_c.tj.max", "degrees Celsius"),
        ("per_class.red.labels", "count"),
        ("machine.cpu.model", None),
    ],
)
def test_the_innermost_part_with_a_unit_counts(key: str, unit: str | None) -> None:
    assert unit_of(key) == unit
