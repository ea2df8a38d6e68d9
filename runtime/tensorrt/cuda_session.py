"""The interface of CUDA sessions: a stream with the memory of an engine's tensors.

The primary context of the device is used, which TensorRT uses too. On an integrated GPU, as in a Jetson, a
buffer is page-locked memory of the host that the GPU reads and writes in place ("mapped"). Elsewhere it is a
pair of page-locked memory and device memory, with asynchronous copies between them.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/ and https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from runtime.tensorrt.cuda_driver import Driver

#: Parts of a run of which the time on the device is measured, each with a pair of events.
Part = Literal["to_device", "compute", "to_host"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Buffer:
    """The memory of a tensor.

    Attributes:
        host: Flat array in page-locked memory of the host; not to be used after ``Session.close``.
        address: Address for the device: of device memory, or of the same memory if it is mapped.
        is_mapped: Whether the device uses the memory of ``host`` in place.
    """

    host: NDArray[Any]
    address: int
    is_mapped: bool


class Session(Protocol):
    """A CUDA stream of a device, and buffers that are freed with it.

    All methods but ``current`` and ``close`` are called in a ``with session.current()`` block.

    Attributes:
        stream: Handle of the CUDA stream.
        binding: What the CUDA calls are made by, with its version.
        driver: The device.
    """

    stream: int
    binding: str
    driver: Driver

    def current(self) -> AbstractContextManager[None]:
        """Make the context current in the calling thread for a block."""

    def buffer(self, count: int, dtype: Any) -> Buffer:
        """Allocate memory for ``count`` elements of a dtype.

        Raises:
            DeviceError: There is not enough memory.
        """

    def to_device(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the device, asynchronously; mapped memory needs no copy."""

    def to_host(self, buffer: Buffer, count: int) -> None:
        """Copy the first ``count`` elements to the host, asynchronously; mapped memory needs no copy."""

    def timed(self, part: Part = "compute") -> AbstractContextManager[None]:
        """Record a CUDA event before and after what a block puts into the stream, a part of a run."""

    def elapsed_ms(self, part: Part = "compute") -> float:
        """Milliseconds between the two events of a part, on the device; to be called after ``wait``."""

    def wait(self) -> None:
        """Block until all work of the stream is done."""

    def close(self) -> None:
        """Free the buffers, destroy events and stream, and release the context; in this order."""
