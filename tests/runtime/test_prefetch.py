"""Decoding ahead changes nothing but the time."""

from collections.abc import Iterator
from threading import active_count

import numpy as np
import pytest

from edgestill.errors import DataError
from runtime.frames import Frame
from runtime.prefetch import AHEAD, prefetched


class Numbers:
    """A source of numbered frames, with an error at the end if wanted."""

    fps: float | None = None
    dropped = 0

    def __init__(self, total: int, *, error: Exception | None = None, is_live: bool = False) -> None:
        self.total: int | None = total
        self.is_live = is_live
        self.made = 0
        self._error = error

    def frames(self) -> Iterator[Frame]:
        for index in range(self.total or 0):
            self.made += 1
            yield Frame(
                image_bgr=np.zeros((2, 2, 3), np.uint8), index=index, captured_s=0.0, name="x", decode_ms=0.0
            )
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        pass


@pytest.mark.parametrize("is_live", [False, True])
def test_frames_come_in_order(is_live: bool) -> None:
    with prefetched(Numbers(20, is_live=is_live)) as frames:
        assert [f.index for f in frames] == list(range(20))


def test_an_error_comes_up_behind_the_frames_before_it() -> None:
    with prefetched(Numbers(3, error=DataError("x is cut off", hint="copy it"))) as frames:
        assert [next(frames).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataError, match="x is cut off"):
            next(frames)


def test_leaving_early_stops_the_thread() -> None:
    before = active_count()
    source = Numbers(1000)
    with prefetched(source) as frames:
        next(frames)
    assert active_count() == before
    assert source.made <= 2 + AHEAD + 1


def test_a_live_source_is_never_read_ahead() -> None:
    source = Numbers(1000, is_live=True)
    with prefetched(source) as frames:
        next(frames)
    assert source.made == 1
