"""Pictures: encoded once, only for viewers, the newest only."""

import asyncio
from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.demo.web import picture_feed
from edgestill.demo.web.picture_feed import Picture, PictureFeed, to_jpeg

WAIT_S = 20


@pytest.fixture
def feed() -> Iterator[PictureFeed]:
    with closing(PictureFeed()) as feed:
        yield feed


def grey(value: int, hw: tuple[int, int] = (40, 60)) -> NDArray[np.uint8]:
    return np.full((*hw, 3), value, np.uint8)


def value_of(picture: Picture) -> int:
    image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    return round(float(np.asarray(image).mean()))


async def one(feed: PictureFeed, viewer: picture_feed.Viewer) -> Picture:
    pictures = await asyncio.wait_for(feed.pictures(viewer), WAIT_S)
    assert pictures is not None
    (picture,) = pictures
    return picture


def test_without_viewers_nothing_is_encoded(feed: PictureFeed) -> None:
    for i in range(50):
        feed.offer("cam", grey(i), "{}")
    feed.close()
    assert feed.encoded == 0


def test_without_viewers_hardly_a_frame_is_copied(feed: PictureFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(picture_feed, "perf_counter", lambda: now[0])
    assert feed.wants("cam")
    feed.offer("cam", grey(1), "{}")
    assert not feed.wants("cam")
    assert feed.wants("other")
    now[0] += picture_feed.IDLE_COPY_S
    assert feed.wants("cam")


def test_a_frame_is_encoded_once_for_all_viewers(feed: PictureFeed) -> None:
    async def look() -> None:
        with feed.viewer() as a, feed.viewer() as b, feed.viewer() as c:
            assert feed.viewers == 3
            for i in range(5):
                feed.offer("cam", grey(20 * i), str(i))
                seen = [await one(feed, viewer) for viewer in (a, b, c)]
                assert {picture.about for picture in seen} == {str(i)}
                assert len({id(picture.jpeg) for picture in seen}) == 1
                assert value_of(seen[0]) == pytest.approx(20 * i, abs=2)
        assert feed.viewers == 0

    asyncio.run(look())
    assert feed.encoded == 5


def test_who_comes_late_sees_the_last_frame_of_a_paused_run(feed: PictureFeed) -> None:
    feed.offer("cam", grey(77), "last")

    async def look() -> Picture:
        with feed.viewer() as viewer:
            return await one(feed, viewer)

    first, second = asyncio.run(look()), asyncio.run(look())
    assert (value_of(first), second.about) == (77, "last")
    assert feed.encoded == 1


def test_the_picture_is_a_copy(feed: PictureFeed) -> None:
    """A source may write its next frame into the same memory."""
    image = grey(50)
    feed.offer("cam", image, "{}")
    image[:] = 200

    async def look() -> Picture:
        with feed.viewer() as viewer:
            return await one(feed, viewer)

    assert value_of(asyncio.run(look())) == 50


def test_a_viewer_that_was_slow_gets_the_newest_picture_of_each_source(feed: PictureFeed) -> None:
    async def look() -> list[Picture]:
        with feed.viewer() as fast, feed.viewer() as slow:
            for i in range(4):
                for source in ("a", "b"):
                    feed.offer(source, grey(i), f"{source}{i}")
                    await one(feed, fast)
            pictures = await asyncio.wait_for(feed.pictures(slow), WAIT_S)
            assert pictures is not None
            return pictures

    assert [picture.about for picture in asyncio.run(look())] == ["a3", "b3"]


def test_a_viewer_of_one_source_sees_no_other(feed: PictureFeed) -> None:
    async def look() -> Picture:
        with feed.viewer("b") as viewer, feed.viewer() as other:
            feed.offer("a", grey(1), "a")
            await one(feed, other)
            feed.offer("b", grey(2), "b")
            return await one(feed, viewer)

    assert asyncio.run(look()).about == "b"


def test_frames_of_another_size_follow(feed: PictureFeed) -> None:
    async def look() -> list[tuple[int, ...]]:
        shapes = []
        with feed.viewer() as viewer:
            for hw in ((40, 60), (20, 30), (40, 60)):
                feed.offer("cam", grey(9, hw), "{}")
                picture = await one(feed, viewer)
                decoded = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
                shapes.append(np.asarray(decoded).shape[:2])
        return shapes

    assert asyncio.run(look()) == [(40, 60), (20, 30), (40, 60)]


def test_the_end_ends_waiting_viewers(feed: PictureFeed) -> None:
    async def look() -> list[Picture] | None:
        with feed.viewer() as viewer:
            waiting = asyncio.create_task(feed.pictures(viewer))
            await asyncio.sleep(0)
            feed.close()
            return await asyncio.wait_for(waiting, WAIT_S)

    assert asyncio.run(look()) is None


@pytest.mark.parametrize(
    ("hw", "shown_hw"), [((1080, 1920), (720, 1280)), ((1920, 1080), (1280, 720)), ((70_000, 2), (1280, 1))]
)
def test_a_large_frame_is_shrunk(hw: tuple[int, int], shown_hw: tuple[int, int]) -> None:
    decoded = cv2.imdecode(np.frombuffer(to_jpeg(grey(5, hw)), np.uint8), cv2.IMREAD_COLOR)
    assert np.asarray(decoded).shape[:2] == shown_hw
