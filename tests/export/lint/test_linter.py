"""Whole files: ours, of ONNX Runtime's quantiser, and in the shapes that other tools write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from edgestill.target import TARGETS, Target, qdq_target
from export.graph.detector_graph import DetectorGraph
from export.job import INT8_SETTINGS
from export.lint.linter import LINT_NAMES, lint, read
from export.lint.qdq_graph import QdqGraph
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.int8 import make_int8


def found(model: Any, target: Target, severity: str = "error") -> set[str]:
    """The rules that a model breaks, of one severity for one target."""
    return {p.rule.id for p in lint(QdqGraph(model), [target]) if p.severities[target] == severity}


@pytest.fixture(scope="module")
def ours(float_model: Any, spec: ModelSpec, statistics: TensorStatistics) -> dict[str, Any]:
    """The INT8 graph of every target that there is."""
    graph = DetectorGraph(float_model, spec.scale)
    return {t: make_int8(graph, statistics, INT8_SETTINGS[qdq_target(t)])[0] for t in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_what_we_export_for_an_engine_has_no_errors_for_it(target: Target, ours: dict[str, Any]) -> None:
    assert found(ours[target], target) == set()
    allowed = {"residual-shortcut-rounded", "detection-outputs-half"}  # left float for its range; FP32
    assert found(ours[target], target, "warning") <= allowed


def test_our_file_for_one_engine_is_wrong_for_the_others(ours: dict[str, Any]) -> None:
    assert found(ours["tensorrt"], "openvino") == {"activation-signed-on-openvino"}
    assert {"activation-type", "activation-zero-point"} <= found(ours["openvino"], "tensorrt")
    assert "integer-bias" in found(ours["onnx"], "tensorrt")


def test_a_float_file_breaks_nothing(float_model: Any) -> None:
    assert list(lint(QdqGraph(float_model))) == []


def test_the_outputs_are_told_from_the_body(float_model: Any, ours: dict[str, Any]) -> None:
    for model in (float_model, *ours.values()):
        assert {n.name for n in QdqGraph(model).outputs.values()} == {f"model.24.m.{i}" for i in range(3)}


def test_the_projection_of_a_dfl_head_is_no_output(
    spec: ModelSpec, make_weights: Callable[..., dict[str, Any]]
) -> None:
    from dataclasses import replace

    from export.graph.yolov5 import build_onnx

    anchor_free = replace(spec, head="dfl", anchors_px=(), layout="yolov8")
    model = build_onnx(anchor_free, make_weights(anchor_free))
    names = {n.name for n in QdqGraph(model).outputs.values()}
    assert names == {f"model.24.cv{branch}.{level}.2" for branch in (2, 3) for level in range(3)}


@pytest.fixture(scope="module")
def by_onnxruntime(in_float: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A float file through ONNX Runtime's own quantiser."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"images": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    def make(**options: Any) -> Any:
        folder = tmp_path_factory.mktemp("ort")
        onnx.save(in_float, folder / "in.onnx")
        q.quantize_static(folder / "in.onnx", folder / "out.onnx", Reader(), **options)
        return onnx.load(folder / "out.onnx")

    return make


def test_onnxruntimes_quantiser_left_alone_is_caught(by_onnxruntime: Any) -> None:
    model = by_onnxruntime()
    for target in LINT_NAMES:
        assert "decode-float" in found(model, target)
    refused = {"activation-zero-point", "integer-bias", "detection-outputs-float"}
    assert refused <= found(model, "tensorrt")


def test_onnxruntimes_quantiser_in_operator_format_is_caught(by_onnxruntime: Any) -> None:
    from onnxruntime.quantization import QuantFormat

    assert "pairs-not-operators" in found(by_onnxruntime(quant_format=QuantFormat.QOperator), "tensorrt")


def test_onnxruntimes_quantiser_set_up_for_tensorrt_passes(by_onnxruntime: Any) -> None:
    from onnxruntime.quantization import QuantType

    model = by_onnxruntime(
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=["detect", "scores"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    assert found(model, "tensorrt") == set()
    assert "convolution-output-open" in found(model, "tensorrt", "warning")  # it cannot leave that out


def test_weights_as_pytorch_quantization_writes_them_pass(failing: Callable[[str], Any]) -> None:
    model, _ = failing("weights-stored-in-bytes")  # float weights, both halves, scales in Constant nodes
    assert found(model, "tensorrt") == found(model, "tensorrt", "warning") == set()


def test_the_form_of_nncf_is_right_for_openvino_only(passing: Callable[[str], Any]) -> None:
    model = passing("activation-signed-on-openvino")  # unsigned bytes with a zero point
    assert found(model, "openvino") == set()
    assert found(model, "tensorrt") == {"activation-zero-point", "activation-type"}


def test_a_rounding_of_modelopts_own_is_named(passing: Callable[[str], Any]) -> None:
    model = passing("decode-float")
    eight = helper.make_node("TRT_FP8QuantizeLinear", ["scores", "scales"], ["q"], name="fp8", domain="trt")
    model.graph.node.append(eight)
    assert found(model, "openvino") >= {"no-custom-operators"}


def test_nodes_without_names_are_called_by_what_they_make(failing: Callable[[str], Any]) -> None:
    model, _ = failing("activation-zero-point")
    for node in model.graph.node:
        node.ClearField("name")
    problems = [p for p in lint(QdqGraph(model)) if p.rule.id == "activation-zero-point"]
    assert [p.finding.node for p in problems] == ["stem.act.pair.round"]


def test_functions_are_looked_into(tmp_path: Path, failing: Callable[[str], Any]) -> None:
    model, _ = failing("activation-zero-point")
    names = {"stem.act.pair.round", "stem.act.pair"}
    moved = [n for n in model.graph.node if n.name in names]
    inputs, places = ["stem.act", "stem.act.pair.scale", "stem.act.pair.zero"], len(model.graph.node)
    function = helper.make_function("mine", "Fake", inputs, ["stem.act.pair"], moved, model.opset_import)
    at = next(i for i in range(places) if model.graph.node[i].name == "stem.act.pair.round")
    for node in moved:
        model.graph.node.remove(node)
    call = helper.make_node("Fake", inputs, ["stem.act.pair"], name="call", domain="mine")
    model.graph.node.insert(at, call)
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, tmp_path / "x.onnx")
    assert "activation-zero-point" in {p.rule.id for p in lint(read(tmp_path / "x.onnx"))}


def test_values_in_another_file_are_read(tmp_path: Path, failing: Callable[[str], Any]) -> None:
    model, _ = failing("activation-zero-point")
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.bin", size_threshold=0)
    assert "activation-zero-point" in {p.rule.id for p in lint(read(tmp_path / "x.onnx"))}


def test_values_outside_the_folder_are_not(tmp_path: Path, failing: Callable[[str], Any]) -> None:
    model, _ = failing("activation-zero-point")
    (tmp_path / "secret").write_bytes(bytes(4))
    scale = next(t for t in model.graph.initializer if t.name == "stem.act.pair.scale")
    onnx.external_data_helper.set_external_data(scale, "../secret", length=4)
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="outside its folder"):
        read(tmp_path / "model" / "x.onnx")


@pytest.mark.parametrize("kind", ["MaxPool", "Identity"])
def test_a_graph_that_runs_in_a_circle_is_refused(kind: str, passing: Callable[[str], Any]) -> None:
    model = passing("decode-float")
    model.graph.node.append(helper.make_node(kind, ["round"], ["round"], name="circle"))
    with pytest.raises(ArtifactError, match="circle reads round, which no earlier node makes"):
        QdqGraph(model)


@pytest.mark.parametrize(
    "kind", ["QuantizeLinear", "DequantizeLinear", "Conv", "MaxPool", "Identity", "Add", "Tanh", "Resize"]
)
def test_a_node_without_its_inputs_is_refused(
    kind: str, tmp_path: Path, passing: Callable[[str], Any]
) -> None:
    model = passing("decode-float")
    model.graph.node.append(helper.make_node(kind, [], []))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ArtifactError, match="has 0 inputs and 0 outputs"):
        read(tmp_path / "x.onnx")


def test_a_damaged_file_is_refused_or_linted_and_nothing_else(
    tmp_path: Path, passing: Callable[[str], Any]
) -> None:
    whole = passing("decode-float").SerializeToString()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        (tmp_path / "x.onnx").write_bytes(data)
        try:
            list(lint(read(tmp_path / "x.onnx")))
            outcomes.add("linted")
        except ArtifactError:
            outcomes.add("refused")
    assert outcomes == {"linted", "refused"}


def test_a_long_chain_of_casts_is_followed(passing: Callable[[str], Any]) -> None:
    model = passing("decode-float")
    scores = next(n for n in model.graph.node if n.name == "scores")
    source = scores.input[0]
    links = [
        helper.make_node("Identity", [source if i == 0 else f"i{i}"], [f"i{i + 1}"]) for i in range(3000)
    ]
    scores.input[0] = "i3000"
    model.graph.node.remove(scores)
    model.graph.node.extend([*links, scores])
    assert list(lint(QdqGraph(model), ["tensorrt"])) == []
