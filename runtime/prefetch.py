"""Prefetching: the next frames are decoded in a thread while the current one is processed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread

from runtime.frames import Frame, FrameSource

AHEAD = 2  # frames: one decoded and one being decoded; more would only take memory
POLL_S = 0.05


@contextmanager
def prefetched(source: FrameSource) -> Iterator[Iterator[Frame]]:
    """The frames of a source in order, decoded in a thread unless the source is live.

    An error in the thread is raised in the consumer, in place of the frame that failed.
    """
    if source.is_live:
        yield source.frames()
        return
    ready: Queue[Frame | BaseException | None] = Queue(AHEAD)
    stop = Event()

    def put(item: Frame | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(Full):
                ready.put(item, timeout=POLL_S)
                return

    def decode() -> None:
        try:
            for frame in source.frames():
                put(frame)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again in the consumer, see _take
            put(error)

    thread = Thread(target=decode, name="decode", daemon=True)
    thread.start()
    try:
        yield _take(ready, thread)
    finally:
        stop.set()
        thread.join()


def _take(ready: Queue[Frame | BaseException | None], thread: Thread) -> Iterator[Frame]:
    while True:
        try:
            item = ready.get(timeout=POLL_S)
        except Empty:
            if not thread.is_alive() and ready.empty():
                return
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item
