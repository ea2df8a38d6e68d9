"""A CUDA session by our own calls of the driver; see ``runtime.tensorrt.cuda_session``."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_float, c_uint64, c_void_p
from itertools import product
from typing import Any

import numpy as np

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import LIBRARY, Driver
from runtime.tensorrt.cuda_session import PARTS, Buffer, Part

DEVICE_MAP = 2  # CU_MEMHOSTALLOC_DEVICEMAP: the device may use the memory in place


class CtypesSession:
    """A session by our own calls of the driver; see ``runtime.tensorrt.cuda_session.Session``.

    Args:
        driver: The device.
        binding: The name for records.
    """

    def __init__(self, driver: Driver, binding: str = f"ctypes on {LIBRARY}") -> None:
        self.driver, self.binding = driver, binding
        self.stream = 0
        self._is_mapped = driver.facts().maps_memory
        self._device_memory: list[int] = []
        self._host_memory: list[int] = []
        self._events: dict[tuple[Part, bool], c_void_p] = {}  # by part, and whether it is the one at its end
        self._context = driver.retain()
        try:
            with self.current():
                self._open()
        except BaseException:
            with suppress(DeviceError):  # the first error is the one to report
                self.close()
            raise

    def _open(self) -> None:
        stream = c_void_p()
        self.driver.call("cuStreamCreate", byref(stream), 0)
        self.stream = int(stream.value or 0)
        for key in product(PARTS, (False, True)):
            event = c_void_p()
            self.driver.call("cuEventCreate", byref(event), 0)
            self._events[key] = event

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in the calling thread for a block."""
        self.driver.push(self._context)
        try:
            yield
        finally:
            self.driver.pop()

    def buffer(self, count: int, dtype: Any) -> Buffer:
        """Allocate memory for ``count`` elements of a dtype."""
        nbytes = max(count * np.dtype(dtype).itemsize, 1)
        host, address = c_void_p(), c_uint64()
        self.driver.call("cuMemHostAlloc", byref(host), nbytes, DEVICE_MAP if self._is_mapped else 0)
        self._host_memory.append(int(host.value or 0))
        if self._is_mapped:
            self.driver.call("cuMemHostGetDevicePointer_v2", byref(address), host, 0)
        else:
            self.driver.call("cuMemAlloc_v2", byref(address), nbytes)
            self._device_memory.append(address.value)
        memory = (ctypes.c_byte * nbytes).from_address(self._host_memory[-1])
        return Buffer(np.frombuffer(memory, dtype, count), address.value, self._is_mapped)

    def to_device(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the device, asynchronously; mapped memory needs no copy."""
        if not buffer.is_mapped:
            source = buffer.host[:count]
            self.driver.call(
                "cuMemcpyHtoDAsync_v2", buffer.address, source.ctypes.data, source.nbytes, self.stream
            )

    def to_host(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the host, asynchronously; mapped memory needs no copy."""
        if not buffer.is_mapped:
            target = buffer.host[:count]
            self.driver.call(
                "cuMemcpyDtoHAsync_v2", target.ctypes.data, buffer.address, target.nbytes, self.stream
            )

    @contextmanager
    def timed(self, part: Part = "compute") -> Iterator[None]:
        """Record a CUDA event before and after what a block puts into the stream, a part of a run."""
        self.driver.call("cuEventRecord", self._events[part, False], self.stream)
        yield
        self.driver.call("cuEventRecord", self._events[part, True], self.stream)

    def elapsed_ms(self, part: Part = "compute") -> float:
        """Milliseconds between the two events of a part, on the device; to be called after ``wait``."""
        elapsed = c_float()
        start, end = (self._events[part, is_end] for is_end in (False, True))
        self.driver.call("cuEventElapsedTime", byref(elapsed), start, end)
        return elapsed.value

    def wait(self) -> None:
        """Block until all work of the stream is done."""
        self.driver.call("cuStreamSynchronize", self.stream)

    def close(self) -> None:
        """Free the buffers, destroy events and stream, and release the context; in this order."""
        try:
            with self.current():
                while self._device_memory:
                    self.driver.call("cuMemFree_v2", self._device_memory.pop())
                while self._host_memory:
                    self.driver.call("cuMemFreeHost", self._host_memory.pop())
                while self._events:
                    self.driver.call("cuEventDestroy_v2", self._events.popitem()[1])
                if self.stream:
                    self.driver.call("cuStreamDestroy_v2", self.stream)
        finally:
            self.driver.release()
