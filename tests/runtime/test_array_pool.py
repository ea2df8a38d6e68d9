"""An array is used again, and never while somebody holds it."""

from threading import Thread

import numpy as np

from runtime.array_pool import MOST, ArrayPool

SHAPE = (4, 5, 3)


def test_an_array_that_nobody_holds_is_used_again() -> None:
    pool = ArrayPool()
    first = pool.take(SHAPE)
    address = first.ctypes.data
    del first
    assert all(pool.take(SHAPE).ctypes.data == address for _ in range(5))


def test_an_array_that_somebody_holds_is_not() -> None:
    pool = ArrayPool()
    held = [pool.take(SHAPE) for _ in range(3 * MOST)]
    assert len({array.ctypes.data for array in held}) == len(held)


def test_a_view_holds_its_array() -> None:
    pool = ArrayPool()
    view = pool.take(SHAPE)[1:, :, 0]
    view[:] = 7
    pool.take(SHAPE)[:] = 0
    assert (view == 7).all()


def test_another_thread_may_let_go() -> None:
    pool = ArrayPool()
    held = [pool.take(SHAPE)]
    address = held[0].ctypes.data
    thread = Thread(target=held.clear)
    thread.start()
    thread.join()
    assert pool.take(SHAPE).ctypes.data == address


def test_another_shape_gets_another_array() -> None:
    pool = ArrayPool()
    assert pool.take(SHAPE).shape == SHAPE
    assert pool.take((2, 2)).shape == (2, 2)
    assert pool.take(SHAPE).dtype == np.uint8
