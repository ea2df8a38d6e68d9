"""Learning rates and strengths over a training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.training.schedule import DecayShape, OptimiserConfig, decay, method_weight, rates
from edgestill.errors import UsageError

SETTINGS = OptimiserConfig(lr=0.01, final=0.1, warmup_epochs=2, warmup_bias_lr=0.1, warmup_momentum=0.8)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_a_rate_falls_from_one_to_its_final_fraction(shape: str) -> None:
    assert (decay(shape, 0.1, 0.0), decay(shape, 0.1, 1.0)) == pytest.approx((1.0, 0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("done", "wanted"), [(0.25, 0.775), (0.5, 0.55), (0.75, 0.325)])
def test_a_linear_rate_falls_evenly(done: float, wanted: float) -> None:
    assert decay("linear", 0.1, done) == pytest.approx(wanted)


def test_a_cosine_rate_is_high_for_longer_at_first() -> None:
    assert decay("cosine", 0.1, 0.25) > decay("linear", 0.1, 0.25)


def test_the_warm_up_starts_at_zero_but_for_the_biases() -> None:
    first = rates(SETTINGS, 0, steps_per_epoch=10, epochs=20)
    assert (first.lr, first.bias_lr, first.momentum) == pytest.approx((0.0, 0.1, 0.8))


def test_the_warm_up_ends_where_the_schedule_goes_on() -> None:
    last, after = (rates(SETTINGS, step, steps_per_epoch=10, epochs=20) for step in (19, 20))
    assert last.lr == pytest.approx(after.lr, rel=0.06)
    assert after.lr == after.bias_lr
    assert after.momentum == SETTINGS.momentum


def test_no_warm_up_is_possible() -> None:
    now = rates(OptimiserConfig(warmup_epochs=0), 0, steps_per_epoch=10, epochs=20)
    assert now.lr == pytest.approx(OptimiserConfig().lr)


def test_a_constant_term_stays() -> None:
    assert [method_weight("constant", 0.1, 0, epoch, 5) for epoch in range(5)] == [1.0] * 5


def test_a_cosine_term_ends_at_its_floor() -> None:
    course = [method_weight("cosine", 0.1, 0, epoch, 5) for epoch in range(5)]
    assert course == pytest.approx(sorted(course, reverse=True))
    assert (course[0], course[-1]) == pytest.approx((1.0, 0.1))


def test_a_term_is_switched_off_in_its_epoch() -> None:
    assert [method_weight("constant", 0.1, 3, epoch, 5) for epoch in range(5)] == [1, 1, 1, 0, 0]


def test_a_training_of_one_epoch_has_its_terms_at_full_strength() -> None:
    assert method_weight("cosine", 0.1, 0, 0, 1) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@settings(deadline=None)  # the machine may be busy
@given(
    final=st.floats(0, 1),
    flat=st.floats(0, 0.95),
    done=st.floats(0, 1),
)
def test_a_flat_start_is_the_closed_formula(
    shape: DecayShape, final: float, flat: float, done: float
) -> None:
    """RTMDet's flat-cosine is the one of half a training: 1, then 0.05 + 0.95 * (1 + cos(pi * t)) / 2."""
    rest = max(0.0, done - flat) / (1 - flat)
    shrinks = 0.5 * (1 + np.cos(np.pi * rest)) if shape == "cosine" else 1 - rest
    assert decay(shape, final, done, flat) == pytest.approx(final + (1 - final) * shrinks, abs=1e-12)


def test_the_rates_of_a_training_stay_flat_and_fall_in_its_second_half() -> None:
    settings = OptimiserConfig(lr=0.004, final=0.05, flat=0.5, warmup_epochs=1)
    of = [rates(settings, step, steps_per_epoch=10, epochs=20).lr for step in range(200)]
    assert of[:10] == pytest.approx([0.0004 * step for step in range(10)])
    assert of[10:101] == [0.004] * 91
    assert of[150] == pytest.approx(0.004 * 0.525)  # halfway down
    assert all(a > b for a, b in pairwise(of[100:]))
    assert of[-1] == pytest.approx(0.0002, rel=0.01)


def test_a_schedule_that_is_flat_throughout_never_falls() -> None:
    assert decay("cosine", 0.05, 1.0, 1.0) == 1.0
    assert decay("cosine", 0.05, 0.0) == 1.0


@pytest.mark.parametrize("flat", [-0.1, 1.1])
def test_a_flat_part_longer_than_the_training_is_refused(flat: float) -> None:
    with pytest.raises(UsageError, match=r"optimiser\.flat"):
        OptimiserConfig(flat=flat)
