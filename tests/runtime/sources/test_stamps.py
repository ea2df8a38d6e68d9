"""Times from time stamps that lack, repeat or jump."""

import pytest

from runtime.sources._stamps import LiveClock, StampClock


@pytest.mark.parametrize(
    ("stamps", "times"),
    [
        pytest.param([0, 0.1, 0.2, 2.2, 2.3], [0, 0.1, 0.2, 2.2, 2.3], id="variable rate"),
        pytest.param([1.4, 1.5, 1.9], [0, 0.1, 0.5], id="starts late"),
        pytest.param([0, 0, 0, 0], [0, 0.25, 0.5, 0.75], id="no stamps"),
        pytest.param([0, 1, 1, 2], [0, 1, 1.25, 2], id="one stamp twice"),
        pytest.param([9, 10, 0, 1, 3], [0, 1, 1.25, 2.25, 4.25], id="jumps back"),
        pytest.param([5, 4.9, 4.8], [0, 0.25, 0.5], id="runs backwards"),
        pytest.param([0, 0.1, 0.1, 0.2], [0, 0.1, 0.35, 0.351], id="catches up"),
    ],
)
def test_times_start_at_0_and_increase(stamps: list[float], times: list[float]) -> None:
    clock = StampClock(0.25)
    assert [clock.time_s(stamp) for stamp in stamps] == pytest.approx(times)


@pytest.mark.parametrize(
    ("stamps", "word"),
    [
        ([0, 0, 0], "has no time stamps; times are those of 4 frames per second"),
        ([0, 1, 1, 2], "1 of 4 frames have no time stamp"),
        ([0, 1, 0, 1, 0], "jump back 2 times"),
    ],
)
def test_what_was_wrong_is_told(stamps: list[float], word: str) -> None:
    clock = StampClock(0.25)
    for stamp in stamps:
        clock.time_s(stamp)
    (doubt,) = clock.doubts()
    assert word in doubt


def test_good_stamps_leave_no_doubt() -> None:
    clock = StampClock(0.25)
    for stamp in (0, 0.1, 5):
        clock.time_s(stamp)
    assert clock.doubts() == []


def live(*frames: tuple[float, float | None]) -> list[float]:
    clock = LiveClock()
    return [clock.time_s(captured_s, stamp_s) for captured_s, stamp_s in frames]


def test_a_live_stream_has_its_own_times_not_those_of_the_network() -> None:
    late = [(100.0, 7.0), (100.3, 7.1), (100.31, 7.2), (100.32, 7.3)]
    assert live(*late) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_without_stamps_a_live_stream_has_the_clock() -> None:
    assert live((100.0, None), (100.1, None), (100.5, None)) == pytest.approx([0, 0.1, 0.5])
    assert live((100.0, 0.0), (100.1, 0.0), (100.5, 0.0)) == pytest.approx([0, 0.1, 0.5])


def test_stamps_that_jump_are_set_to_the_clock() -> None:
    restarted = [(100.0, 500.0), (100.1, 500.1), (110.0, 0.0), (110.1, 0.1), (110.2, 0.2)]
    assert live(*restarted) == pytest.approx([0, 0.1, 10.0, 10.1, 10.2])
    assert live((0.0, 0.0), (0.1, 3000.0), (0.2, 3000.1)) == pytest.approx([0, 0.1, 0.2])


def test_the_time_of_a_live_stream_never_decreases() -> None:
    times = live((0.0, 0.0), (0.1, 0.9), (0.2, None), (0.3, 1.1), (0.4, None))
    assert times == sorted(times)
