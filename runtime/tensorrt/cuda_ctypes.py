"""A CUDA session by our own calls of the driver; see ``runtime.tensorrt.cuda_session``."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_float, c_uint64, c_void_p
from typing import Any

import numpy as np

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import LIBRARY, Driver
from runtime.tensorrt.cuda_session import Buffer

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
        self._events: list[c_void_p] = []
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
        for _ in range(2):
            event = c_void_p()
            self.driver.call("cuEventCreate", byref(event), 0)
            self._events.append(event)

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
    def timed(self) -> Iterator[None]:
        """Record a CUDA event before and after the work that a block puts into the stream."""
        self.driver.call("cuEventRecord", self._events[0], self.stream)
        yield
        self.driver.call("cuEventRecord", self._events[1], self.stream)

    def elapsed_ms(self) -> float:
        """Milliseconds between the two events of ``timed``, on the device; to be called after ``wait``."""
        elapsed = c_float()
        self.driver.call("cuEventElapsedTime", byref(elapsed), *self._events)
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
                    self.driver.call("cuEventDestroy_v2", self._events.pop())
                if self.stream:
                    self.driver.call("cuStreamDestroy_v2", self.stream)
        finally:
            self.driver.release()
