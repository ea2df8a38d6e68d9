"""Each call of TensorRT that may give nothing while an engine is loaded and run, when it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from devices.jetson import read_jetson
from edgestill.errors import ArtifactError, DeviceError
from runtime.backend import open_backend
from runtime.tensorrt.library import load_library

Build = Callable[..., Path]


def none(*_: Any, **__: Any) -> None:
    return None


def null(*_: Any, **__: Any) -> None:
    raise TypeError("pybind11::init(): factory function returned nullptr")


def refuse(*_: Any, **__: Any) -> bool:
    return False


class _NoShape:
    """The bindings' ``Dims`` with -1 dimensions: invalid."""

    def __iter__(self) -> Any:
        raise ValueError("__len__() should return >= 0")


def shapeless(*_: Any) -> Any:
    return _NoShape()


def loaded(engine: Path) -> Any:
    model = open_backend(engine)
    model.infer({"images": np.zeros((1, 3, 64, 96), np.float32)})
    return model.layers_by_dtype()  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["8.5.2", "10.3.0", "11.4.0"])
@pytest.mark.parametrize("how", [none, null])
def test_a_runtime_that_gives_nothing_is_a_device_error(version: str, how: Any, lamp_engine: Build) -> None:
    engine = lamp_engine(version)
    sys.modules["tensorrt"].Runtime = how  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=rf"TensorRT {version} does not start.*the runtime") as caught:
        open_backend(engine)
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize(
    ("method", "how", "error", "said"),
    [
        ("Runtime.deserialize_cuda_engine", none, ArtifactError, "cannot load"),
        ("ICudaEngine.create_execution_context", none, DeviceError, "not enough GPU memory"),
        ("ICudaEngine.num_io_tensors", 0, ArtifactError, "has no input or no output"),
        ("ICudaEngine.get_tensor_shape", shapeless, ArtifactError, "tensor without a shape"),
        ("ICudaEngine.get_tensor_shape", none, ArtifactError, "tensor without a shape"),
        ("ICudaEngine.get_tensor_dtype", lambda *_: SimpleNamespace(name="FP4"), ArtifactError, "is of FP4"),
        ("ICudaEngine.get_tensor_profile_shape", none, ArtifactError, "no profile for its input"),
        ("ICudaEngine.get_tensor_profile_shape", lambda *_: [], ArtifactError, "no profile for its input"),
        ("ICudaEngine.create_engine_inspector", none, ArtifactError, "layer information is not JSON"),
        ("EngineInspector.get_engine_information", none, ArtifactError, "layer information is not JSON"),
        ("IExecutionContext.set_tensor_address", refuse, DeviceError, "refused the buffer of images"),
        ("IExecutionContext.execute_async_v3", refuse, DeviceError, "refused to run"),
    ],
)
def test_a_method_that_gives_nothing(
    method: str, how: Any, error: type[Exception], said: str, lamp_engine: Build
) -> None:
    engine = lamp_engine("10.3.0")
    kind, name = method.split(".")
    owner = getattr(sys.modules["tensorrt"], kind)
    if name == "get_tensor_profile_shape":  # asked of free shapes only
        owner.get_tensor_shape = lambda self, tensor: (-1, 3, 64, 96)
    setattr(owner, name, how)
    with pytest.raises(error, match=said) as caught:
        loaded(engine)
    assert str(caught.value).count("\n") == 1


def test_memory_is_given_back_when_an_engine_cannot_be_opened(
    lamp_engine: Build, on_gpu: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = lamp_engine("10.3.0")
    from runtime.tensorrt import cuda_driver

    cuda = cuda_driver.ctypes.CDLL("libcuda.so.1")
    sys.modules["tensorrt"].IExecutionContext.set_tensor_address = refuse  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match="refused the buffer"):
        open_backend(engine)
    assert (len(cuda.live), cuda.retained) == (0, [0])  # type: ignore[attr-defined]


def test_another_package_called_tensorrt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("tensorrt")
    other.__path__ = ["/somewhere/tensorrt"]
    monkeypatch.setitem(sys.modules, "tensorrt", other)
    with pytest.raises(DeviceError, match="/somewhere/tensorrt is not NVIDIA's tensorrt"):
        load_library("tensorrt")


@pytest.mark.parametrize(
    ("release", "hint"),
    [
        (None, "pip install"),
        ("36 (release), REVISION: 4.3", "sudo apt install python3-libnvinfer"),
        ("35 (release), REVISION: 6.4", "JetPack 5 has it for Python 3.8 only"),
    ],
)
def test_where_tensorrt_comes_from_depends_on_the_machine(
    release: str | None, hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if release:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc" / "nv_tegra_release").write_text(f"# R{release}, GCID: 1, BOARD: generic\n")
    monkeypatch.setattr("runtime.tensorrt.library.read_jetson", lambda root: read_jetson(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceError) as caught:
        load_library("tensorrt")
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "raised", [RuntimeError("CUDA 13 only"), ImportError("libcudart"), AttributeError("x")]
)
def test_a_package_that_fails_while_it_is_imported_is_a_device_error(
    raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise raised

    monkeypatch.setattr("runtime.tensorrt.library.import_module", fail)
    with pytest.raises(DeviceError, match="is installed and cannot be loaded"):
        load_library("tensorrt")
