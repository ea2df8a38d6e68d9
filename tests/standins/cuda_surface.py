"""A CUDA driver in main memory, called through ctypes: the functions of ``runtime.tensorrt.cuda_driver``."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

ERRORS = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 100: b"CUDA_ERROR_NO_DEVICE"}
STREAM = 0x57


class CudaLibrary:
    """What ``ctypes.CDLL("libcuda.so.1")`` would give.

    Attributes:
        live: Memory that was taken and not given back, by address.
        contexts: How often the context was retained and not released.
        fail: Status by function, of those that shall fail.
    """

    def __init__(
        self, *, name: str = "NVIDIA L4", capability: tuple[int, int] = (8, 9), sms: int = 58, count: int = 1
    ) -> None:
        self.live: dict[int, Any] = {}
        self.contexts = 0
        self.fail: dict[str, int] = {}
        self._facts = {16: sms, 75: capability[0], 76: capability[1]}
        self._name, self._count = name.encode() + b"\0", count
        into, pointer = POINTER(c_int), POINTER(c_void_p)
        self._add("cuInit", (c_uint,), lambda flags: 0)
        self._add("cuGetErrorName", (c_int, POINTER(ctypes.c_char_p)), self._error_name)
        self._add("cuDeviceGetCount", (into,), lambda out: self._put(out, self._count))
        self._add("cuDeviceGet", (into, c_int), self._put)
        self._add("cuDeviceGetName", (c_void_p, c_int, c_int), self._device_name)
        self._add(
            "cuDeviceGetAttribute",
            (into, c_int, c_int),
            lambda out, which, _: self._put(out, self._facts[which]),
        )
        self._add("cuDevicePrimaryCtxRetain", (pointer, c_int), self._retain)
        self._add("cuDevicePrimaryCtxRelease_v2", (c_int,), self._release)
        self._add("cuCtxSetCurrent", (c_void_p,), lambda context: 0 if context == 1 else 201)
        self._add("cuStreamCreate", (pointer, c_uint), lambda out, _: self._put(out, STREAM))
        self._add("cuStreamSynchronize", (c_void_p,), lambda stream: 0 if stream == STREAM else 400)
        self._add("cuStreamDestroy_v2", (c_void_p,), lambda stream: 0 if stream == STREAM else 400)
        self._add("cuMemAlloc_v2", (POINTER(c_uint64), c_size_t), self._allocate)
        self._add("cuMemFree_v2", (c_uint64,), self._free)
        self._add("cuMemAllocHost_v2", (pointer, c_size_t), self._allocate)
        self._add("cuMemFreeHost", (c_void_p,), self._free)
        self._add("cuMemcpyHtoDAsync_v2", (c_uint64, c_void_p, c_size_t, c_void_p), self._copy)
        self._add("cuMemcpyDtoHAsync_v2", (c_void_p, c_uint64, c_size_t, c_void_p), self._copy)

    def _add(self, name: str, types: tuple[Any, ...], body: Any) -> None:
        def guarded(*arguments: Any) -> int:
            return self.fail.get(name, 0) or int(body(*arguments))

        setattr(self, name, CFUNCTYPE(c_int, *types)(guarded))

    def _put(self, out: Any, value: int) -> int:
        out[0] = value
        return 0

    def _error_name(self, status: int, out: Any) -> int:
        out[0] = ERRORS.get(status)
        return 0

    def _device_name(self, out: int, length: int, _: int) -> int:
        assert length >= len(self._name)
        ctypes.memmove(out, self._name, len(self._name))
        return 0

    def _retain(self, out: Any, _: int) -> int:
        self.contexts += 1
        return self._put(out, 1)

    def _release(self, _: int) -> int:
        self.contexts -= 1
        return 0

    def _allocate(self, out: Any, size: int) -> int:
        memory = ctypes.create_string_buffer(size)
        self.live[ctypes.addressof(memory)] = memory
        return self._put(out, ctypes.addressof(memory))

    def _free(self, address: int) -> int:
        return 0 if self.live.pop(address, None) is not None else 1

    def _copy(self, target: int, source: int, size: int, stream: int) -> int:
        ctypes.memmove(target, source, size)
        return 0 if stream == STREAM else 400
