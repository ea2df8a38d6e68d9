"""Decode the next frames while the network works on this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread

from runtime.frames import Frame, FrameSource

AHEAD = 2  # one ready, one in the making; more only holds memory
POLL_S = 0.05


@contextmanager
def prefetched(source: FrameSource) -> Iterator[Iterator[Frame]]:
    """The frames of a source, in order; a thread runs ahead of a source that is not live.

    An error of the source comes up where its frame would have.
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
        except BaseException as error:  # it is raised again where the frames are taken
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
