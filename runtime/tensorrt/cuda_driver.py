"""The calls of the CUDA driver API that running an engine needs, by ctypes: no CUDA package is needed.

``libcuda.so.1`` is part of every NVIDIA driver, also on a Jetson. The signatures of these functions have not
changed since CUDA 4, so one module serves CUDA 11 to 13. The primary context is used, as by TensorRT.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DeviceError

LIBRARY = "libcuda.so.1"
NAME_BYTES = 256
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76  # CUdevice_attribute

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemAllocHost_v2": (POINTER(c_void_p), c_size_t),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """Properties of a GPU, from the driver.

    Attributes:
        name: Name of the GPU.
        compute_capability: CUDA compute capability, e.g. ``"8.7"``.
        sms: Number of multiprocessors; fewer on a MIG slice.
    """

    name: str
    compute_capability: str
    sms: int


class Driver:
    """The driver API for one device; a failed call raises DeviceError with the name of the function.

    Args:
        library: The loaded ``libcuda``, or a replacement of it.
        index: Index of the device among the visible ones.

    Raises:
        DeviceError: There is no such device, or the driver cannot be initialised.
    """

    def __init__(self, library: Any, index: int = 0) -> None:
        self._library = library
        for name, types in _SIGNATURES.items():
            function = getattr(library, name, None)
            if function is None:
                raise DeviceError(
                    f"{LIBRARY} has no {name}: it is no NVIDIA driver, or one older than CUDA 4",
                    hint="install the NVIDIA driver; nvidia-smi shows its version",
                )
            function.argtypes, function.restype = types, c_int
        self.call("cuInit", 0)
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        if index >= count.value:
            raise DeviceError(
                f"there is no CUDA device {index}; {count.value} are visible",
                hint="check nvidia-smi and CUDA_VISIBLE_DEVICES",
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
        """Name, compute capability and number of multiprocessors of the device."""
        name = ctypes.create_string_buffer(NAME_BYTES)
        self.call("cuDeviceGetName", name, NAME_BYTES, self._device)
        sms, major, minor = (
            self._attribute(a) for a in (MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR)
        )
        return GpuFacts(
            name=name.value.decode("utf-8", "replace"), compute_capability=f"{major}.{minor}", sms=sms
        )

    def retain(self) -> c_void_p:
        """Retain the primary context and return it; ``release`` is its counterpart."""
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        return context

    def release(self) -> None:
        """Release the primary context."""
        self.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _attribute(self, which: int) -> int:
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), which, self._device)
        return value.value


class Session:
    """A CUDA stream, and memory that is freed with it.

    Attributes:
        stream: Handle of the CUDA stream.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._device_memory: list[int] = []
        self._host_memory: list[int] = []
        self._context = driver.retain()
        self.enter()
        stream = c_void_p()
        driver.call("cuStreamCreate", byref(stream), 0)
        self.stream = int(stream.value or 0)

    def enter(self) -> None:
        """Make the context current in the calling thread, which may differ from the last one."""
        self._driver.call("cuCtxSetCurrent", self._context)

    def device(self, nbytes: int) -> int:
        """Allocate device memory and return its address."""
        address = c_uint64()
        self._driver.call("cuMemAlloc_v2", byref(address), max(nbytes, 1))
        self._device_memory.append(address.value)
        return address.value

    def host(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Allocate an array in page-locked host memory, which the device copies from and to directly.

        It must not be used after ``close``.
        """
        nbytes = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        address = c_void_p()
        self._driver.call("cuMemAllocHost_v2", byref(address), nbytes)
        self._host_memory.append(int(address.value or 0))
        memory = (ctypes.c_byte * nbytes).from_address(self._host_memory[-1])
        return np.frombuffer(memory, dtype, int(np.prod(shape))).reshape(shape)

    def to_device(self, source: NDArray[Any], target: int) -> None:
        """Copy an array of ``host`` to device memory, asynchronously in the stream."""
        self._driver.call("cuMemcpyHtoDAsync_v2", target, source.ctypes.data, source.nbytes, self.stream)

    def to_host(self, source: int, target: NDArray[Any]) -> None:
        """Copy device memory to an array of ``host``, asynchronously in the stream."""
        self._driver.call("cuMemcpyDtoHAsync_v2", target.ctypes.data, source, target.nbytes, self.stream)

    def wait(self) -> None:
        """Block until all work of the stream is done."""
        self._driver.call("cuStreamSynchronize", self.stream)

    def close(self) -> None:
        """Free the memory, the stream and the context."""
        self.enter()
        while self._device_memory:
            self._driver.call("cuMemFree_v2", self._device_memory.pop())
        while self._host_memory:
            self._driver.call("cuMemFreeHost", self._host_memory.pop())
        self._driver.call("cuStreamDestroy_v2", self.stream)
        self._driver.release()


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
