"""What every backend file must satisfy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.spec import SPEC_KEY, ModelSpec
from runtime.backend import BACKENDS, Backend, open_backend


@pytest.fixture(params=BACKENDS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str, lamp_model: Path, request: pytest.FixtureRequest) -> Path:
    """The same network in the backend's own format; an engine is built and run by a stand-in for TensorRT."""
    return request.getfixturevalue("lamp_engine")("10.16.1") if name == "trt" else lamp_model


@pytest.fixture
def backend(name: str, model: Path) -> Iterator[Backend]:
    loaded = open_backend(model, name, threads=1)
    yield loaded
    loaded.close()


def picture(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((1, 3, 64, 96), dtype=np.float32)


def test_it_calls_itself_by_its_file_name(backend: Backend, name: str) -> None:
    assert backend.name == name


def test_it_tells_its_inputs_and_outputs(backend: Backend) -> None:
    (images,), (output,) = backend.inputs, backend.outputs
    assert (images.name, images.shape, images.dtype) == ("images", (1, 3, 64, 96), "float32")
    assert (output.name, output.shape, output.dtype) == ("output0", (1, 6, 9), "float32")


def test_it_agrees_with_onnx_runtime(backend: Backend, lamp_model: Path) -> None:
    reference = open_backend(lamp_model, "ort", threads=1).infer({"images": picture(0)})["output0"]
    np.testing.assert_allclose(backend.infer({"images": picture(0)})["output0"], reference, atol=1e-5)


def test_results_are_the_callers_to_keep(backend: Backend) -> None:
    first = backend.infer({"images": picture(1)})["output0"]
    before = first.copy()
    backend.infer({"images": picture(2)})
    np.testing.assert_array_equal(first, before)


def test_results_may_be_written_to(backend: Backend) -> None:
    first = backend.infer({"images": picture(1)})["output0"]
    before = first.copy()
    first[:] = -1
    np.testing.assert_array_equal(backend.infer({"images": picture(1)})["output0"], before)


def test_results_outlive_the_backend(backend: Backend) -> None:
    first = backend.infer({"images": picture(1)})["output0"]
    before = first.copy()
    backend.close()
    np.testing.assert_array_equal(first, before)


def test_closing_twice_does_nothing(backend: Backend) -> None:
    backend.close()
    backend.close()


@pytest.mark.parametrize("what", ["infer", "layers_by_dtype"])
def test_a_closed_model_says_so(backend: Backend, what: str) -> None:
    arguments = ({"images": picture(0)},) if what == "infer" else ()
    backend.close()
    with pytest.raises(UsageError, match="the model is closed"):
        getattr(backend, what)(*arguments)


@pytest.mark.parametrize("feed", [{}, {"image": picture(0)}, {"images": picture(0), "more": picture(0)}])
def test_a_wrong_input_name_is_readable(backend: Backend, feed: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the model's inputs are images"):
        backend.infer(feed)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 3, 8, 8), "float32"), ((3, 64, 96), "float32"), ((1, 3, 64, 96), "uint8")]
)
def test_a_wrong_shape_or_type_is_readable(backend: Backend, shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(UsageError, match="images takes float32") as caught:
        backend.infer({"images": np.zeros(shape, dtype)})
    assert f"not {dtype} {list(shape)}" in caught.value.what


def test_it_counts_the_layers_that_calculate(backend: Backend) -> None:
    assert backend.layers_by_dtype() == {"float32": 1}


def test_it_carries_the_spec(backend: Backend, lamp_spec: ModelSpec) -> None:
    assert SPEC_KEY in backend.metadata
    read = ModelSpec.from_metadata(backend.metadata)
    assert read == lamp_spec


@pytest.mark.parametrize("device", ["cuda", "gpu", "toaster"])
def test_a_device_that_is_not_there_is_never_replaced(name: str, model: Path, device: str) -> None:
    absent = "cuda:1" if (name, device) == ("trt", "cuda") else device  # the stand-in has one
    with pytest.raises(DeviceError):
        open_backend(model, name, device=absent)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(name: str, model: Path, tmp_path: Path, part: float) -> None:
    data, cut = model.read_bytes(), tmp_path / f"cut{model.suffix}"
    cut.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ArtifactError):
        open_backend(cut, name, trust_engine=True)


def test_what_is_not_a_model_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"hello, I am a text")
    with pytest.raises(ArtifactError, match=r"x\.onnx"):
        open_backend(tmp_path / "x.onnx", name)


def test_a_missing_file_says_what_writes_one(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist") as caught:
        open_backend(tmp_path / "x.onnx", name)
    assert "edgestill export" in caught.value.hint


@pytest.mark.parametrize("threads", [0, -1])
def test_no_thread_is_not_a_number_of_threads(name: str, lamp_model: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="threads is"):
        open_backend(lamp_model, name, threads=threads)


def test_an_unknown_backend_gets_a_suggestion(lamp_model: Path) -> None:
    with pytest.raises(UsageError, match="no backend is called 'ortt'") as caught:
        open_backend(lamp_model, "ortt")
    assert caught.value.hint == "did you mean 'ort'?"


def test_the_suffix_chooses_the_backend(lamp_model: Path) -> None:
    assert open_backend(lamp_model).name == "ort"


@pytest.mark.parametrize("suffix", [".pt", ".plan", ""])
def test_a_file_that_no_backend_reads_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.touch()
    with pytest.raises(ArtifactError, match="not a model file that this project can run"):
        open_backend(path)


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a folder"):
        open_backend(tmp_path)
