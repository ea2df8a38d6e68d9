"""Frames arrive in order, complete and fair; of cameras the newest."""

from collections.abc import Callable, Iterator
from threading import Event, active_count
from time import sleep

import numpy as np
import pytest

from edgestill.errors import DataError
from runtime.frames import Frame
from runtime.streams.arrivals import Arrivals
from runtime.streams.waiting_frames import AHEAD, Arrival


class Numbers:
    """A source of numbered frames, with an error at the end if wanted, or a pause before it."""

    fps: float | None = None
    dropped = 0
    doubts = ()
    broke_off = None

    def __init__(
        self, total: int, *, error: Exception | None = None, is_live: bool = False, end: Event | None = None
    ) -> None:
        self.total: int | None = total
        self.is_live = is_live
        self.made = 0
        self.drops: dict[str, int] = {}
        self._error, self._end = error, end

    def frames(self) -> Iterator[Frame]:
        for index in range(self.total or 0):
            self.made += 1
            yield Frame(
                image_bgr=np.zeros((2, 2, 3), np.uint8), index=index, captured_s=0.0, name="x", decode_ms=0.0
            )
        self.made += 1
        if self._end is not None:
            self._end.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        pass


def until(is_so: Callable[[], bool]) -> None:
    """Wait for another thread."""
    while not is_so():
        sleep(0.001)


def index_of(arrival: Arrival) -> int | None:
    return None if arrival.frame is None else arrival.frame.index


@pytest.mark.parametrize("is_live", [False, True])
def test_frames_of_one_source_come_in_order_and_then_the_end(is_live: bool) -> None:
    with Arrivals([Numbers(20, is_live=is_live)]) as arrivals:
        assert [index_of(a) for (a,) in arrivals] == [*range(20), None]


@pytest.mark.parametrize("is_live", [False, True])
def test_an_error_comes_behind_the_frames_before_it(is_live: bool) -> None:
    error = DataError("x is cut off", hint="copy it")
    with Arrivals([Numbers(3, error=error, is_live=is_live)]) as arrivals:
        came = [a for (a,) in arrivals]
    assert [index_of(a) for a in came] == [0, 1, 2, None]
    assert came[-1].error is error


def test_leaving_early_stops_the_threads() -> None:
    before = active_count()
    sources = [Numbers(1000), Numbers(1000)]
    with Arrivals(sources) as arrivals:
        next(iter(arrivals))
    assert active_count() == before
    assert all(source.made <= 2 + AHEAD + 1 for source in sources)


def test_a_camera_alone_is_never_read_ahead() -> None:
    source = Numbers(1000, is_live=True)
    with Arrivals([source]) as arrivals:
        next(iter(arrivals))
    assert source.made == 1


def test_sources_that_are_ready_take_turns() -> None:
    sources = [Numbers(9), Numbers(9), Numbers(9)]
    with Arrivals(sources, most=1) as arrivals:
        groups = iter(arrivals)
        until(lambda: all(source.made == AHEAD + 1 for source in sources))
        assert [(a.at, index_of(a)) for _ in range(6) for a in next(groups)] == [
            *((0, 0), (1, 0), (2, 0)),
            *((0, 1), (1, 1), (2, 1)),
        ]


@pytest.mark.parametrize(("most", "sizes"), [(None, [3, 3]), (2, [2, 2, 2])])
def test_a_group_has_one_frame_of_each_and_no_more_than_the_network_takes(
    most: int | None, sizes: list[int]
) -> None:
    sources = [Numbers(9), Numbers(9), Numbers(9)]
    with Arrivals(sources, most=most) as arrivals:
        groups = iter(arrivals)
        until(lambda: all(source.made == AHEAD + 1 for source in sources))
        taken = [next(groups) for _ in sizes]
    assert [len(group) for group in taken] == sizes
    assert sorted(a.at for group in taken for a in group) == [0, 0, 1, 1, 2, 2]
    assert all(len({a.at for a in group}) == len(group) for group in taken)


def test_every_frame_of_every_file_arrives_in_its_order() -> None:
    lengths = [7, 0, 50]
    came: dict[int, list[int | None]] = {0: [], 1: [], 2: []}
    with Arrivals([Numbers(length) for length in lengths], most=None) as arrivals:
        for group in arrivals:
            for arrival in group:
                came[arrival.at].append(index_of(arrival))
    assert came == {at: [*range(length), None] for at, length in enumerate(lengths)}


def test_of_a_camera_beside_others_the_newest_frame_arrives() -> None:
    hold = Event()
    camera, other = Numbers(5, is_live=True, end=hold), Numbers(1, is_live=True, end=hold)
    with Arrivals([camera, other], most=None) as arrivals:
        until(lambda: camera.made == 6 and other.made == 2)
        assert [index_of(a) for a in next(iter(arrivals))] == [4, 0]
        assert (arrivals.replaced(0), arrivals.replaced(1)) == (4, 0)
        hold.set()


def test_a_camera_that_sends_nothing_keeps_no_other_source_waiting() -> None:
    hold = Event()
    with Arrivals([Numbers(0, is_live=True, end=hold), Numbers(30)], most=None) as arrivals:
        groups = iter(arrivals)
        assert [index_of(a) for _ in range(31) for a in next(groups)] == [*range(30), None]
        hold.set()


def test_a_source_that_fails_leaves_the_others() -> None:
    with Arrivals([Numbers(2, error=DataError("x", hint="y")), Numbers(9)]) as arrivals:
        came = [a for group in arrivals for a in group]
    assert [a.at for a in came if a.error] == [0]
    assert [index_of(a) for a in came if a.at == 1] == [*range(9), None]


def test_a_stopped_source_brings_nothing_more() -> None:
    with Arrivals([Numbers(1000), Numbers(5)]) as arrivals:
        came = []
        for group in arrivals:
            came += group
            arrivals.stop(0)
    assert [index_of(a) for a in came if a.at == 1] == [*range(5), None]
    assert len([a for a in came if a.at == 0]) <= 1
