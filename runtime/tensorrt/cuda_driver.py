"""The calls of the CUDA driver API that running an engine needs, by ctypes: no CUDA package is needed.

``libcuda.so.1`` is part of every NVIDIA driver, also on a Jetson. The signatures of these functions are the
same in CUDA 11 to 13. The primary context is used, as by TensorRT.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from edgestill.errors import DeviceError

LIBRARY = "libcuda.so.1"
NAME_BYTES = 256
# CUdevice_attribute
MULTIPROCESSORS, INTEGRATED, MAPS_HOST_MEMORY, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 18, 19, 75, 76

_BASE: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemHostGetDevicePointer_v2": (POINTER(c_uint64), c_void_p, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
}
#: Functions of CUDA graphs; the last ones came with CUDA 11.4, and without them engines run all the same.
_GRAPHS: dict[str, tuple[Any, ...]] = {
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """Properties of a GPU, from the driver.

    Attributes:
        name: Name of the GPU.
        compute_capability: CUDA compute capability, e.g. ``"8.7"``.
        sms: Number of multiprocessors; fewer on a MIG slice.
        maps_memory: Whether the GPU is integrated, as in a Jetson, and can use page-locked memory of the host
            in place, without a copy.
    """

    name: str
    compute_capability: str
    sms: int
    maps_memory: bool = False


class Driver:
    """The driver API for one device; a failed call raises DeviceError with the name of the function.

    Args:
        library: The loaded ``libcuda``, or a replacement of it.
        index: Index of the device among the visible ones.

    Attributes:
        index: The index of the device.
        has_graphs: Whether the driver has the functions of CUDA graphs.

    Raises:
        DeviceError: There is no such device, or the driver cannot be initialised.
    """

    def __init__(self, library: Any, index: int = 0) -> None:
        self._library, self.index = library, index
        for name, types in _BASE.items():
            if not self._declare(name, types):
                raise DeviceError(
                    f"{LIBRARY} has no {name}: it is no NVIDIA driver, or one older than CUDA 7",
                    hint="install the NVIDIA driver; nvidia-smi shows its version",
                )
        self.has_graphs = all(self._declare(name, types) for name, types in _GRAPHS.items())
        self.call("cuInit", 0)
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        if index >= count.value:
            raise DeviceError(
                f"there is no CUDA device {index}; {count.value} are visible",
                hint=_numbers_hint(count.value),
            )
        self._device = c_int()
        self.call("cuDeviceGet", byref(self._device), index)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver API.

        Raises:
            DeviceError: It returned an error code.
        """
        status = getattr(self._library, name)(*arguments)
        if status:
            text = c_char_p()
            self._library.cuGetErrorName(status, byref(text))
            word = text.value.decode("utf-8", "replace") if text.value else f"error {status}"
            raise DeviceError(
                f"the CUDA driver failed in {name}: {word}",
                hint="nvidia-smi shows the GPU's state and memory; a smaller model or input needs less",
            )

    def facts(self) -> GpuFacts:
        """Name, compute capability, number of multiprocessors and kind of memory of the device."""
        name = ctypes.create_string_buffer(NAME_BYTES)
        self.call("cuDeviceGetName", name, NAME_BYTES, self._device)
        major, minor = self._attribute(CAPABILITY_MAJOR), self._attribute(CAPABILITY_MINOR)
        return GpuFacts(
            name=name.value.decode("utf-8", "replace"),
            compute_capability=f"{major}.{minor}",
            sms=self._attribute(MULTIPROCESSORS),
            maps_memory=bool(self._attribute(INTEGRATED) and self._attribute(MAPS_HOST_MEMORY)),
        )

    def retain(self) -> c_void_p:
        """Retain the primary context and return it; ``release`` is its counterpart."""
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        return context

    def release(self) -> None:
        """Release the primary context."""
        self.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def push(self, context: c_void_p) -> None:
        """Make a context current in the calling thread; ``pop`` restores the one before."""
        self.call("cuCtxPushCurrent_v2", context)

    def pop(self) -> None:
        """Take the current context off the calling thread's stack."""
        self.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def _declare(self, name: str, types: tuple[Any, ...]) -> bool:
        """Set the types of a function; False if the library has none of this name."""
        function = getattr(self._library, name, None)
        if function is None:
            return False
        function.argtypes, function.restype = types, c_int
        return True

    def _attribute(self, which: int) -> int:
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), which, self._device)
        return value.value


@contextmanager
def on_device(index: int) -> Iterator[None]:
    """Make a device current for a block, which TensorRT then builds on; device 0 is current without.

    Raises:
        DeviceError: There is no such device.
    """
    if index == 0:
        yield
        return
    driver = open_driver(index)
    driver.push(driver.retain())
    try:
        yield
    finally:
        driver.pop()
        driver.release()


def device_index(device: str) -> int | None:
    """The number of a CUDA device: 0 of ``"cuda"``, N of ``"cuda:N"``, None of any other text."""
    found = re.fullmatch(r"cuda(?::([0-9]{1,4}))?", device)
    return found and int(found[1] or 0)


def open_driver(index: int = 0) -> Driver:
    """Load the driver of this machine.

    Raises:
        DeviceError: There is no NVIDIA driver, or no such device.
    """
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise DeviceError(
            f"this machine has no NVIDIA driver ({LIBRARY} cannot be loaded)",
            hint="engines run on NVIDIA GPUs only; for a CPU: edgestill export CKPT --to openvino",
        ) from error
    return Driver(library, index)


def _numbers_hint(count: int) -> str:
    if count == 0:
        return "check nvidia-smi and CUDA_VISIBLE_DEVICES"
    last = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
    return f"give {last}; CUDA_VISIBLE_DEVICES and nvidia-smi tell which devices are visible"
