"""Work done ahead keeps its order and its bound."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import sleep

import pytest

from distill.data.bounded_map import bounded_map


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        sleep(0.01 if item == 0 else 0)
        return 2 * item

    with ThreadPoolExecutor(3) as pool:
        assert list(bounded_map(pool, slow_first, range(7), 4)) == [0, 2, 4, 6, 8, 10, 12]


def test_no_more_than_the_pieces_are_begun() -> None:
    begun, lock = 0, Lock()

    def count(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return item

    with ThreadPoolExecutor(2) as pool:
        results = bounded_map(pool, count, range(100), 5)
        for taken in range(1, 4):
            next(results)
            sleep(0.01)
            assert begun <= taken + 4


def test_an_error_comes_where_its_result_would() -> None:
    with ThreadPoolExecutor(2) as pool:
        results = bounded_map(pool, lambda n: 1 // n, [1, 1, 0], 2)
        assert [next(results), next(results)] == [1, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)
