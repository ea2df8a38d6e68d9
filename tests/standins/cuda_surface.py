"""A CUDA driver in main memory, called through ctypes: the functions of ``runtime.tensorrt.cuda_driver``.

As in the driver, work that is put into a stream is done when the stream is waited for, a context belongs to a
device and is current in one thread, and what is made in a context can be used in that context only.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, c_float, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from dataclasses import dataclass, field
from typing import Any

INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE, INVALID_CONTEXT, INVALID_HANDLE = 1, 2, 100, 201, 400
NOT_READY, CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 600, 900, 901
ERRORS = {
    INVALID_VALUE: b"CUDA_ERROR_INVALID_VALUE",
    OUT_OF_MEMORY: b"CUDA_ERROR_OUT_OF_MEMORY",
    NO_DEVICE: b"CUDA_ERROR_NO_DEVICE",
    INVALID_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT",
    INVALID_HANDLE: b"CUDA_ERROR_INVALID_HANDLE",
    CAPTURE_UNSUPPORTED: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
    CAPTURE_INVALIDATED: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
}
LARGEST = 1 << 32  # bytes of one allocation
INTO, POINTER_INTO = POINTER(c_int), POINTER(c_void_p)
GRAPH_FUNCTIONS = ("cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags")


@dataclass(eq=False)
class _Thing:
    """What a handle stands for."""

    kind: str
    context: int
    work: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None
    is_invalid: bool = False
    is_recorded: bool = False
    memory: Any = None
    flags: int = 0


class CudaLibrary:
    """What ``ctypes.CDLL("libcuda.so.1")`` would give.

    Attributes:
        live: What was made and not destroyed, by handle or address.
        retained: How often the context of each device was retained and not released.
        fail: Status by function, of those that shall fail.
        calls: Names of the functions that were called, in order.
    """

    def __init__(
        self,
        *,
        name: str = "NVIDIA L4",
        capability: tuple[int, int] = (8, 9),
        sms: int = 58,
        count: int = 1,
        integrated: bool = False,
        graphs: bool = True,
    ) -> None:
        self.live: dict[int, _Thing] = {}
        self.retained = [0] * count
        self.fail: dict[str, int] = {}
        self.calls: list[str] = []
        self._facts = {16: sms, 18: int(integrated), 19: 1, 75: capability[0], 76: capability[1]}
        self._name, self._count = name.encode() + b"\0", count
        self._stacks: dict[int, list[int]] = {}
        self._next = 0x1000
        put = self._put
        self._add("cuInit", (c_uint,), lambda flags: 0)
        self._add("cuGetErrorName", (c_int, POINTER(ctypes.c_char_p)), self._error_name)
        self._add("cuDeviceGetCount", (INTO,), lambda out: put(out, self._count))
        self._add("cuDeviceGet", (INTO, c_int), put)
        self._add("cuDeviceGetName", (c_void_p, c_int, c_int), self._device_name)
        self._add(
            "cuDeviceGetAttribute", (INTO, c_int, c_int), lambda out, which, _: put(out, self._facts[which])
        )
        self._add("cuDevicePrimaryCtxRetain", (POINTER_INTO, c_int), self._retain)
        self._add("cuDevicePrimaryCtxRelease_v2", (c_int,), self._release)
        self._add("cuDevicePrimaryCtxGetState", (c_int, POINTER(c_uint), INTO), self._state)
        self._add("cuCtxPushCurrent_v2", (c_void_p,), self._push)
        self._add("cuCtxPopCurrent_v2", (POINTER_INTO,), self._pop)
        self._add("cuCtxGetCurrent", (POINTER_INTO,), lambda out: put(out, self.current or None))
        self._add_memory()
        self._add_streams()
        if graphs:
            self._add_graphs()

    def _add_memory(self) -> None:
        self._add("cuMemAlloc_v2", (POINTER(c_uint64), c_size_t), self._allocate)
        self._add("cuMemFree_v2", (c_uint64,), lambda address: self._destroy("memory", address))
        self._add("cuMemHostAlloc", (POINTER_INTO, c_size_t, c_uint), self._allocate_host)
        self._add("cuMemHostGetDevicePointer_v2", (POINTER(c_uint64), c_void_p, c_uint), self._device_pointer)
        self._add("cuMemFreeHost", (c_void_p,), lambda address: self._destroy("host memory", address))
        self._add("cuMemcpyHtoDAsync_v2", (c_uint64, c_void_p, c_size_t, c_void_p), self._copy)
        self._add("cuMemcpyDtoHAsync_v2", (c_void_p, c_uint64, c_size_t, c_void_p), self._copy)
        self._add("cuMemsetD8Async", (c_uint64, c_ubyte, c_size_t, c_void_p), self._fill)

    def _add_streams(self) -> None:
        self._add("cuStreamCreate", (POINTER_INTO, c_uint), lambda out, _: self._make("stream", out))
        self._add("cuStreamSynchronize", (c_void_p,), self._synchronize)
        self._add("cuStreamDestroy_v2", (c_void_p,), lambda handle: self._destroy("stream", handle))
        self._add("cuEventCreate", (POINTER_INTO, c_uint), lambda out, _: self._make("event", out))
        self._add("cuEventRecord", (c_void_p, c_void_p), self._record)
        self._add("cuEventElapsedTime", (POINTER(c_float), c_void_p, c_void_p), self._elapsed)
        self._add("cuEventDestroy_v2", (c_void_p,), lambda handle: self._destroy("event", handle))

    def _add_graphs(self) -> None:
        self._add("cuStreamBeginCapture_v2", (c_void_p, c_int), self._begin)
        self._add("cuStreamEndCapture", (c_void_p, POINTER_INTO), self._end)
        self._add("cuGraphDestroy", (c_void_p,), lambda handle: self._destroy("graph", handle))
        self._add("cuGraphInstantiateWithFlags", (POINTER_INTO, c_void_p, c_uint64), self._instantiate)
        self._add("cuGraphLaunch", (c_void_p, c_void_p), self._launch)
        self._add("cuGraphExecDestroy", (c_void_p,), lambda handle: self._destroy("executable", handle))

    @property
    def current(self) -> int:
        """The context that is current in this thread; 0 for none."""
        return self._stack[-1] if self._stack else 0

    @property
    def current_device(self) -> int:
        """The device of the current context; 0 if there is none, as in the CUDA runtime."""
        return self.current - 1 if self.current else 0

    def enqueue(self, stream: int, work: Callable[[], None]) -> int:
        """Put work into a stream of the current context; recorded if the stream is being captured."""
        thing = self._thing("stream", stream)
        if thing is None:
            return INVALID_HANDLE
        (thing.work if thing.captured is None else thing.captured).append(work)
        return 0

    @property
    def _stack(self) -> list[int]:
        return self._stacks.setdefault(threading.get_ident(), [])

    def _add(self, name: str, types: tuple[Any, ...], body: Any) -> None:
        def guarded(*arguments: Any) -> int:
            self.calls.append(name)
            return self.fail.get(name, 0) or int(body(*arguments))

        setattr(self, name, CFUNCTYPE(c_int, *types)(guarded))

    def _put(self, out: Any, value: int | None) -> int:
        out[0] = value
        return 0

    def _error_name(self, status: int, out: Any) -> int:
        out[0] = ERRORS.get(status)
        return 0

    def _device_name(self, out: int, length: int, _: int) -> int:
        assert length >= len(self._name)
        ctypes.memmove(out, self._name, len(self._name))
        return 0

    def _retain(self, out: Any, device: int) -> int:
        self.retained[device] += 1
        return self._put(out, device + 1)

    def _release(self, device: int) -> int:
        if not self.retained[device]:
            return INVALID_CONTEXT
        self.retained[device] -= 1
        return 0

    def _state(self, device: int, flags: Any, active: Any) -> int:
        flags[0], active[0] = 0, int(self.retained[device] > 0)
        return 0

    def _push(self, context: int | None) -> int:
        if not context or not self.retained[context - 1]:
            return INVALID_CONTEXT
        self._stack.append(context)
        return 0

    def _pop(self, out: Any) -> int:
        return self._put(out, self._stack.pop()) if self._stack else INVALID_CONTEXT

    def _make(self, kind: str, out: Any, **more: Any) -> int:
        if not self.current:
            return INVALID_CONTEXT
        self._next += 0x10
        self.live[self._next] = _Thing(kind, self.current, **more)
        return self._put(out, self._next)

    def _thing(self, kind: str, handle: int | None) -> _Thing | None:
        thing = self.live.get(handle or 0)
        return thing if thing and thing.kind == kind and thing.context == self.current else None

    def _destroy(self, kind: str, handle: int) -> int:
        if self._thing(kind, handle) is None:
            return INVALID_HANDLE
        del self.live[handle]
        return 0

    def _allocate(self, out: Any, size: int, *, kind: str = "memory", flags: int = 0) -> int:
        if not self.current:
            return INVALID_CONTEXT
        if not 0 < size <= LARGEST:
            return OUT_OF_MEMORY if size else INVALID_VALUE
        memory = ctypes.create_string_buffer(size)
        address = ctypes.addressof(memory)
        self.live[address] = _Thing(kind, self.current, memory=memory, flags=flags)
        return self._put(out, address)

    def _allocate_host(self, out: Any, size: int, flags: int) -> int:
        return self._allocate(out, size, kind="host memory", flags=flags)

    def _device_pointer(self, out: Any, address: int, _: int) -> int:
        thing = self._thing("host memory", address)
        return self._put(out, address) if thing and thing.flags & 2 else INVALID_VALUE

    def _copy(self, target: int, source: int, size: int, stream: int) -> int:
        return self.enqueue(stream, lambda: ctypes.memmove(target, source, size) and None)

    def _fill(self, target: int, value: int, size: int, stream: int) -> int:
        return self.enqueue(stream, lambda: ctypes.memset(target, value, size) and None)

    def _synchronize(self, stream: int) -> int:
        thing = self._thing("stream", stream)
        if thing is None:
            return INVALID_HANDLE
        if thing.captured is not None:
            thing.is_invalid = True
            return CAPTURE_UNSUPPORTED
        while thing.work:
            thing.work.pop(0)()
        return 0

    def _record(self, event: int, stream: int) -> int:
        thing = self._thing("event", event)
        if thing is None:
            return INVALID_HANDLE
        return self.enqueue(stream, lambda: setattr(thing, "is_recorded", True))

    def _elapsed(self, out: Any, start: int, end: int) -> int:
        events = [self._thing("event", start), self._thing("event", end)]
        if None in events:
            return INVALID_HANDLE
        return self._put(out, 1.5) if all(e.is_recorded for e in events if e) else NOT_READY  # type: ignore[arg-type]

    def _begin(self, stream: int, _: int) -> int:
        thing = self._thing("stream", stream)
        if thing is None or thing.captured is not None:
            return INVALID_HANDLE if thing is None else INVALID_VALUE
        thing.captured, thing.is_invalid = [], False
        return 0

    def _end(self, stream: int, out: Any) -> int:
        thing = self._thing("stream", stream)
        if thing is None or thing.captured is None:
            return INVALID_HANDLE if thing is None else INVALID_VALUE
        captured, thing.captured = thing.captured, None
        return CAPTURE_INVALIDATED if thing.is_invalid else self._make("graph", out, work=captured)

    def _instantiate(self, out: Any, graph: int, _: int) -> int:
        thing = self._thing("graph", graph)
        return self._make("executable", out, work=list(thing.work)) if thing else INVALID_VALUE

    def _launch(self, executable: int, stream: int) -> int:
        thing = self._thing("executable", executable)
        if thing is None:
            return INVALID_HANDLE
        for work in thing.work:
            if status := self.enqueue(stream, work):
                return status
        return 0
