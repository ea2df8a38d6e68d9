"""CUDA sessions by our own calls of the driver, against a driver in main memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DeviceError
from runtime.tensorrt import cuda_bindings
from runtime.tensorrt.cuda_ctypes import CtypesSession
from runtime.tensorrt.cuda_driver import Driver
from runtime.tensorrt.cuda_graph import CudaGraph
from tests.cuda_sessions import checks


@pytest.mark.parametrize("integrated", [False, True], ids=["copied", "mapped"])
@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_what_holds_for_every_session(
    check: Callable[..., None],
    integrated: bool,
    make_cuda: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = make_cuda(integrated=integrated)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    checks.hold(check, lambda: CtypesSession(Driver(library)))
    assert library.live == {}
    assert library.retained == [0]


def test_an_integrated_gpu_copies_nothing(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda(integrated=True)
    session = CtypesSession(Driver(library))
    with session.current():
        buffer = session.buffer(10, np.float32)
        session.to_device(buffer, 10)
        session.to_host(buffer, 10)
    session.close()
    assert [name for name in library.calls if "Memcpy" in name or "MemAlloc" in name] == []


def test_other_gpus_copy_what_is_asked_for(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    session = CtypesSession(Driver(library))
    with session.current():
        buffer = session.buffer(4, np.float32)
        buffer.host[...] = 1
        session.to_device(buffer, 4)
        session.wait()
        buffer.host[...] = 0
        session.to_host(buffer, 3)
        assert not buffer.host.any()  # until the stream is waited for
        session.wait()
        assert buffer.host.tolist() == [1, 1, 1, 0]
    session.close()


@pytest.mark.parametrize("function", ["cuStreamCreate", "cuEventCreate"])
def test_a_session_that_cannot_open_holds_nothing(function: str, make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    library.fail[function] = 2
    with pytest.raises(DeviceError, match=f"in {function}: CUDA_ERROR_OUT_OF_MEMORY"):
        CtypesSession(Driver(library))
    assert (library.live, library.retained) == ({}, [0])


def test_a_failure_while_closing_still_releases_the_context(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    session = CtypesSession(Driver(library))
    library.fail["cuEventDestroy_v2"] = 400
    with pytest.raises(DeviceError, match="in cuEventDestroy_v2: CUDA_ERROR_INVALID_HANDLE"):
        session.close()
    assert (library.retained, library.current) == ([0], 0)


def test_each_device_has_its_own_context(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda(count=2)
    session = CtypesSession(Driver(library, 1))
    assert library.retained == [0, 1]
    with session.current():
        assert library.current_device == 1
    session.close()
    assert library.retained == [0, 0]


def test_a_driver_without_graphs_runs_engines_all_the_same(make_cuda: Callable[..., Any]) -> None:
    session = CtypesSession(Driver(make_cuda(graphs=False)))
    with session.current(), pytest.raises(DeviceError, match=r"older than CUDA 11\.4"):
        CudaGraph(session.driver, session.stream, lambda: None)
    session.close()


def test_a_graph_that_cannot_be_instantiated_is_destroyed(make_cuda: Callable[..., Any]) -> None:
    library = make_cuda()
    session = CtypesSession(Driver(library))
    library.fail["cuGraphInstantiateWithFlags"] = 801
    with session.current(), pytest.raises(DeviceError, match="in cuGraphInstantiateWithFlags: error 801"):
        CudaGraph(session.driver, session.stream, lambda: None)
    session.close()
    assert library.live == {}


def test_without_pycuda_our_own_calls_are_used(
    make_cuda: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    session = cuda_bindings.open_session(Driver(make_cuda()))
    assert isinstance(session, CtypesSession)
    assert session.binding.startswith("ctypes on libcuda.so.1; pycuda")
    assert session.binding == cuda_bindings.binding_in_use()


def test_a_pycuda_that_cannot_be_imported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that was built for another CUDA version: symbols of the driver are missing."""

    def fail(name: str) -> ModuleType:
        raise ImportError(f"{name}: undefined symbol: cuMemcpyAtoD_v2")

    monkeypatch.setattr("runtime.tensorrt.cuda_bindings.import_module", fail)
    assert "pycuda cannot be imported: pycuda.driver: undefined symbol" in cuda_bindings.binding_in_use()
