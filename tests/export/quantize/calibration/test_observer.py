"""Streamed statistics are those of all values at once."""

from typing import Any

import numpy as np
import pytest

from edgestill.errors import ArtifactError
from export.quantize.calibration.observer import BINS, Histogram, observe


def test_extremes_are_exact_even_where_the_histogram_samples() -> None:
    values = np.zeros(1_000_000, np.float32)
    values[123_456], values[654_321] = 17.25, -3.5
    histogram = Histogram()
    histogram.add(values)
    assert (histogram.low, histogram.high) == (-3.5, 17.25)


def test_a_wider_image_loses_no_count() -> None:
    histogram = Histogram()
    for width in (0.001, 1.0, 1000.0):
        histogram.add(np.linspace(-width, width, 1000, dtype=np.float32))
    assert histogram.counts.sum() == 3000


def test_bins_keep_their_place_when_the_range_doubles() -> None:
    histogram = Histogram()
    histogram.add(np.full(100, 0.5, np.float32))
    histogram.add(np.full(1, 900.0, np.float32))
    values, counts = histogram.points()
    assert values[np.argmax(counts)] == pytest.approx(0.5, abs=histogram.width)


def test_zero_stays_an_edge() -> None:
    histogram = Histogram()
    histogram.add(np.array([-1e-3, 1e-3, 50.0], np.float32))
    assert histogram.counts[: BINS // 2].sum() == 1


def test_channel_means_are_those_of_the_tensors(float_model: Any, feeds: Any) -> None:
    seen = observe(float_model, feeds, histograms=["output0"], means=["images"], threads=1)
    np.testing.assert_allclose(
        seen.channel_means["images"], np.mean([f.mean((0, 2, 3)) for f in feeds], axis=0), rtol=1e-6
    )


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_network_that_overflows_is_told_with_the_tensor(float_model: Any, feeds: Any, bad: float) -> None:
    feed = feeds[0].copy()
    feed[0, 0, 5, 5] = bad
    with pytest.raises(ArtifactError, match="tensor images of the float network is invalid"):
        observe(float_model, [feed], histograms=["images", "output0"], means=[], threads=1)


def test_memory_of_statistics_does_not_grow_with_images() -> None:
    histogram = Histogram()
    for seed in range(20):
        histogram.add(np.random.default_rng(seed).normal(0, 1 + seed, 50_000).astype(np.float32))
        assert histogram.counts.nbytes == BINS * 8


def test_nothing_to_look_at_is_an_error(float_model: Any) -> None:
    with pytest.raises(ValueError, match="no images"):
        observe(float_model, [], histograms=["images"], means=[], threads=1)
