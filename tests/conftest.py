"""What all tests share."""

import ctypes
import gc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.metrics.coco import Truth

_REAL_CDLL = ctypes.CDLL
ROOT = Path(__file__).resolve().parent.parent
# Two cores and several test processes: a pool per process would only fight the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Hundreds of thousands of objects of libraries and of collected tests live until the end: an eighth of the
# time of the tests was looking through them for garbage, a quarter of that of the collection.
gc.set_threshold(50_000, 20, 20)
# A shell starts background jobs with SIGINT ignored, and the processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup; a handler is not inherited, ignoring is
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m` does not select
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of a test with ``default_cases``, the cases that are not named are slow."""
    found: dict[str, set[str]] = {}
    for item in items:
        if (marker := item.get_closest_marker("default_cases")) is None:
            continue
        test, _, case = item.nodeid.removesuffix("]").partition("[")
        found.setdefault(test, set(marker.args)).discard(case)
        if case not in marker.args:
            item.add_marker(pytest.mark.slow)
    if not any("[" in word for word in config.args):  # or only some cases were collected
        for test, missing in found.items():
            if missing:
                raise pytest.UsageError(f"{test} has no case {sorted(missing)}: see its default_cases")


def pytest_collection_finish() -> None:
    """Leave what there is now out of the search for garbage."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real traffic-light images, which is no part of the project."""
    folder = Path(os.environ.get("EDGESTILL_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real images are not at {folder} (set EDGESTILL_REAL_DATA)")
    return folder


def _truths(images: int, seed: int = 0) -> list[Truth]:
    """Some boxes an image, of the first two classes: nothing is ever off."""
    random = np.random.default_rng(seed)
    truths = []
    for _ in range(images):
        n = int(random.integers(0, 5))
        corner = random.uniform(0, 150, (n, 2))
        xyxy = np.concatenate((corner, corner + random.uniform(10, 50, (n, 2))), axis=1)
        truths.append(Truth(xyxy.astype(np.float32), random.integers(0, 2, n)))
    return truths


def _predictions(truths: Sequence[Truth], skill: float, seed: int) -> list[Detections]:
    """What a detector might find: a share ``skill`` of the boxes, moved a little, and false alarms."""
    random = np.random.default_rng(seed)
    predictions = []
    for truth in truths:
        hit = random.random(len(truth.class_id)) < skill
        moved = truth.xyxy[hit] + random.normal(0, 3, (int(hit.sum()), 4))
        corner = random.uniform(0, 150, (6, 2))
        alarms = np.concatenate((corner, corner + random.uniform(8, 50, (6, 2))), axis=1)
        score = np.concatenate((random.beta(4, 2, len(moved)), random.beta(2, 4, 6)))
        order = np.argsort(-score)
        xyxy = np.concatenate((moved, alarms))[order]
        class_id = np.concatenate((truth.class_id[hit], random.integers(0, 4, 6)))[order]
        predictions.append(Detections(xyxy.astype(np.float32), score[order].astype(np.float32), class_id))
    return predictions


def _standin(name: str) -> ModuleType:
    """A module of ``tests/standins``, which is on no path."""
    place = importlib.util.spec_from_file_location(name, ROOT / "tests" / "standins" / f"{name}.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules[name] = module  # dataclasses look up their module there
    place.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_truths() -> Callable[..., list[Truth]]:
    """Makes so many images' true boxes, in 200 x 200 pixels; a seed."""
    return _truths


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., list[Detections]]:
    """Makes what a detector finds in them, of four classes: true boxes, its skill from 0 to 1, a seed."""
    return _predictions


@pytest.fixture(scope="session")
def make_tensorrt() -> Callable[..., Any]:
    """Makes a stand-in for the ``tensorrt`` package of a version, see ``tests/standins``."""
    make, watched = _standin("tensorrt_surface").make, _standin("access_recorder").watched
    return lambda version, **options: watched(make(version, **options))


@pytest.fixture(scope="session")
def make_cuda() -> Callable[..., Any]:
    """Makes a stand-in for the CUDA driver's library."""
    make: Callable[..., Any] = _standin("cuda_surface").CudaLibrary
    return make


@pytest.fixture
def on_gpu(
    make_tensorrt: Callable[..., Any],
    make_cuda: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """Makes this process, and those it starts, believe in a GPU and a TensorRT; returns the CUDA stand-in."""
    own = tmp_path_factory.mktemp("user")
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(own / name))

    def believe(version: str, *, cuda: dict[str, Any] | None = None, **options: Any) -> Any:
        library = make_cuda(**(cuda or {}))
        shown = {name: value for name, value in options.items() if name != "breaks"}
        monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(version, cuda=library, **shown))
        monkeypatch.setattr(
            "ctypes.CDLL",
            lambda name, *rest, **more: (
                library if name == "libcuda.so.1" else _REAL_CDLL(name, *rest, **more)
            ),
        )
        monkeypatch.setenv("STANDIN", json.dumps({"version": version, "cuda": cuda or {}, **options}))
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "standins" / "on_path"))
        return library

    return believe


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX detector of one convolution, 32 x 32, that always finds one red in the middle, score 0.81."""
    onnx = pytest.importorskip("onnx")
    make, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=("red", "green"))
    rows = np.zeros((1, spec.cells, 5 + spec.nc), np.float32)
    rows[0, 0] = (16, 16, 8, 16, 0.9, 0.9, 0.1)
    constants = {
        "w": np.zeros((1, 3, 32, 32), np.float32),
        "shape": np.array([1, 1, 1]),
        "rows": rows,
    }
    graph = make.make_graph(
        [
            make.make_node("Conv", ["images", "w"], ["nothing"]),
            make.make_node("Reshape", ["nothing", "shape"], ["zero"]),
            make.make_node("Add", ["zero", "rows"], ["output0"]),
        ],
        "tiny",
        [make.make_tensor_value_info("images", kinds.FLOAT, [1, 3, 32, 32])],
        [make.make_tensor_value_info("output0", kinds.FLOAT, list(rows.shape))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(model, spec.to_metadata())
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(model, path)
    return path
