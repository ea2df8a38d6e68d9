"""An ordered parallel map with a bounded number of pending results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bounded_map(pool: Executor, work: Callable[[T], R], items: Iterable[T], pieces: int) -> Iterator[R]:
    """Yield ``work(item)`` in the order of the items; at most ``pieces`` results are pending.

    ``pool.map`` would submit all items at once, and 41,000 decoded images do not fit into memory.
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == pieces:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
