"""What is put around a network: the answers stay those of the raw file with one float image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy
from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import UsageError
from edgestill.spec import NOT_FOR_ULTRALYTICS, ModelSpec
from export.build import export
from export.graph.interface import ROWS, Interface, apply_interface
from export.graph.yolov5 import build_onnx
from export.job import Job
from export.quantize.calibration.images import choose_images
from runtime.decode import decode
from runtime.detector import ModelDetector, open_detector
from runtime.letterbox import Letterbox, prepare

NAMES = ("red", "yellow", "green")
COUPLED = ModelSpec(name="yolov5n", input_hw=(64, 96), classes=NAMES)
SPECS = {
    "coupled": COUPLED,
    "decoupled": replace(COUPLED, head="decoupled"),
    "dfl": replace(COUPLED, head="dfl", anchors_px=(), layout="yolov8"),
    "one-class": replace(COUPLED, classes=("light",)),
}
FORMS = {
    "raw": Interface(),
    "compact": Interface(output="compact"),
    "uint8": Interface(pixels="uint8"),
    "batch": Interface(output="compact", batch=3),
    "free": Interface(output="compact", pixels="uint8", batch=None),
    "few": Interface(output="compact", rows=40),
}
SAME = Letterbox(scale=1.0, pad_xy=(0, 0))
IMAGES = np.random.default_rng(4).integers(0, 256, (5, 64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def models(make_weights: Any) -> dict[str, onnx.ModelProto]:
    return {name: build_onnx(spec, make_weights(spec, seed=3)) for name, spec in SPECS.items()}


@pytest.fixture(scope="module")
def raw(models: dict[str, onnx.ModelProto]) -> dict[str, list[NDArray[np.float32]]]:
    """What the raw file of each network gives for the first images, one by one."""
    import onnxruntime

    feeds = [prepare(image, COUPLED)[0] for image in IMAGES[:3]]
    sessions = {name: onnxruntime.InferenceSession(m.SerializeToString()) for name, m in models.items()}
    return {name: [s.run(None, {"images": f})[0] for f in feeds] for name, s in sessions.items()}


def fed(count: int, spec: ModelSpec) -> NDArray[Any]:
    """The first images as a file of that contract takes them."""
    return np.concatenate([prepare(image, spec)[0] for image in IMAGES[:count]])


def found(output: Any, spec: ModelSpec, **options: Any) -> Detections:
    return decode(output, spec, SAME, spec.input_hw, **{"conf": 0.3, "iou": 0.5, **options})


def assert_same(a: Detections, b: Detections) -> None:
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.score, b.score)
    np.testing.assert_array_equal(a.class_id, b.class_id)


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "free") for name in SPECS), ("coupled", "compact"), ("coupled", "uint8"), ("dfl", "batch")],
)
def test_every_form_finds_what_the_raw_file_finds(
    name: str, form: str, models: Any, raw: Any, run_onnx: Any
) -> None:
    spec, wanted = SPECS[name], FORMS[form]
    count = 3 if wanted.batch is None else wanted.batch
    contract = wanted.spec(spec)
    together = run_onnx(apply_interface(models[name], spec, wanted), fed(count, contract))
    assert len(together) == count
    for i in range(count):
        for multi_label in (False, True):
            truth = found(raw[name][i], spec, multi_label=multi_label)
            assert len(truth) > 10
            assert_same(found(together[i : i + 1], contract, multi_label=multi_label), truth)


def test_few_rows_are_the_best_pairs_of_box_and_class(models: Any, raw: Any, run_onnx: Any) -> None:
    spec, form = SPECS["coupled"], FORMS["few"]
    cells = raw["coupled"][0][0]
    rows = run_onnx(apply_interface(models["coupled"], spec, form), fed(1, spec))[0]
    scores = cells[:, 5:] * cells[:, 4:5]
    np.testing.assert_array_equal(rows[:, 4], np.sort(scores, axis=None)[::-1][:40])
    corners = cxcywh_to_xyxy(cells[:, :4])
    for row in rows:
        alike = scores[:, int(row[5])] == row[4]  # several, where scores are 1
        assert (corners[alike] == row[:4]).all(axis=1).any()


def test_there_are_never_more_rows_than_pairs(models: Any) -> None:
    for name, rows in {"coupled": ROWS, "dfl": 3 * 126, "one-class": 378}.items():
        spec = SPECS[name]
        made = apply_interface(models[name], spec, Interface(output="compact"))
        dims = made.graph.output[0].type.tensor_type.shape.dim
        assert [d.dim_value for d in dims] == [1, min(rows, spec.cells * spec.nc), 6]


@pytest.mark.parametrize("name", ["coupled", "dfl"])
def test_a_number_that_overflowed_is_not_lost_among_the_rows(name: str, models: Any, run_onnx: Any) -> None:
    spec = SPECS[name]
    feed = fed(1, spec)
    feed[0, 0, 30, 30] = np.nan
    assert np.isnan(run_onnx(apply_interface(models[name], spec, FORMS["few"]), feed)).any()


@pytest.mark.default_cases("coupled-compact", "dfl-free")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["coupled", "dfl"])
def test_the_same_form_twice_is_the_same_bytes(name: str, form: str, make_weights: Any) -> None:
    spec = SPECS[name]
    weights = make_weights(spec)
    first, second = (
        apply_interface(build_onnx(spec, weights), spec, FORMS[form]).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


def test_the_file_says_what_form_it_has(models: Any) -> None:
    made = apply_interface(models["dfl"], SPECS["dfl"], FORMS["batch"])
    stored = {p.key: p.value for p in made.metadata_props}
    assert json.loads(stored["edgestill.spec"])["layout"] == "compact"
    assert (stored["batch"], stored["imgsz"]) == (NOT_FOR_ULTRALYTICS, "[64, 96]")
    raw = apply_interface(models["dfl"], SPECS["dfl"], Interface(batch=3))
    assert {p.key: p.value for p in raw.metadata_props}["batch"] == "3"
    assert len(stored) == len(made.metadata_props)


def test_no_operator_is_younger_than_the_opset_or_suppresses(models: Any) -> None:
    made = apply_interface(models["dfl"], SPECS["dfl"], FORMS["free"])
    assert made.opset_import[0].version <= 18
    assert "NonMaxSuppression" not in {node.op_type for node in made.graph.node}
    names = [node.name for node in made.graph.node]
    assert len(set(names)) == len(names)


#: What the ONNX parser of TensorRT 8.2 reads of the operators that are in our files.
#: Source: https://github.com/onnx/onnx-tensorrt/blob/release/8.2-GA/docs/operators.md
READ_BY_8_2 = {
    *("Add", "Cast", "Concat", "Conv", "Div", "Expand", "Gather", "GatherND", "GreaterOrEqual", "MatMul"),
    *("MaxPool", "Min", "Mul", "Range", "ReduceMax", "ReduceMean", "Reshape", "Resize", "Shape", "Sigmoid"),
    *("Slice", "Softmax", "Squeeze", "Sub", "TopK", "Transpose"),
}


@pytest.mark.default_cases("compact-coupled", "free-dfl")
@pytest.mark.parametrize("name", ["coupled", "decoupled", "dfl"])
@pytest.mark.parametrize(
    "form", [Interface(output="compact"), Interface(batch=None, free_hw=True)], ids=["compact", "free"]
)
def test_a_file_of_opset_13_gives_the_same_numbers(
    name: str, form: Interface, models: Any, run_onnx: Any
) -> None:
    spec, old = SPECS[name], replace(form, opset=13)
    old.check("onnx", "fp32")
    made, late = (apply_interface(models[name], spec, wanted) for wanted in (old, form))
    assert (made.opset_import[0].version, made.ir_version) == (13, 7)
    assert {node.op_type for node in made.graph.node} <= READ_BY_8_2
    np.testing.assert_array_equal(run_onnx(made, fed(1, spec)), run_onnx(late, fed(1, spec)))


@pytest.mark.parametrize(
    ("target", "precision", "form", "said"),
    [
        ("tensorrt", "fp32", {}, "--opset 13 is for ONNX files"),
        ("openvino", "fp32", {}, "--opset 13 is for ONNX files"),
        ("onnx", "fp16", {}, "reads no FP16 weights"),
        ("onnx", "int8", {}, "reads no INT8 weights"),
        ("onnx", "fp32", {"pixels": "uint8"}, "has no uint8 inputs"),
        ("onnx", "fp32", {"output": "compact", "free_hw": True}, "needs a fixed number of rows"),
    ],
)
def test_what_tensorrt_8_2_cannot_read_is_refused(
    target: str, precision: Any, form: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Interface(**form, opset=13).check(target, precision)


@pytest.fixture(scope="module")
def open_as(
    checkpoint: Checkpoint, kept_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Any, Any, Interface], ModelDetector]:
    """Exports in a precision and a form, once each, and opens the file."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def make(target: Any, precision: Any, form: Interface) -> ModelDetector:
        job = Job(
            checkpoint=checkpoint,
            target=target,
            precision=precision,
            calibration=choose_images(kept_dataset, checkpoint.spec, count=2)
            if precision != "fp32"
            else None,
            cache=folder / "statistics",
            interface=form,
        )
        name = f"m{len(list(folder.iterdir()))}"
        made = export(job, folder / name, "m", check=lambda built, source: None)
        assert made.record.spec == job.spec
        return open_detector(made.files[0], conf=0.4, threads=1)

    return make


@pytest.mark.default_cases("onnx-fp16")
@pytest.mark.parametrize(("target", "precision"), [("onnx", "fp16"), ("onnx", "int8"), ("openvino", "int8")])
def test_every_precision_takes_bytes_and_gives_rows(target: Any, precision: Any, open_as: Any) -> None:
    plain = open_as(target, precision, Interface())
    formed = open_as(target, precision, Interface(output="compact", pixels="uint8", batch=2))
    assert formed.backend.inputs[0].dtype == "uint8"
    assert formed.spec.layout == "compact"
    truth = [plain(image) for image in IMAGES[:3]]
    assert min(len(t) for t in truth) > 5
    for a, b in zip(formed.timed_batch(IMAGES[:3])[0], truth, strict=True):
        if target == "onnx":
            np.testing.assert_allclose(a.score, b.score, atol=1e-5)
            np.testing.assert_array_equal(a.class_id, b.class_id)
        else:  # its kernels differ by the batch in the last bits, and boxes that are alike change places
            np.testing.assert_allclose(np.sort(a.score)[::-1][:5], b.score[:5], atol=0.02)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.slow
def test_rows_put_no_more_layers_into_bytes(target: Any, open_as: Any) -> None:
    """The head stays float, and what chooses the rows is not rounded."""
    raw, rows = (open_as(target, "int8", Interface(output=output)) for output in ("raw", "compact"))
    assert rows.backend.layers_by_dtype() == raw.backend.layers_by_dtype()


def test_rows_are_decoded_only_once_they_are_chosen(models: Any) -> None:
    """Of the decode, nothing but the choice reads what is there for every cell."""
    for name, spec in SPECS.items():
        made = apply_interface(models[name], spec, FORMS["few"])
        shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in made.graph.value_info}
        centre = shapes["model.24.decode.best.centre"]
        assert centre == [1, 40, 2]


def test_a_free_batch_runs_all_images_at_once(open_as: Any) -> None:
    plain = open_as("onnx", "fp32", Interface())
    free = open_as("onnx", "fp32", Interface(output="compact", batch=None))
    assert free.backend.inputs[0].shape == (None, 3, 64, 96)
    for a, image in zip(free.timed_batch(IMAGES)[0], IMAGES, strict=True):
        assert_same(a, plain(image))


@pytest.mark.parametrize("free", [{"batch": None}, {"free_hw": True}], ids=["batch", "size"])
def test_a_free_size_that_cannot_be_is_refused(
    free: dict[str, Any], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    job = Job(checkpoint=checkpoint, target="openvino", precision="int8", interface=Interface(**free))
    with pytest.raises(UsageError, match="crashes OpenVINO"):
        export(job, tmp_path / "out", "m", check=lambda built, source: None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"batch": 0}, {"rows": 0}, {"rows": 4000}])
def test_sizes_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Interface(**options)  # type: ignore[arg-type]
