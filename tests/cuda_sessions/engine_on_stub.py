"""Our backend with a stand-in of TensorRT on the stand-in of libcuda, in a process that ``__main__`` starts.

The engine is a function of the host that the stand-in of TensorRT puts into the stream with
``cuLaunchHostFunc``, so that it runs, is captured and is launched again as kernels are.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_void_p
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.backends.trt import TrtBackend
from runtime.tensorrt.cuda_bindings import open_session
from runtime.tensorrt.cuda_driver import LIBRARY, open_driver
from runtime.tensorrt.library import Library
from tests.cuda_sessions.checks import current, current_device, hold
from tests.standins import tensorrt_surface

VERSION, SIDE, RUNS = "10.3.0", 8, 4
HOST_FUNCTION = CFUNCTYPE(None, c_void_p)


class HostCuda:
    """What the stand-in of TensorRT asks of CUDA, by the library in C."""

    def __init__(self) -> None:
        self._launch = ctypes.CDLL(LIBRARY).cuLaunchHostFunc
        self._launch.argtypes = (c_void_p, HOST_FUNCTION, c_void_p)
        self._functions: list[Any] = []  # a captured one is called as long as there is its graph

    @property
    def current_device(self) -> int:
        """The device of the current context; 0 if there is none, as in the CUDA runtime."""
        return current_device() if current() else 0

    def enqueue(self, stream: int, work: Callable[[], None]) -> int:
        """Put work into a stream."""
        self._functions.append(HOST_FUNCTION(lambda _: work()))
        return int(self._launch(stream, self._functions[-1], None))


def main() -> None:
    """Build, load, run and close an engine; print how it was run."""
    trt = tensorrt_surface.make(VERSION, cuda=HostCuda())
    found: dict[str, str] = {}

    def run(_: Any) -> None:
        session = open_session(open_driver())
        with session.current():
            engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(_plan(trt))
            backend = TrtBackend(Library("tensorrt", trt, VERSION), engine, session, {})
        del engine
        for value in range(RUNS):
            given = np.full((1, 1, SIDE, SIDE), value, np.float32)
            np.testing.assert_array_equal(backend.infer({"x": given})["y"], given + given)
        assert backend.gpu_ms == 1.5 * RUNS, backend.gpu_ms
        found.update(backend.conditions)
        backend.close()

    hold(run, lambda: open_session(open_driver()))
    print(json.dumps(found))
    sys.exit(0 if found["cuda_graph"] == "yes" else 1)


def _plan(trt: Any) -> bytes:
    shape = [1, 1, SIDE, SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    log = trt.Logger()
    builder = trt.Builder(log)
    network = builder.create_network(1)
    assert trt.OnnxParser(network, log).parse(model.SerializeToString())
    plan: bytes = builder.build_serialized_network(network, builder.create_builder_config())
    return plan


if __name__ == "__main__":
    main()
