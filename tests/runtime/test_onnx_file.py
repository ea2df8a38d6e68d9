"""An ONNX file that reaches out of its folder is not run."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgestill.errors import ArtifactError
from runtime.backend import BACKENDS, open_backend
from runtime.onnx_file import check_onnx


@pytest.fixture
def external(tmp_path: Path, write_lamp_model: Any) -> Any:
    """Write a model whose weight lies at some location; give the model's path."""

    def write(location: str) -> Path:
        model = write_lamp_model()
        weight = next(t for t in model.graph.initializer if t.name == "w")
        onnx.external_data_helper.set_external_data(weight, location)
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.ClearField("raw_data")
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "x.onnx").write_bytes(model.SerializeToString())
        return folder / "x.onnx"

    return write


def weight_bytes() -> bytes:
    return np.zeros((5, 3, 1, 1), np.float32).tobytes()


def test_external_data_in_the_folder_are_fine(external: Any) -> None:
    path = external("w.bin")
    (path.parent / "w.bin").write_bytes(weight_bytes())
    check_onnx(path)


@pytest.mark.parametrize("name", BACKENDS.names())
@pytest.mark.parametrize("location", ["../secret.bin", "a/../../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_are_refused(external: Any, name: str, location: str) -> None:
    path = external(location)
    (path.parent.parent / "secret.bin").write_bytes(weight_bytes())
    with pytest.raises(ArtifactError, match="outside its folder"):
        open_backend(path, name)


def test_a_link_out_of_the_folder_is_refused(external: Any) -> None:
    path = external("w.bin")
    (path.parent.parent / "secret.bin").write_bytes(weight_bytes())
    (path.parent / "w.bin").symlink_to(path.parent.parent / "secret.bin")
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(path)


def test_missing_external_data_are_named(external: Any) -> None:
    with pytest.raises(ArtifactError, match=r"needs its external data w\.bin"):
        check_onnx(external("w.bin"))


def test_external_data_of_an_inner_graph_are_seen(tmp_path: Path) -> None:
    hidden = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    onnx.external_data_helper.set_external_data(hidden, "../secret.bin")
    hidden.data_location = onnx.TensorProto.EXTERNAL
    hidden.ClearField("raw_data")
    constant = helper.make_node("Constant", [], ["y"], value=hidden)
    value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    branch = helper.make_graph([constant], "branch", [], [value])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    flag = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    model = helper.make_model(helper.make_graph([choice], "g", [flag], [value]))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(tmp_path / "x.onnx")
