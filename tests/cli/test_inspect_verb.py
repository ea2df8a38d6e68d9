"""``edgestill inspect`` through the door."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from edgestill.cli.main import main
from edgestill.files import sha256_file
from edgestill.manifest import Manifest, write_manifest
from runtime.detector import open_detector


def test_a_model_file_tells_its_spec_tensors_hash_and_layers(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_model)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["spec"]["classes"] == ["red", "green"]
    assert told["inputs"][0]["shape"] == [1, 3, 32, 32]
    assert told["sha256"] == sha256_file(tiny_model)
    assert told["layers_executed"] == {"float32": 1}
    assert told["manifest"] is None


def test_how_a_file_is_read_is_told_with_the_reason(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_model)]) == 0
    ours = json.loads(capsys.readouterr().out)["reading"]
    assert (ours["layout"], ours["because"]) == ("yolov5", "the spec of edgestill in the file")

    model = onnx.load(tiny_model)
    onnx.helper.set_model_props(model, {"names": "['red', 'green']", "task": "detect", "end2end": "False"})
    onnx.save(model, tmp_path / "foreign.onnx")
    assert main(["inspect", str(tmp_path / "foreign.onnx")]) == 0
    foreign = json.loads(capsys.readouterr().out)["reading"]
    assert (foreign["layout"], foreign["task"], foreign["end2end"]) == ("yolov5", "detect", False)
    assert foreign["because"].startswith("the shape [1, 63, 7] of its output: 5 + 2 columns")

    onnx.helper.set_model_props(model, {"names": "['red', 'green']", "task": "segment"})
    onnx.save(model, tmp_path / "masks.onnx")
    assert main(["inspect", str(tmp_path / "masks.onnx")]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "the task 'segment'" in lines[0]


def test_a_file_that_is_not_what_its_manifest_says_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_model.read_bytes())
    manifest = Manifest(
        spec=open_detector(path).spec,
        format="onnx",
        files={path.name: sha256_file(path)},
        precision="fp32",
        precision_proved={"executed": {"float32": 1}},
        inputs=(),
        outputs=(),
        built_with={},
        parent_sha256="",
    )
    write_manifest(path, manifest)
    assert main(["inspect", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["precision"] == "fp32"

    path.write_bytes(path.read_bytes() + b"\x22\x00")  # valid, but not what was hashed
    assert main(["inspect", str(path)]) == 4
    assert "not the file that its manifest describes" in capsys.readouterr().err


def test_a_checkpoint_tells_its_spec_and_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build("n", 2)
    native.save(tmp_path / "best", model, model_spec(model, ("red", "green"), (64, 96)), {"note": "fresh"})
    assert main(["inspect", str(tmp_path / "best")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parameters"] == 1_766_623  # of yolov5n with two classes
    assert told["about"] == {"note": "fresh"}


def test_what_is_no_model_is_a_model_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_text("not a model")
    assert main(["inspect", str(tmp_path / "x.onnx")]) == 4
    assert capsys.readouterr().out == ""


@pytest.fixture
def symmetric(tmp_path: Path) -> Path:
    """A body of one convolution that reads unsigned bytes about 128, and a detection output."""
    onnx = pytest.importorskip("onnx")
    make, stored = onnx.helper, onnx.numpy_helper.from_array
    constants = {
        "scale": np.float32(0.01),
        "zero": np.uint8(128),
        "bytes": np.ones((16, 16, 1, 1), np.int8),
        "scales": np.full(16, 0.01, np.float32),
        "zeros": np.zeros(16, np.int8),
        "last": np.ones((7, 16, 1, 1), np.float16),
    }
    nodes = [
        make.make_node("QuantizeLinear", ["images", "scale", "zero"], ["q"], name="round"),
        make.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        make.make_node("DequantizeLinear", ["bytes", "scales", "zeros"], ["w"], axis=0),
        make.make_node("Conv", ["x", "w"], ["y"], name="body"),
        make.make_node("Cast", ["y"], ["half"], to=onnx.TensorProto.FLOAT16),
        make.make_node("Conv", ["half", "last"], ["z"], name="detect"),
    ]
    ends = [
        make.make_tensor_value_info(name, kind, None if name == "z" else [1, 16, 8, 8])
        for name, kind in (("images", onnx.TensorProto.FLOAT), ("z", onnx.TensorProto.FLOAT16))
    ]
    values = [stored(np.asarray(v), n) for n, v in constants.items()]
    graph = make.make_graph(nodes, "g", ends[:1], ends[1:], values)
    path = tmp_path / "[x].onnx"  # brackets are markup to the printer of tables
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_lint_names_the_rule_the_node_and_the_remedy_for_each_engine(
    symmetric: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(symmetric), "--lint"]) == 0  # nobody said for whom
    told = json.loads(capsys.readouterr().out)
    assert (told["convolutions"], told["convolutions_in_bytes"]) == (2, 1)
    assert told["errors"] == {"tensorrt": 2, "tensorrt-rtx": 2, "openvino": 0, "onnxruntime": 0}
    first = next(f for f in told["findings"] if f["rule"] == "activation-zero-point")
    assert first["node"] == "round"
    assert first["what"] == "zero point 128 (UINT8)"
    assert first["severity"] == {"tensorrt": "error", "tensorrt-rtx": "error"}
    assert "ActivationSymmetric" in first["remedy"]
    assert told["sha256"] == sha256_file(symmetric)


@pytest.mark.parametrize(("family", "code"), [("tensorrt", 6), ("tensorrt-rtx", 6), ("openvino", 0)])
def test_a_lint_for_one_engine_ends_by_its_errors(
    symmetric: Path, family: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(symmetric), "--lint", "--for", family]) == code
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {f for finding in told["findings"] for f in finding["severity"]} <= {family}
    assert f"has 2 errors for {family}" in err or not code


def test_a_lint_is_a_table_for_a_person(symmetric: Path) -> None:
    from io import StringIO

    from rich.console import Console

    from edgestill.cli.main import call
    from edgestill.cli.verbs import inspect

    out = StringIO()
    shown = inspect.show(call(["inspect", str(symmetric), "--lint"]))
    Console(file=out, width=200, markup=False).print(shown)
    assert "[x].onnx" in out.getvalue()
    assert "round: zero point 128 (UINT8)" in out.getvalue()


def test_the_students_float_graph_has_nothing_to_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "student", "--lint", "--for", "tensorrt"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_for_whom_is_a_question_of_lint_only(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_model), "--for", "tensorrt"]) == 2
    assert "add --lint" in capsys.readouterr().err


def test_only_onnx_is_linted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.xml").write_text("<net/>")
    assert main(["inspect", str(tmp_path / "x.xml"), "--lint"]) == 4
    assert "lint the .onnx file that it was built from" in capsys.readouterr().err


def test_a_lint_of_a_file_with_code_of_others_runs_none_of_it(
    symmetric: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(symmetric)
    made = onnx.helper.make_node("EPContext", ["z"], ["more"], name="engine", domain="com.microsoft")
    model.graph.node.append(made)
    onnx.save(model, symmetric)
    assert main(["inspect", str(symmetric)]) == 4
    assert "not supported: EPContext (com.microsoft)" in capsys.readouterr().err
    assert main(["inspect", str(symmetric), "--lint", "--for", "onnxruntime"]) == 6
    told = json.loads(capsys.readouterr().out)
    assert [f["node"] for f in told["findings"] if f["rule"] == "no-custom-operators"] == ["engine"]
