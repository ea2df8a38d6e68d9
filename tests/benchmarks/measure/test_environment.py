"""Conditions are recorded, and bad ones are named."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.measure.environment import Watch, doubts


def record(**changes: Any) -> dict[str, Any]:
    """The conditions of a quiet machine, changed in places."""
    calm: dict[str, Any] = {
        "machine": {"cpu": {"governor": "performance"}, "jetson": None},
        "steal": 0.0,
        "others_cores": 0.0,
        "calibration_ms": {"before": 2.0, "after": 2.0, "spread": 0.01},
        "temperatures_after_c": {"cpu": 50.0},
        "power_mode_after": "15W",
    }
    return calm | changes


def test_a_quiet_machine_is_not_doubted() -> None:
    assert doubts(record()) == []


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        pytest.param(
            {"steal": 0.03}, "the hypervisor gave 3.0% of the CPU time to other virtual machines", id="steal"
        ),
        pytest.param({"others_cores": 1.4}, "other processes used 1.4 cores", id="neighbours"),
        pytest.param(
            {"calibration_ms": {"before": 2.0, "after": 2.4, "spread": 0.0}},
            "took +20% time after",
            id="clock",
        ),
        pytest.param(
            {"calibration_ms": {"before": 2.0, "after": 2.0, "spread": 0.3}}, "varied by 30%", id="noise"
        ),
        pytest.param(
            {"machine": {"cpu": {"governor": "powersave"}, "jetson": None}},
            "the frequency governor is powersave",
            id="governor",
        ),
        pytest.param(
            {"machine": {"cpu": {"governor": None}, "jetson": None}, "temperatures_after_c": {}},
            "throttling cannot be excluded",
            id="blind",
        ),
        pytest.param(
            {
                "machine": {
                    "cpu": {"governor": "performance"},
                    "jetson": {"clocks_locked": False, "power_mode": "15W"},
                }
            },
            "run jetson_clocks first",
            id="jetson-clocks",
        ),
        pytest.param(
            {
                "machine": {
                    "cpu": {"governor": "performance"},
                    "jetson": {"clocks_locked": True, "power_mode": None},
                }
            },
            "the power mode is unknown",
            id="jetson-mode",
        ),
        pytest.param(
            {
                "machine": {
                    "cpu": {"governor": "performance"},
                    "jetson": {"clocks_locked": True, "power_mode": "15W"},
                },
                "power_mode_after": "25W",
            },
            "the power mode changed during the run: 15W to 25W",
            id="jetson-mode-changed",
        ),
    ],
)
def test_each_bad_condition_is_named_alone(changes: dict[str, Any], doubt: str) -> None:
    (found,) = doubts(record(**changes))
    assert doubt in found


def test_what_the_system_does_not_tell_is_no_fault_of_the_run() -> None:
    assert doubts(record(steal=None, others_cores=None)) == []


def test_a_watch_records_machine_software_and_calibration() -> None:
    watch = Watch()
    watch.tick()
    found = watch.finish()
    assert found["machine"]["cpu"]["cores"] > 0
    assert "numpy" in found["versions"]
    assert found["calibration_ms"]["median"] > 0
