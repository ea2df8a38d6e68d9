"""Work that threads do ahead of the one who waits for it, a bounded number of pieces at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(pool: Executor, work: Callable[[T], R], items: Iterable[T], pieces: int) -> Iterator[R]:
    """Yield ``work(item)`` in the order of the items; at most ``pieces`` results exist or are being made.

    ``pool.map`` would begin with all items at once, and 41,000 decoded images fit into no memory.
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == pieces:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
