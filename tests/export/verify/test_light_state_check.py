"""When what two classifiers say of the same lights is too far apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.errors import DataError, VerificationError
from export.verify.light_state_check import (
    LIMITS,
    LabelledLights,
    LightStateCheck,
    compare_states,
    failures,
)
from runtime.light_states.classifier import SHIPPED, STATES, LightStatesOfFrame


def says(*states: str, probability: float = 0.9) -> LightStatesOfFrame:
    """Lights of known states."""
    index = np.array([STATES.index(state) for state in states], np.int64)
    table = np.full((len(states), len(STATES)), (1 - probability) / (len(STATES) - 1), np.float32)
    table[np.arange(len(states)), index] = probability
    return LightStatesOfFrame(index, table)


def write_set(folder: Path, rows: list[str], names: str = "car, green, red") -> Path:
    """A data set with one image for each label file."""
    for i, row in enumerate(rows):
        for kind in ("images", "labels"):
            (folder / kind / "val").mkdir(parents=True, exist_ok=True)
        image = np.full((100, 200, 3), 60, np.uint8)
        cv2.circle(image, (105, 45), 4, (60, 230, 60), -1)
        cv2.imwrite(str(folder / "images" / "val" / f"{i}.png"), image)
        (folder / "labels" / "val" / f"{i}.txt").write_text(row)
    (folder / "data.yaml").write_text(f"val: images/val\nnames: [{names}]\n")
    return folder / "data.yaml"


def test_the_same_is_within_all_limits() -> None:
    compared = compare_states(says("red", "green"), says("red", "green"))
    assert compared == {
        "lights": 2,
        "difference_max": 0.0,
        "difference_mean": 0.0,
        "changed": {},
        "red_green_swaps": 0,
    }
    assert failures(compared, LIMITS["fp32"]) == []


def test_a_probability_may_not_drift() -> None:
    compared = compare_states(says("red"), says("red", probability=0.88))
    assert failures(compared, LIMITS["fp16"]) == ["a probability differs by 0.0200, the limit is 0.01"]


def test_what_is_no_number_is_beyond_the_limits() -> None:
    broken = says("red")
    broken.probability[0, 1] = np.nan
    (beyond,) = failures(compare_states(says("red"), broken), LIMITS["fp16"])
    assert beyond.startswith("a probability differs by nan")


def test_no_red_may_become_green() -> None:
    one, other = says("red", "red", "off"), says("red", "green", "off")
    compared = compare_states(one, LightStatesOfFrame(other.state, one.probability))
    assert compared["changed"] == {"red -> green": 1}
    assert failures(compared, LIMITS["fp16"]) == ["1 lights changed between red and green"]


def test_one_light_may_be_at_the_threshold_of_unknown() -> None:
    one = says(*["red"] * 5)
    for changed, count in ((1, 0), (2, 1)):
        other = LightStatesOfFrame(one.state.copy(), one.probability)
        other.state[:changed] = STATES.index("unknown")
        found = failures(compare_states(one, other), LIMITS["fp16"])
        assert len(found) == count
    assert found == ["2 of 5 states differ, the limit is 1.0% and one more"]


def test_the_labelled_lights_are_compared_and_nothing_else(tmp_path: Path) -> None:
    data = write_set(tmp_path, ["0 0.2 0.5 0.2 0.4\n1 0.525 0.5 0.05 0.2\n", "", "2 0.5 0.5 0.05 0.2\n"])
    record = LightStateCheck(LabelledLights.open(data, None), "fp32")(SHIPPED, SHIPPED)
    assert (record["split"], record["images"], record["lights"]) == ("val", 3, 2)
    assert record["failures"] == []
    (doubt,) = record["doubts"]
    assert doubt.startswith("the comparison has 2 lights: 99 are needed to exclude a loss of 3% of them")


def test_without_a_light_nothing_was_compared(tmp_path: Path) -> None:
    data = write_set(tmp_path, ["0 0.2 0.5 0.2 0.4\n"])
    with pytest.raises(VerificationError, match="was not published: nothing was compared") as caught:
        LightStateCheck(LabelledLights.open(data, None), "fp32")(SHIPPED, SHIPPED)
    assert "--verify DATA.yaml" in caught.value.hint


def test_a_data_set_without_states_is_refused(tmp_path: Path) -> None:
    data = write_set(tmp_path, [""], names="car, traffic light")
    with pytest.raises(DataError, match="none is a state of a light"):
        LabelledLights.open(data, None)
