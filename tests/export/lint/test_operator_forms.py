"""Every form of a quantised graph is judged as Q/DQ pairs are, or is said not to be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.errors import ArtifactError
from export.lint.linter import lint, read
from export.lint.operator_forms import as_pairs
from export.lint.qdq_graph import QdqGraph


def found(model: Any, target: Any = "onnx") -> dict[str, list[str]]:
    """The nodes that break a rule, by rule."""
    broken: dict[str, list[str]] = {}
    for violation in lint(QdqGraph(model), [target]):
        broken.setdefault(violation.rule.id, []).append(violation.finding.node)
    return broken


def counted(model: Any) -> tuple[int, int]:
    graph = QdqGraph(model)
    return len(graph.convolutions), sum(map(graph.computes_int8, graph.convolutions))


def qlinear(scale: float = 2.5) -> Any:
    """One QLinearConv whose boxes and scores share a range."""
    stored = {
        "s": np.float32(1 / 255),
        "os": np.float32(scale),
        "zp": np.uint8(0),
        "w": np.full((5, 3, 1, 1), 100, np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "shape": np.array([1, 5, 1024], np.int64),
    }
    make = helper.make_node
    graph = helper.make_graph(
        [
            make("QuantizeLinear", ["images", "s", "zp"], ["q"]),
            make(
                "QLinearConv",
                ["q", "s", "zp", "w", "ws", "wz", "os", "zp"],
                ["qo"],
                kernel_shape=[1, 1],
                name="det",
            ),
            make("DequantizeLinear", ["qo", "os", "zp"], ["o4"]),
            make("Reshape", ["o4", "shape"], ["output0"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 1024])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def calibrated(in_float: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The float network through ONNX Runtime's quantiser: ``QDQ``, ``QOperator`` or ``dynamic``."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"images": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    def make(form: str) -> Any:
        folder = tmp_path_factory.mktemp(form)
        onnx.save(in_float, folder / "in.onnx")
        if form == "dynamic":
            q.quantize_dynamic(folder / "in.onnx", folder / "out.onnx", weight_type=q.QuantType.QUInt8)
        else:
            q.quantize_static(
                folder / "in.onnx", folder / "out.onnx", Reader(), quant_format=getattr(q.QuantFormat, form)
            )
        return onnx.load(folder / "out.onnx")

    return make


def test_one_range_for_boxes_and_scores_is_found_in_operators() -> None:
    model = qlinear()
    assert counted(model) == (1, 1)
    broken = found(model)
    assert broken["detection-outputs-float"] == ["det"]
    assert broken["decode-float"] == ["det"]
    assert QdqGraph(model).forms == ["operators"]


def test_a_scale_of_an_operator_is_checked() -> None:
    assert "scale-sane" in found(qlinear(scale=0.0))
    assert "scale-sane" not in found(qlinear())


@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt"])
def test_operators_break_the_rules_that_pairs_break(target: str, calibrated: Callable[[str], Any]) -> None:
    pairs, operators = calibrated("QDQ"), calibrated("QOperator")
    assert {n.op_type for n in operators.graph.node} >= {"QLinearConv", "QLinearSigmoid", "QLinearMul"}
    assert counted(operators) == counted(pairs) == (3, 3)
    wanted, ours = found(pairs, target), found(operators, target)
    ours.pop("pairs-not-operators", None)
    wanted.pop("integer-bias", None)  # a QLinearConv has no other bias
    assert ours.keys() == wanted.keys()
    assert {"detection-outputs-float", "decode-float"} <= ours.keys()
    assert (wanted["detection-outputs-float"], ours["detection-outputs-float"]) == (
        ["detect"],
        ["detect_quant"],
    )


def test_dynamic_quantisation_is_counted_and_named(calibrated: Callable[[str], Any]) -> None:
    model = calibrated("dynamic")
    assert counted(model) == (3, 3)
    assert QdqGraph(model).forms == ["dynamic"]
    (violation,) = [v for v in lint(QdqGraph(model), ["onnx"]) if v.rule.id == "static-quantisation"]
    assert "3 ConvInteger" in violation.finding.what
    assert "DynamicQuantizeLinear" in violation.finding.what
    assert violation.severities == {"onnx": "warning"}
    assert found(model)["detection-outputs-float"] == ["detect_quant"]
    assert "static-quantisation" in found(model, "tensorrt")
    assert "convolution-own-pair" not in found(model, "tensorrt")


def test_a_float_file_has_no_form(in_float: Any) -> None:
    assert QdqGraph(in_float).forms == []
    assert as_pairs(in_float) == (in_float, [])


@pytest.mark.parametrize(
    ("kind", "operands", "attributes"),
    [
        ("QLinearAdd", ["q", "s", "zp", "q", "s", "zp", "s", "zp"], {}),
        ("QLinearConcat", ["s", "zp", "q", "s", "zp", "q", "s", "zp"], {"axis": 1}),
        ("QLinearGlobalAveragePool", ["q", "s", "zp", "s", "zp"], {}),
        ("QLinearLeakyRelu", ["q", "s", "zp", "s", "zp"], {"alpha": 0.1}),
        ("MaxPool", ["q"], {"kernel_shape": [1, 1]}),  # passes bytes on
        ("Transpose", ["q"], {"perm": [0, 1, 3, 2]}),
    ],
)
def test_a_convolution_behind_any_of_them_computes_in_bytes(
    kind: str, operands: list[str], attributes: dict[str, Any]
) -> None:
    model = qlinear()
    domain = "com.microsoft" if kind.startswith("QLinear") else ""
    node = helper.make_node(kind, operands, ["p"], name="between", domain=domain, **attributes)
    model.graph.node.insert(1, node)
    model.graph.node[2].input[0] = "p"
    assert counted(model) == (1, 1)
    graph = QdqGraph(model)
    assert graph.pair_making(graph.convolutions[0].input[0]) is not None
    assert [n.op_type for n in graph.operators] == [
        k for k in (kind, "QLinearConv") if k.startswith("QLinear")
    ]


def test_a_graph_of_operators_that_does_not_run_is_refused() -> None:
    model = qlinear()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(ArtifactError, match="reads nowhere, which no earlier node makes"):
        QdqGraph(model)


def test_a_damaged_graph_of_operators_is_refused_or_linted(
    tmp_path: Path, calibrated: Callable[[str], Any]
) -> None:
    rng = np.random.default_rng(0)
    outcomes = set()
    for form in ("QOperator", "dynamic"):
        whole = calibrated(form)
        for _ in range(100):
            model = onnx.ModelProto()
            model.CopyFrom(whole)
            node = model.graph.node[rng.integers(len(model.graph.node))]
            tensor = model.graph.initializer[rng.integers(len(model.graph.initializer))]
            change = rng.integers(4)
            if change == 0 and node.input:
                del node.input[rng.integers(len(node.input))]
            elif change == 1:
                node.op_type = str(
                    rng.choice(["QLinearConv", "QLinearConcat", "ConvInteger", "MaxPool", "QGemm"])
                )
            elif change == 2:
                tensor.ClearField("dims")
            else:
                tensor.ClearField("raw_data")
            (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
            try:
                list(lint(read(tmp_path / "x.onnx")))
                outcomes.add("linted")
            except ArtifactError:
                outcomes.add("refused")
    assert outcomes == {"linted", "refused"}


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (
            helper.make_node("FakeQuantize", ["images"], ["f"], name="odd", domain="org.openvinotoolkit"),
            "FakeQuantize",
        ),
        (helper.make_node("QAttention", ["images"], ["f"], name="odd", domain="com.microsoft"), "QAttention"),
        (
            helper.make_node("MatMulNBits", ["images"], ["f"], name="odd", domain="com.microsoft"),
            "MatMulNBits",
        ),
        (helper.make_node("QuantizeLinear", ["images", "s"], ["f"], name="odd", block_size=16), "each block"),
    ],
)
def test_a_form_that_no_rule_knows_is_said(node: Any, what: str) -> None:
    model = qlinear()
    model.graph.node.append(node)
    (violation,) = [v for v in lint(QdqGraph(model), ["onnx"]) if v.rule.id == "form-judged"]
    assert violation.finding.node == "odd"
    assert what in violation.finding.what


def test_layers_inside_a_loop_are_said_to_be_left_out(failing: Callable[[str], Any]) -> None:
    model, _ = failing("form-judged")
    (violation,) = [v for v in lint(QdqGraph(model), ["onnx"]) if v.rule.id == "form-judged"]
    assert violation.finding.what.startswith("If with 2 nodes inside, 1 of them convolutions")


def test_numbers_in_constants_are_values() -> None:
    model = qlinear()
    kept = [t for t in model.graph.initializer if t.name != "os"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["os"], value_float=2.5))
    assert "scale-sane" not in found(model)


def test_the_verb_counts_and_fails_for_the_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from edgestill.cli.main import main

    onnx.save(qlinear(), tmp_path / "q.onnx")
    assert main(["inspect", str(tmp_path / "q.onnx"), "--lint", "--for", "onnxruntime"]) == 6
    told = json.loads(capsys.readouterr().out)
    assert (told["convolutions"], told["convolutions_in_bytes"], told["forms"]) == (1, 1, ["operators"])
