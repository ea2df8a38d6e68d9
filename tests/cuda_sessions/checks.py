"""What holds for every CUDA session: run on a driver in memory, a stub of libcuda, and a GPU.

``ALL`` lists the checks; each takes a function that opens a session on device 0. ``hold`` runs one.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable
from ctypes import byref, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p

import numpy as np

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import LIBRARY
from runtime.tensorrt.cuda_graph import CudaGraph
from runtime.tensorrt.cuda_session import PARTS, Buffer, Session

Open = Callable[[], Session]
COUNT = 1000


def what_is_written_on_the_device_reaches_the_host(start: Open) -> None:
    session = start()
    with session.current():
        buffer = session.buffer(COUNT, np.uint8)
        buffer.host[...] = 1
        fill(session, buffer, 7)
        session.to_host(buffer, COUNT // 2)
        session.wait()
        assert (buffer.host[: COUNT // 2] == 7).all()
        assert (buffer.host[COUNT // 2 :] == (7 if buffer.is_mapped else 1)).all()
    session.close()


def what_the_host_writes_reaches_the_device_and_comes_back(start: Open) -> None:
    session = start()
    with session.current():
        for dtype in (np.float32, np.float16, np.int64, np.int8, np.bool_):
            buffer = session.buffer(COUNT, dtype)
            wanted = np.arange(COUNT).astype(dtype)
            buffer.host[...] = wanted
            session.to_device(buffer, COUNT)
            session.wait()
            if not buffer.is_mapped:
                buffer.host[...] = 0
            session.to_host(buffer, COUNT)
            session.wait()
            np.testing.assert_array_equal(buffer.host, wanted)
            assert buffer.host.dtype == dtype
    session.close()


def a_tensor_without_elements_has_memory(start: Open) -> None:
    session = start()
    with session.current():
        buffer = session.buffer(0, np.float32)
        assert buffer.host.shape == (0,)
        assert buffer.address
    session.close()


def the_context_is_current_in_the_block_only(start: Open) -> None:
    before = current()
    session = start()
    assert current() == before
    with session.current():
        assert current()
        inside = current()
        with session.current():
            assert current() == inside
        assert current() == inside
    assert current() == before
    session.close()
    assert current() == before


def closing_releases_the_context(start: Open) -> None:
    session = start()
    with session.current():
        session.buffer(COUNT, np.float32)
    assert is_active()
    session.close()
    assert not is_active()


def closing_one_session_leaves_the_other(start: Open) -> None:
    first, second = start(), start()
    with second.current():
        buffer = second.buffer(COUNT, np.uint8)
    first.close()
    assert is_active()
    with second.current():
        fill(second, buffer, 3)
        second.to_host(buffer, COUNT)
        second.wait()
        assert (buffer.host == 3).all()
    second.close()
    assert not is_active()


def a_session_works_in_the_context_of_another(start: Open) -> None:
    """As in a program that uses CUDA itself: its own context is current before and after."""
    outer, inner = start(), start()
    with outer.current():
        before = current()
        with inner.current():
            fill(inner, inner.buffer(COUNT, np.uint8), 1)
            inner.wait()
        assert current() == before
        inner.close()
        assert current() == before
    outer.close()


def other_threads_use_and_close_it(start: Open) -> None:
    session = start()

    def use() -> None:
        with session.current():
            buffer = session.buffer(COUNT, np.uint8)
            fill(session, buffer, 9)
            session.to_host(buffer, COUNT)
            session.wait()
            assert (buffer.host == 9).all()

    in_thread(use)
    use()
    in_thread(session.close)
    assert not is_active()


def too_large_a_buffer_is_an_error_and_the_session_goes_on(start: Open) -> None:
    session = start()
    with session.current():
        text = error_of(lambda: session.buffer(1 << 50, np.uint8))
        assert text.startswith("the CUDA driver failed in cuMem"), text
        assert "out of memory" in text.replace("_", " ").lower(), text
        buffer = session.buffer(COUNT, np.uint8)
        fill(session, buffer, 5)
        session.to_host(buffer, COUNT)
        session.wait()
        assert (buffer.host == 5).all()
    session.close()
    assert not is_active()


def events_measure_the_work_between_them(start: Open) -> None:
    session = start()
    with session.current():
        buffer = session.buffer(COUNT, np.uint8)
        with session.timed("to_device"):
            session.to_device(buffer, COUNT)
        with session.timed():
            fill(session, buffer, 1)
        with session.timed("to_host"):
            session.to_host(buffer, COUNT)
        session.wait()
        for part in PARTS:
            assert math.isfinite(session.elapsed_ms(part))
            assert session.elapsed_ms(part) >= 0
    session.close()


def a_graph_runs_when_it_is_launched(start: Open) -> None:
    session = start()
    with session.current():
        buffer = session.buffer(COUNT, np.uint8)
        buffer.host[...] = 0
        session.to_device(buffer, COUNT)
        graph = CudaGraph(session.driver, session.stream, lambda: fill(session, buffer, 4))
        session.to_host(buffer, COUNT)
        session.wait()
        assert not buffer.host.any(), "the work ran while it was captured"
        for _ in range(3):
            buffer.host[...] = 0
            session.to_device(buffer, COUNT)
            with session.timed():
                graph.launch()
            session.to_host(buffer, COUNT)
            session.wait()
            assert (buffer.host == 4).all()
        graph.close()
        graph.close()
    session.close()
    assert not is_active()


def work_that_fails_while_it_is_captured_leaves_the_stream_usable(start: Open) -> None:
    session = start()

    def refuse() -> None:
        fill(session, buffer, 8)
        raise DeviceError("refused", hint="")

    with session.current():
        buffer = session.buffer(COUNT, np.uint8)
        assert error_of(lambda: CudaGraph(session.driver, session.stream, refuse)) == "refused"
        # To wait for a stream is an error while it is captured.
        text = error_of(lambda: CudaGraph(session.driver, session.stream, session.wait))
        assert "cuStreamSynchronize" in text, text
        fill(session, buffer, 6)
        session.to_host(buffer, COUNT)
        session.wait()
        assert (buffer.host == 6).all()
    session.close()
    assert not is_active()


ALL: tuple[Callable[[Open], None], ...] = (
    what_is_written_on_the_device_reaches_the_host,
    what_the_host_writes_reaches_the_device_and_comes_back,
    a_tensor_without_elements_has_memory,
    the_context_is_current_in_the_block_only,
    closing_releases_the_context,
    closing_one_session_leaves_the_other,
    a_session_works_in_the_context_of_another,
    other_threads_use_and_close_it,
    too_large_a_buffer_is_an_error_and_the_session_goes_on,
    events_measure_the_work_between_them,
    a_graph_runs_when_it_is_launched,
    work_that_fails_while_it_is_captured_leaves_the_stream_usable,
)


def hold(check: Callable[[Open], None], start: Open) -> None:
    """Run a check; afterwards no context is current, nor held."""
    check(start)
    assert not current()
    assert not is_active()


def fill(session: Session, buffer: Buffer, value: int) -> None:
    """Set the bytes of a buffer on the device, in the stream."""
    function = ctypes.CDLL(LIBRARY).cuMemsetD8Async
    function.argtypes = (c_uint64, c_ubyte, c_size_t, c_void_p)
    status = function(buffer.address, value, buffer.host.nbytes, session.stream)
    assert status == 0, f"cuMemsetD8Async gives {status}"


def current() -> int:
    """The context that is current in this thread; 0 for none."""
    found = c_void_p()
    function = ctypes.CDLL(LIBRARY).cuCtxGetCurrent
    function.argtypes = (ctypes.POINTER(c_void_p),)
    assert function(byref(found)) == 0
    return found.value or 0


def current_device() -> int:
    """The device of the current context."""
    found = c_int()
    function = ctypes.CDLL(LIBRARY).cuCtxGetDevice
    function.argtypes = (ctypes.POINTER(c_int),)
    assert function(byref(found)) == 0
    return found.value


def is_active() -> bool:
    """Whether the primary context of device 0 is held by anyone."""
    flags, active = c_uint(), c_int()
    function = ctypes.CDLL(LIBRARY).cuDevicePrimaryCtxGetState
    function.argtypes = (c_int, ctypes.POINTER(c_uint), ctypes.POINTER(c_int))
    assert function(0, byref(flags), byref(active)) == 0
    return bool(active.value)


def error_of(call: Callable[[], object]) -> str:
    """What the DeviceError of a call says."""
    try:
        call()
    except DeviceError as error:
        return error.what
    raise AssertionError("no DeviceError was raised")


def in_thread(work: Callable[[], None]) -> None:
    """Run work in another thread; its error is raised here."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
