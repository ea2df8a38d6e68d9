"""A CUDA graph: work that is put into a stream once, captured, and launched again by a single call.

Source: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html and
https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ctypes import byref, c_void_p

from edgestill.errors import DeviceError
from runtime.tensorrt.cuda_driver import Driver

THREAD_LOCAL = 1  # CUstreamCaptureMode: calls of other threads do not end the capture; as in trtexec


class CudaGraph:
    """A captured graph. The context must be current for each call.

    Args:
        driver: The device.
        stream: Handle of the stream, which must not be the default stream.
        work: Puts the work into the stream. It is recorded, not run.

    Raises:
        DeviceError: The driver has no graphs, or the work cannot be captured. The stream can be used on.
    """

    def __init__(self, driver: Driver, stream: int, work: Callable[[], None]) -> None:
        if not driver.has_graphs:
            raise DeviceError(
                "the driver is older than CUDA 11.4", hint="update the NVIDIA driver or JetPack"
            )
        self._driver, self._stream = driver, stream
        self._executable = c_void_p()
        graph = self._capture(work)
        try:
            driver.call("cuGraphInstantiateWithFlags", byref(self._executable), graph, 0)
        finally:
            driver.call("cuGraphDestroy", graph)

    def _capture(self, work: Callable[[], None]) -> c_void_p:
        graph = c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._stream, THREAD_LOCAL)
        try:
            work()
        except BaseException:
            with suppress(DeviceError):  # says that the capture has failed, which is known
                self._driver.call("cuStreamEndCapture", self._stream, byref(graph))
            if graph:
                self._driver.call("cuGraphDestroy", graph)
            raise
        self._driver.call("cuStreamEndCapture", self._stream, byref(graph))
        return graph

    def launch(self) -> None:
        """Put the captured work into the stream."""
        self._driver.call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Destroy the graph; a second call does nothing."""
        if self._executable:
            self._driver.call("cuGraphExecDestroy", self._executable)
            self._executable = c_void_p()
