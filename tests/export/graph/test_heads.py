"""Every head: the graph is the network that was trained, and other tools read its file."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.checkpoint import Checkpoint
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import HeadKind, ModelSpec
from export.build import export
from export.graph.yolov5 import HEADS, build_onnx
from export.job import Job
from runtime.detector import open_detector

NAMES = ("red", "yellow", "green")
SPECS = {
    "decoupled": ModelSpec(name="yolov5n", input_hw=(64, 96), classes=NAMES, head="decoupled"),
    "shared": ModelSpec(
        name="yolov5n", input_hw=(64, 64), classes=NAMES[:1], head="decoupled", share_levels=True
    ),
    "dfl": ModelSpec(
        name="yolov5n", input_hw=(96, 64), classes=NAMES, head="dfl", anchors_px=(), layout="yolov8"
    ),
}
DFL = SPECS["dfl"]
EVERY_HEAD = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def picture(spec: ModelSpec) -> NDArray[np.float32]:
    return np.random.default_rng(4).uniform(0, 1, (1, 3, *spec.input_hw)).astype(np.float32)


def by_row(output: Any, spec: ModelSpec) -> Any:
    """An output with a row for each box, whatever the layout."""
    return output[0] if spec.layout == "yolov5" else output[0].T


def boxes_and_rest(output: Any, spec: ModelSpec) -> tuple[Any, Any]:
    """Boxes, and probabilities, by row."""
    rows = by_row(output, spec)
    return rows[:, :4], rows[:, 4:]


def test_there_is_a_file_for_every_head_of_a_spec() -> None:
    assert set(HEADS.names()) == set(get_args(HeadKind))


@pytest.mark.default_cases("dfl")
@EVERY_HEAD
def test_it_computes_what_the_torch_network_computes(
    spec: ModelSpec, run_onnx: Any, make_weights: Any, assert_float32_close: Any
) -> None:
    torch = pytest.importorskip("torch")
    if spec.head == "dfl":
        pytest.importorskip("ultralytics")
    from distill.models.yolov5 import from_spec

    weights = make_weights(spec, seed=3)
    model = from_spec(spec).eval()
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    theirs, exact = (
        model.to(dtype).decode(model(torch.from_numpy(picture(spec)).to(dtype))).detach().numpy()
        for dtype in (torch.float32, torch.float64)
    )
    ours = run_onnx(build_onnx(spec, weights), picture(spec))
    assert ours.shape == theirs.shape
    _, rest = boxes_and_rest(ours, spec)
    _, true_rest = boxes_and_rest(theirs, spec)
    assert true_rest.std() > 0.05, "an output without contrast would prove nothing"
    np.testing.assert_allclose(rest, true_rest, atol=1e-4)
    assert_float32_close(*(by_row(output, spec) for output in (ours, theirs, exact)))


@pytest.mark.default_cases("3")
@pytest.mark.parametrize("nc", [3, 80])  # the class towers are wider with many
def test_a_dfl_file_is_the_network_that_the_package_builds(
    nc: int, run_onnx: Any, make_weights: Any, assert_float32_close: Any
) -> None:
    torch = pytest.importorskip("torch")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    spec = replace(DFL, classes=tuple(f"class {i}" for i in range(nc)))
    weights = make_weights(spec, seed=5)
    model = tasks.DetectionModel("yolov5n.yaml", nc=nc, verbose=False).eval()
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    theirs, exact = (
        model.to(dtype)(torch.from_numpy(picture(spec)).to(dtype))[0].detach().numpy()
        for dtype in (torch.float32, torch.float64)
    )
    ours = run_onnx(build_onnx(spec, weights), picture(spec))
    assert_float32_close(*(by_row(output, spec) for output in (ours, theirs, exact)))


def test_a_sure_distribution_gives_the_box_that_it_names(run_onnx: Any, make_weights: Any) -> None:
    """Left 2, top 1, right 4, bottom 3 cells everywhere, by the biases alone."""
    weights = make_weights(DFL)
    logits = np.full((4, 16), -50, np.float32)
    logits[np.arange(4), [2, 1, 4, 3]] = 50
    for i in range(3):
        weights[f"model.24.cv2.{i}.2.weight"][:] = 0
        weights[f"model.24.cv2.{i}.2.bias"] = logits.reshape(-1)
    boxes = run_onnx(build_onnx(DFL, weights), picture(DFL))[0, :4].T
    first = {8: 0, 16: 12 * 8, 32: 12 * 8 + 6 * 4}  # cell 0, 0 of each level, by stride
    for stride, at in first.items():
        half = stride / 2  # of the cell; the middle of the box lies 1 cell to the right and 1 below
        np.testing.assert_allclose(
            boxes[at], [half + stride, half + stride, 6 * stride, 4 * stride], rtol=1e-5
        )
    np.testing.assert_allclose(boxes[1] - boxes[0], [8, 0, 0, 0], atol=1e-4)  # columns run along x first
    np.testing.assert_allclose(boxes[8] - boxes[0], [0, 8, 0, 0], atol=1e-4)


@pytest.mark.default_cases("decoupled-onnx", "dfl-openvino")
@pytest.mark.parametrize("to", ["onnx", "openvino"])
@EVERY_HEAD
def test_a_published_file_of_each_head_is_run_from_what_it_says_of_itself(
    spec: ModelSpec, to: Any, tmp_path: Path, make_weights: Any
) -> None:
    checkpoint = Checkpoint(spec=spec, weights=make_weights(spec), sha256="0" * 64)
    job = Job(checkpoint=checkpoint, target=to, precision="fp16")
    made = export(job, tmp_path, "m", check=lambda built, source: None)
    detector = open_detector(made.files[0], conf=0.5, threads=1)
    assert detector.spec == spec
    image = np.random.default_rng(0).integers(0, 255, (*spec.input_hw, 3), np.uint8)
    assert len(detector(image)) > 0


def test_shared_towers_serve_each_level_under_a_name_of_its_own(make_weights: Any) -> None:
    spec = SPECS["shared"]
    model = build_onnx(spec, make_weights(spec))
    stored = {t.name: t.raw_data for t in model.graph.initializer}
    towers = [stored[f"model.24.cls_convs.{i}.1.conv.weight"] for i in range(3)]
    assert towers[0] == towers[1] == towers[2]
    outputs = [node.output[0] for node in model.graph.node]
    assert len(set(outputs)) == len(outputs)


def test_a_spec_that_forgets_that_levels_share_is_refused(make_weights: Any) -> None:
    spec = SPECS["shared"]
    with pytest.raises(ArtifactError, match=r"no model\.24\.reg_convs\.1\.0"):
        build_onnx(replace(spec, share_levels=False), make_weights(spec))


def test_a_spec_that_invents_that_levels_share_is_refused(make_weights: Any) -> None:
    spec = SPECS["decoupled"]
    with pytest.raises(ArtifactError, match=r"are not used, e\.g\. model\.24\.cls_convs\.1"):
        build_onnx(replace(spec, share_levels=True), make_weights(spec))


def test_other_anchors_than_the_trained_ones_are_refused(make_weights: Any) -> None:
    spec = SPECS["decoupled"]
    moved = tuple(tuple((w, h * 0.9) for w, h in level) for level in spec.anchors_px)
    with pytest.raises(ArtifactError, match="was trained with anchors"):
        build_onnx(replace(spec, anchors_px=moved), make_weights(spec))


def test_other_bins_than_the_packages_are_refused(make_weights: Any) -> None:
    weights = make_weights(DFL)
    weights["model.24.dfl.conv.weight"] = weights["model.24.dfl.conv.weight"] * 2
    with pytest.raises(ArtifactError, match=r"bins of model\.24\.dfl are \[0\.0, 2\.0"):
        build_onnx(DFL, weights)


def test_a_head_that_nobody_wrote_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="coupled"):
        HEADS.load("coupld")
