"""An ONNX file that reaches out of its folder, bursts, or brings code is not run."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.errors import ArtifactError
from runtime.backend import open_backend
from runtime.onnx_guard import wire_scan
from runtime.onnx_guard.model import check_onnx, open_onnx


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


@pytest.mark.parametrize("name", ["ort", "ov"])
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


def write(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def weight_of(model: Any) -> Any:
    return next(t for t in model.graph.initializer if t.name == "w")


def elsewhere(tensor: Any, **entries: object) -> Any:
    """Let a tensor say that its values lie in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def spy(location: str = "../secret.bin") -> Any:
    """A constant that reads outside of its folder."""
    hidden = elsewhere(numpy_helper.from_array(np.zeros(4, np.float32), "hidden"), location=location)
    return helper.make_node("Constant", [], ["y"], value=hidden)


# --- external data


def test_external_data_of_a_function_are_seen(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Spy", [], ["y"], [spy()], opset))
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_external_data_of_an_attributes_default_are_seen(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    function = helper.make_function("mine", "Spy", [], ["y"], [], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(spy().attribute[0])
    model.functions.append(function)
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_external_data_of_a_sparse_tensor_are_seen(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    values = elsewhere(numpy_helper.from_array(np.zeros(1, np.float32), "s"), location="../secret.bin")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_an_address_in_memory_is_no_file(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    elsewhere(weight_of(model), location="*/_ORT_MEM_ADDR_/*", offset=4096, length=60)
    (tmp_path / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (tmp_path / "*" / "_ORT_MEM_ADDR_" / "*").write_bytes(bytes(8192))
    with pytest.raises(ArtifactError, match="outside its folder"):
        check_onnx(write(tmp_path / "x.onnx", model))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param({"length": 60}, "needs 60 bytes, and has 60 at offset 0 of the 59", id="short-file"),
        pytest.param({"offset": -4}, "has 60 at offset -4", id="in-front"),
        pytest.param({"offset": 1 << 60}, "has 60 at offset 1152921504606846976", id="far-behind"),
        pytest.param({"length": 4}, "needs 60 bytes, and has 4", id="too-few"),
        pytest.param({"offset": "0x10"}, "an invalid offset or length", id="no-number"),
    ],
)
def test_external_data_must_hold_what_is_declared(
    tmp_path: Path, write_lamp_model: Any, entries: dict[str, object], message: str
) -> None:
    model = write_lamp_model()
    elsewhere(weight_of(model), location="w.bin", **entries)
    (tmp_path / "w.bin").write_bytes(bytes(59))
    with pytest.raises(ArtifactError, match=message):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_a_place_that_is_named_twice_is_refused(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    weight = elsewhere(weight_of(model), location="../secret.bin")
    weight.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes(bytes(60))
    with pytest.raises(ArtifactError, match="duplicate entries"):
        check_onnx(write(tmp_path / "x.onnx", model))


# --- sizes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda w: w.dims.append(1 << 40), "expands to more than", id="larger-than-its-data"),
        pytest.param(lambda w: w.dims.append(2), "has 60 bytes, not 120", id="larger-by-some"),
        pytest.param(lambda w: w.dims.append(0), "has 60 bytes, not 0", id="smaller-than-its-data"),
        pytest.param(lambda w: w.dims.append(-1), "has the shape", id="negative"),
        pytest.param(lambda w: setattr(w, "data_type", 999), "unknown element type 999", id="unknown-type"),
        pytest.param(lambda w: setattr(w, "data_type", 0), "unknown element type 0", id="no-type"),
    ],
)
def test_a_tensor_that_is_not_what_it_declares_is_refused(
    tmp_path: Path, write_lamp_model: Any, change: Any, message: str
) -> None:
    model = write_lamp_model()
    change(weight_of(model))
    with pytest.raises(ArtifactError, match=message):
        check_onnx(write(tmp_path / "x.onnx", model))


@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        np.float64,
        np.int8,
        np.uint16,
        np.int64,
        np.uint64,
        np.bool_,
        np.complex64,
        "int4",
        "bfloat16",
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_every_type_may_be_stored_in_both_ways(
    tmp_path: Path, write_lamp_model: Any, dtype: Any, raw: bool
) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype)) if isinstance(dtype, str) else np.dtype(dtype)
    values = np.ones((3, 3), kind)
    onnx_kind = helper.np_dtype_to_tensor_dtype(kind)
    stored = (
        numpy_helper.from_array(values, "extra")
        if raw
        else helper.make_tensor("extra", onnx_kind, (3, 3), values.astype(np.complex64).ravel().tolist())
        if kind.kind == "c"
        else helper.make_tensor("extra", onnx_kind, (3, 3), [1] * 9)
    )
    model = write_lamp_model()
    model.graph.initializer.append(stored)
    check_onnx(write(tmp_path / "x.onnx", model))


def test_a_sparse_tensor_counts_as_what_it_unfolds_to(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 20, 1 << 20]))
    with pytest.raises(ArtifactError, match="expands to more than"):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_many_tensors_of_the_same_bytes_are_many(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    with (tmp_path / "w.bin").open("wb") as stream:
        stream.truncate(1 << 30)  # holds nothing, and takes no place on the disk
    for i in range(9):
        tensor = TensorProto(name=f"t{i}", data_type=TensorProto.FLOAT, dims=[1 << 28])
        model.graph.initializer.append(elsewhere(tensor, location="w.bin"))
    with pytest.raises(ArtifactError, match="expands to more than"):
        check_onnx(write(tmp_path / "x.onnx", model))


@pytest.mark.parametrize("place", ["input", "output", "value_info"])
def test_values_of_absurd_size_are_refused(tmp_path: Path, write_lamp_model: Any, place: str) -> None:
    model = write_lamp_model()
    huge = helper.make_tensor_value_info("huge", TensorProto.FLOAT, [1, 3, 1 << 20, 1 << 20])
    getattr(model.graph, place).append(huge)
    with pytest.raises(ArtifactError, match="declares huge with shape"):
        check_onnx(write(tmp_path / "x.onnx", model))


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.onnx").open("wb") as stream:
        stream.truncate((2 << 30) + 1)
    with pytest.raises(ArtifactError, match="the limit is"):
        check_onnx(tmp_path / "x.onnx")


def test_nodes_of_no_bytes_are_counted_before_they_are_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_scan, "MAX_FIELDS", 1000)
    nodes = b"\x0a\x00" * 1001
    model = b"\x3a" + varint(len(nodes)) + nodes
    (tmp_path / "x.onnx").write_bytes(model)
    with pytest.raises(ArtifactError, match="more than 1000 fields"):
        check_onnx(tmp_path / "x.onnx")


def test_graphs_within_graphs_within_graphs_are_refused(tmp_path: Path) -> None:
    inner = b""
    for tag in [*[b"\x0a", b"\x32", b"\x2a"] * 40, b"\x0a"]:  # graph.node, attribute.g, node.attribute
        inner = tag + varint(len(inner)) + inner
    (tmp_path / "x.onnx").write_bytes(b"\x3a" + varint(len(inner)) + inner)
    with pytest.raises(ArtifactError, match="nested more than"):
        check_onnx(tmp_path / "x.onnx")


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def test_the_scan_accepts_what_is_whole_and_nothing_that_is_cut(write_lamp_model: Any) -> None:
    data = write_lamp_model().SerializeToString()
    wire_scan.scan(data, onnx.ModelProto.DESCRIPTOR)
    for end in range(1, len(data), 7):
        try:
            whole = bool(onnx.ModelProto.FromString(data[:end]))
        except Exception:
            whole = False
        try:
            wire_scan.scan(data[:end], onnx.ModelProto.DESCRIPTOR)
            scanned = True
        except ValueError:
            scanned = False
        assert scanned == whole


# --- operators


@pytest.mark.parametrize(
    ("kind", "domain"),
    [
        ("EPContext", "com.microsoft"),  # loads a compiled engine
        ("PythonOp", "com.microsoft"),
        ("Anything", "my.company"),
        ("EfficientNMS_TRT", ""),
    ],
)
def test_operators_beyond_the_list_are_refused_unless_only_looked_at(
    tmp_path: Path, write_lamp_model: Any, kind: str, domain: str
) -> None:
    model = write_lamp_model()
    model.graph.node.append(helper.make_node(kind, ["output0"], ["more"], domain=domain))
    path = write(tmp_path / "x.onnx", model)
    with pytest.raises(ArtifactError, match=f"not supported: {kind}") as caught:
        check_onnx(path)
    assert "com.microsoft" in caught.value.hint
    assert open_onnx(path, custom_operators=True).graph.node[-1].op_type == kind


def test_operators_of_quantisers_and_functions_of_the_file_are_fine(
    tmp_path: Path, write_lamp_model: Any
) -> None:
    model = write_lamp_model()
    opset = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("mine", "Soft", ["x"], ["y"], body, opset))
    model.graph.node.append(helper.make_node("Soft", ["output0"], ["more"], domain="mine"))
    model.graph.node.append(helper.make_node("Gelu", ["more"], ["most"], domain="com.microsoft"))
    check_onnx(write(tmp_path / "x.onnx", model))


def test_an_operator_hidden_in_a_branch_is_seen(tmp_path: Path, write_lamp_model: Any) -> None:
    model = write_lamp_model()
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Evil", [], ["z"], domain="e")], "b", [], [value])
    model.graph.node.append(helper.make_node("If", ["c"], ["z2"], then_branch=branch, else_branch=branch))
    with pytest.raises(ArtifactError, match="Evil"):
        check_onnx(write(tmp_path / "x.onnx", model))


def calls(name: str, *called: str) -> Any:
    nodes = [helper.make_node(c, ["x"], [f"y{i}"], domain="mine") for i, c in enumerate(called)]
    nodes.append(helper.make_node("Relu", ["x"], ["y"]))
    return helper.make_function("mine", name, ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        pytest.param([calls("f0", "f0")], "calls between functions", id="itself"),
        pytest.param(
            [calls("f0", "f1"), calls("f1", "f0")],
            "calls between functions",
            id="in-a-circle",
        ),
        pytest.param(
            [calls(f"f{i}", *[f"f{i + 1}"] * 10) for i in range(9)] + [calls("f9")],
            "expands to 2222222228",
            id="ten-times-ten-times",
        ),
    ],
)
def test_functions_that_unfold_without_end_are_refused(
    tmp_path: Path, write_lamp_model: Any, functions: list[Any], message: str
) -> None:
    model = write_lamp_model()
    model.functions.extend(functions)
    model.graph.node.append(helper.make_node("f0", ["output0"], ["more"], domain="mine"))
    with pytest.raises(ArtifactError, match=message):
        check_onnx(write(tmp_path / "x.onnx", model))


# --- by another name


@pytest.mark.parametrize("suffix", [".xml", ".pb", ".tflite", ".engine", ".plan", ""])
@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_a_file_by_another_name_is_not_read_as_what_it_is(
    tmp_path: Path, lamp_model: Path, suffix: str, backend: str
) -> None:
    # OpenVINO would read any format behind any name, past every check for ONNX files.
    path = tmp_path / f"x{suffix}"
    path.write_bytes(lamp_model.read_bytes())
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"is not an|is not UTF-8"):
        open_backend(path, backend)


def test_the_shipped_student_is_within_all_limits(tmp_path: Path) -> None:
    from edgestill.checkpoint import read_checkpoint
    from edgestill.shipped import SHIPPED
    from export.graph.yolov5 import build_onnx

    checkpoint = read_checkpoint(SHIPPED / "student")
    check_onnx(write(tmp_path / "x.onnx", build_onnx(checkpoint.spec, checkpoint.weights)))
