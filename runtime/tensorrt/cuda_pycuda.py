"""A CUDA session by pycuda; see ``runtime.tensorrt.cuda_session``.

``pycuda.autoinit`` is not used: it creates a context of its own, whose memory TensorRT cannot use.

Source: https://github.com/inducer/pycuda, module pycuda.driver
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import Driver
from runtime.tensorrt.cuda_session import PARTS, Buffer, Part


class PycudaSession:
    """A session by pycuda; see ``runtime.tensorrt.cuda_session.Session``.

    Args:
        driver: The device.
        binding: The name for records.
        pycuda: The module ``pycuda.driver``.
    """

    def __init__(self, driver: Driver, binding: str, pycuda: ModuleType) -> None:
        self.driver, self.binding, self._cuda = driver, binding, pycuda
        self.stream = 0
        self._is_mapped = driver.facts().maps_memory
        self._memory: list[Any] = []
        self._stream: Any = None
        self._events: dict[Part, tuple[Any, Any]] = {}
        with self._reported():
            pycuda.init()
            self._context = pycuda.Device(driver.index).retain_primary_context()
        try:
            with self.current(), self._reported():
                self._stream = pycuda.Stream()
                self.stream = int(self._stream.handle)
                self._events = {part: (pycuda.Event(), pycuda.Event()) for part in PARTS}
        except BaseException:
            self.close()
            raise

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current in the calling thread for a block."""
        with self._reported():
            self._context.push()
        try:
            yield
        finally:
            # pycuda aborts the process if its own stack holds a context when the interpreter ends.
            with self._reported():
                self._cuda.Context.pop()

    def buffer(self, count: int, dtype: Any) -> Buffer:
        """Allocate memory for ``count`` elements of a dtype."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP if self._is_mapped else 0
        with self._reported():
            # As bytes, of which there is at least one, because there is no memory of length 0.
            memory = self._cuda.pagelocked_empty(
                (max(count * np.dtype(dtype).itemsize, 1),), np.uint8, mem_flags=flags
            )
            self._memory.append(memory.base)
            if self._is_mapped:
                address = int(memory.base.get_device_pointer())
            else:
                self._memory.append(self._cuda.mem_alloc(memory.nbytes))
                address = int(self._memory[-1])
        return Buffer(np.frombuffer(memory.data, dtype, count), address, self._is_mapped)

    def to_device(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the device, asynchronously; mapped memory needs no copy."""
        if not buffer.is_mapped:
            with self._reported():
                self._cuda.memcpy_htod_async(buffer.address, buffer.host[:count], self._stream)

    def to_host(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the host, asynchronously; mapped memory needs no copy."""
        if not buffer.is_mapped:
            with self._reported():
                self._cuda.memcpy_dtoh_async(buffer.host[:count], buffer.address, self._stream)

    @contextmanager
    def timed(self, part: Part = "compute") -> Iterator[None]:
        """Record a CUDA event before and after what a block puts into the stream, a part of a run."""
        start, end = self._events[part]
        with self._reported():
            start.record(self._stream)
        yield
        with self._reported():
            end.record(self._stream)

    def elapsed_ms(self, part: Part = "compute") -> float:
        """Milliseconds between the two events of a part, on the device; to be called after ``wait``."""
        start, end = self._events[part]
        with self._reported():
            return float(end.time_since(start))

    def wait(self) -> None:
        """Block until all work of the stream is done."""
        with self._reported():
            self._stream.synchronize()

    def close(self) -> None:
        """Free the buffers, destroy events and stream, and release the context; in this order."""
        with self._reported():
            self._context.push()
        try:
            with self._reported():
                while self._memory:
                    self._memory.pop().free()
        finally:
            self._events.clear()
            self._stream = None
            # detach() releases the context and takes it off pycuda's own stack, in any thread in which it is
            # current, but leaves it on the stack of the driver.
            self.driver.pop()
            with self._reported():
                self._context.detach()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Raise errors of pycuda as DeviceError, with the name of the driver's function."""
        try:
            yield
        except self._cuda.Error as error:
            raise DeviceError(
                f"the CUDA driver failed in {str(error).replace(' failed: ', ': ')}",
                hint="nvidia-smi shows the GPU's state and memory; a smaller model or input needs less",
            ) from error
