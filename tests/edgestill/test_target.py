"""Which targets are engines, and whose Q/DQ placement a target takes."""

import pytest

from edgestill.target import ENGINE_TARGETS, QDQ_TARGETS, TARGETS, Target, engine_target, qdq_target


@pytest.mark.parametrize("target", TARGETS)
def test_engines_are_those_of_tensorrt(target: Target) -> None:
    assert engine_target(target) == (target if target.startswith("tensorrt") else None)


def test_tensorrt_rtx_takes_the_placement_of_tensorrt_and_all_others_their_own() -> None:
    assert {target: qdq_target(target) for target in TARGETS if qdq_target(target) != target} == {
        "tensorrt-rtx": "tensorrt"
    }
    assert {qdq_target(target) for target in TARGETS} == set(QDQ_TARGETS)
    assert set(ENGINE_TARGETS) <= set(TARGETS)
