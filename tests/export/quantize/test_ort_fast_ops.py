"""Operators that ONNX Runtime runs faster make the same bytes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgestill.quantization import ANY_CPU_RANGE
from edgestill.spec import ModelSpec
from export.graph.detector_graph import DetectorGraph
from export.graph.interface import Interface, apply_interface
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.ort_fast_ops import use_fast_ops
from export.quantize.qdq import quantise
from export.quantize.qdq_placement import for_onnxruntime

FORMS = {
    "raw": Interface(),
    "compact": Interface(output="compact"),
    "free batch": Interface(output="compact", batch=None),
    "bytes in": Interface(output="compact", pixels="uint8"),
    "free size": Interface(output="compact", batch=None, free_hw=True),
}
ARRANGED = "SpaceToDepth"


@pytest.fixture(scope="session")
def quantised(float_model: Any, spec: ModelSpec, statistics: TensorStatistics) -> Any:
    """In bytes that every CPU adds right."""
    plan = for_onnxruntime(DetectorGraph(float_model, spec.scale), statistics)
    assert "model.0.conv" in plan.convolutions
    return quantise(float_model, plan, replace(statistics, weights={}), ANY_CPU_RANGE)


@pytest.fixture(scope="module", params=FORMS)
def form(request: Any) -> Interface:
    return FORMS[request.param]


@pytest.fixture(scope="module")
def pair(quantised: Any, spec: ModelSpec, form: Interface) -> tuple[Any, Any]:
    """A file as it is, and arranged."""
    plain = apply_interface(quantised, spec, form)
    return plain, use_fast_ops(plain)


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def run(model: Any, image: Any, optimised: Path | None = None) -> Any:
    """As users run it: pairs fused into kernels for bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if optimised:
        options.optimized_model_filepath = str(optimised)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": image})[0]


@pytest.mark.default_cases("raw", "free size")
def test_every_form_gives_the_same_numbers(pair: tuple[Any, Any], form: Interface, feeds: Any) -> None:
    plain, arranged = pair
    image = feeds[0]
    if form.pixels == "uint8":
        image = np.rint(image.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    np.testing.assert_array_equal(run(arranged, image), run(plain, image))


def test_the_first_convolution_reads_twelve_channels(pair: tuple[Any, Any]) -> None:
    plain, arranged = pair
    assert kinds(arranged)[ARRANGED] == kinds(plain)[ARRANGED] + 1
    stored = {t.name: numpy_helper.to_array(t) for t in arranged.graph.initializer}
    assert stored["model.0.conv.weight.bytes"].shape == (16, 12, 3, 3)


def test_an_image_of_bytes_is_read_as_it_comes(pair: tuple[Any, Any], form: Interface) -> None:
    plain, arranged = pair
    was_bytes = form.pixels == "uint8"
    assert ("images.quantise" in {node.name for node in arranged.graph.node}) != was_bytes
    for kind in ("Cast", "Mul"):
        assert kinds(plain)[kind] - kinds(arranged)[kind] == was_bytes


@pytest.mark.default_cases("zero-value1")
@pytest.mark.parametrize(("tensor", "value"), [("scaled.by", np.float32(0.5)), ("zero", np.uint8(1))])
def test_an_image_whose_bytes_mean_something_else_is_rounded(
    tensor: str, value: Any, float_model: Any, spec: ModelSpec, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(DetectorGraph(float_model, spec.scale), statistics)
    model = apply_interface(quantise(float_model, plan, statistics, ANY_CPU_RANGE), spec, FORMS["bytes in"])
    stored = next(t for t in model.graph.initializer if t.name == f"images.{tensor}")
    stored.CopyFrom(numpy_helper.from_array(np.full(tuple(stored.dims), value), stored.name))
    assert kinds(use_fast_ops(model))["Cast"] == kinds(model)["Cast"]


def test_places_are_copied_where_they_are_known(pair: tuple[Any, Any], form: Interface) -> None:
    plain, arranged = pair
    assert kinds(plain)["Resize"] == 2
    assert kinds(arranged)["Resize"] == (2 if form.free_hw else 0)


def test_nothing_is_left_that_nobody_reads(pair: tuple[Any, Any]) -> None:
    _, arranged = pair
    read = {name for node in arranged.graph.node for name in node.input}
    made = {name for node in arranged.graph.node for name in node.output}
    assert made - read == {arranged.graph.output[0].name, *_unused(pair[0])}
    assert {t.name for t in arranged.graph.initializer} <= read


def _unused(model: Any) -> set[str]:
    """Second outputs, of a TopK, that were not read before either."""
    read = {name for node in model.graph.node for name in node.input}
    made = {name for node in model.graph.node for name in node.output}
    return made - read - {model.graph.output[0].name}


def test_the_kernels_that_run_are_the_fast_ones(
    quantised: Any, spec: ModelSpec, feeds: Any, tmp_path: Path
) -> None:
    """No Resize, no pool of bytes but the one for channels last, and turning over only what is at an end."""
    arranged = use_fast_ops(apply_interface(quantised, spec, Interface(output="compact")))
    run(arranged, feeds[0], tmp_path / "optimised.onnx")
    ran = kinds(onnx.load(tmp_path / "optimised.onnx"))
    assert ran["NhwcMaxPool"] == 3
    assert ran["MaxPool"] == ran["Resize"] == 0
    assert ran["QLinearConv"] == 54
    plain = apply_interface(quantised, spec, Interface(output="compact"))
    run(plain, feeds[0], tmp_path / "plain.onnx")
    assert ran["Transpose"] <= kinds(onnx.load(tmp_path / "plain.onnx"))["Transpose"]


def test_a_float_model_is_left_as_it_is(float_model: Any) -> None:
    assert list(use_fast_ops(float_model).graph.node) == list(float_model.graph.node)


def test_a_first_convolution_in_float_is_left_as_it_is(
    float_model: Any, spec: ModelSpec, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(DetectorGraph(float_model, spec.scale), statistics)
    floats = {**plan.activations}
    floats.pop("images")
    left = replace(
        plan,
        activations=floats,
        convolutions=plan.convolutions - {"model.0.conv"},
        float_readers=plan.float_readers | {"model.0.conv"},
    )
    made = use_fast_ops(quantise(float_model, left, statistics, ANY_CPU_RANGE))
    assert not kinds(made)[ARRANGED]
    assert not kinds(made)["Resize"]


def test_a_map_that_somebody_else_reads_as_well_is_left_where_it_is(
    float_model: Any, spec: ModelSpec, statistics: TensorStatistics
) -> None:
    plan = for_onnxruntime(DetectorGraph(float_model, spec.scale), statistics)
    model = quantise(float_model, plan, statistics, ANY_CPU_RANGE)
    wide = next(node for node in model.graph.node if node.op_type == "Resize").output[0]
    model.graph.node.append(helper.make_node("Identity", [wide], ["wide"], name="reader"))
    model.graph.output.append(helper.make_tensor_value_info("wide", TensorProto.FLOAT, [None] * 4))
    made = use_fast_ops(model)
    assert kinds(made)["Resize"] == 1
    assert "wide" in {name for node in made.graph.node for name in node.output}
