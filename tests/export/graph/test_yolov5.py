"""The graph that is written without torch is the network that torch trains."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgestill.checkpoint import Checkpoint
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from export.graph.yolov5 import INPUT, OUTPUT, build_onnx


def torch_outputs(spec: ModelSpec, weights: Any, feed: Any) -> list[Any]:
    """The network's output ``[rows, columns]`` in float32 and in float64."""
    torch = pytest.importorskip("torch")
    from distill.models.yolov5 import from_spec

    model = from_spec(spec).eval()
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    found = []
    for dtype in (torch.float32, torch.float64):
        with torch.inference_mode():
            found.append(model.to(dtype).decode(model(torch.from_numpy(feed).to(dtype)))[0].numpy())
    return found


@pytest.mark.default_cases("yolov5n-input_hw0")
@pytest.mark.parametrize(
    ("name", "input_hw"), [("yolov5n", (64, 96)), ("yolov5s", (64, 96)), ("yolov5n", (640, 640))]
)
def test_it_computes_what_the_torch_network_computes(
    name: str, input_hw: tuple[int, int], run_onnx: Any, make_weights: Any, assert_float32_close: Any
) -> None:
    spec = ModelSpec(name=name, input_hw=input_hw, classes=("red", "yellow", "green"))
    weights = make_weights(spec, seed=3)
    feed = np.random.default_rng(4).uniform(0, 1, (1, 3, *input_hw)).astype(np.float32)

    ours = run_onnx(build_onnx(spec, weights), feed)[0]
    theirs, exact = torch_outputs(spec, weights, feed)
    assert theirs[:, 4:].std() > 0.05, "an output without contrast would prove nothing"
    np.testing.assert_allclose(ours[:, 4:], theirs[:, 4:], atol=1e-4)
    assert_float32_close(ours, theirs, exact)


def test_the_same_arguments_give_the_same_bytes(checkpoint: Checkpoint) -> None:
    first, second = (build_onnx(checkpoint.spec, checkpoint.weights) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_nodes_are_called_as_the_weights_are(float_model: Any) -> None:
    names = {node.name for node in float_model.graph.node}
    assert {"model.0.conv", "model.4.m.0.cv1.conv", "model.9.pool.2", "model.12", "model.24.m.1"} <= names


def test_every_layer_is_one_convolution_and_no_batch_norm(float_model: Any) -> None:
    kinds = [node.op_type for node in float_model.graph.node]
    assert kinds.count("Conv") == 60
    assert "BatchNormalization" not in kinds


def test_shapes_are_static_and_the_names_are_those_that_other_tools_expect(
    float_model: Any, spec: ModelSpec
) -> None:
    def shape(value: Any) -> list[int]:
        return [d.dim_value for d in value.type.tensor_type.shape.dim]

    graph = float_model.graph
    assert (graph.input[0].name, shape(graph.input[0])) == (INPUT, [1, 3, 64, 96])
    assert (graph.output[0].name, shape(graph.output[0])) == (OUTPUT, [1, spec.cells, 7])


def test_the_spec_travels_in_the_file(float_model: Any, spec: ModelSpec) -> None:
    stored = {p.key: p.value for p in float_model.metadata_props}
    assert ModelSpec.from_metadata(stored) == spec


def test_a_wrong_class_count_names_the_tensor_and_both_shapes(checkpoint: Checkpoint) -> None:
    wrong = replace(checkpoint.spec, classes=("red", "yellow", "green"))
    with pytest.raises(
        ArtifactError, match=r"model\.24\.m\.0\.weight has shape \(21, 64, 1, 1\).*\(24, 64, 1, 1\)"
    ):
        build_onnx(wrong, checkpoint.weights)


def test_a_missing_tensor_is_named(checkpoint: Checkpoint) -> None:
    weights = {n: w for n, w in checkpoint.weights.items() if n != "model.3.bn.bias"}
    with pytest.raises(ArtifactError, match=r"no model\.3\.bn\.bias"):
        build_onnx(checkpoint.spec, weights)


def test_a_tensor_that_fits_nowhere_is_named(checkpoint: Checkpoint) -> None:
    weights = {**checkpoint.weights, "model.25.extra": np.zeros(3, np.float32)}
    with pytest.raises(ArtifactError, match=r"are not used, e\.g\. model\.25\.extra"):
        build_onnx(checkpoint.spec, weights)


def test_other_anchors_than_the_trained_ones_are_refused(checkpoint: Checkpoint) -> None:
    moved = tuple(tuple((w * 1.1, h) for w, h in level) for level in checkpoint.spec.anchors_px)
    with pytest.raises(ArtifactError, match="was trained with anchors"):
        build_onnx(replace(checkpoint.spec, anchors_px=moved), checkpoint.weights)
