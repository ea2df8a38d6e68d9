"""The last minutes by the second."""

from edgestill.demo.web.second_history import HISTORY_S, SecondHistory, age_percentiles


def test_a_second_has_its_frames_means_percentiles_and_drops() -> None:
    history = SecondHistory()
    history.add(0.1, age_ms=10.0, stages_ms={"inference": 8.0}, dropped=0)
    history.add(0.9, age_ms=30.0, stages_ms={"inference": 10.0}, dropped=2)
    history.add(1.1, age_ms=99.0, stages_ms={"inference": 50.0}, dropped=3)
    (second,) = history.seconds()
    assert (second["at"], second["frames"], second["dropped"]) == (0, 2, 3)
    assert second["stages_ms"] == {"inference": 9.0}
    assert second["age_ms"] == {"p50": 20.0, "p95": 29.0, "p99": 29.8}


def test_seconds_without_frames_are_there_too() -> None:
    history = SecondHistory()
    history.add(0.5, age_ms=None, stages_ms={}, dropped=0)
    history.roll(3.5, dropped=4)
    seconds = history.seconds()
    assert [(one["at"], one["frames"], one["age_ms"]) for one in seconds] == [
        (0, 1, None),
        (1, 0, None),
        (2, 0, None),
    ]
    assert sum(one["dropped"] for one in seconds) == 4


def test_only_the_last_minutes_are_kept_also_after_a_long_silence() -> None:
    history = SecondHistory()
    for second in range(3 * HISTORY_S):
        history.add(second + 0.5, age_ms=None, stages_ms={}, dropped=0)
    assert len(history.seconds()) == HISTORY_S
    history.roll(1e6, dropped=0)
    assert [one["at"] for one in history.seconds()] == list(range(10**6 - HISTORY_S, 10**6))


def test_percentiles_of_nothing_are_none() -> None:
    assert age_percentiles([]) is None
