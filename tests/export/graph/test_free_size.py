"""A file of free height and width gives at each size what the file that was made for that size gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgestill.checkpoint import Checkpoint
from edgestill.dataset import Dataset
from edgestill.errors import UsageError
from edgestill.spec import ModelSpec
from export.build import export
from export.graph.interface import Interface, apply_interface
from export.graph.yolov5 import build_onnx
from export.job import Job
from export.quantize.calibration.images import choose_images
from runtime.backend import open_backend
from runtime.decode import decode
from runtime.detector import open_detector
from runtime.letterbox import Letterbox

COUPLED = ModelSpec(name="yolov5n", input_hw=(64, 96), classes=("red", "yellow", "green"))
SPECS = {
    "coupled": COUPLED,
    "decoupled": replace(COUPLED, head="decoupled"),
    "dfl": replace(COUPLED, head="dfl", anchors_px=(), layout="yolov8"),
}
SIZES = ((64, 96), (160, 128))
RAW, ROWS = Interface(batch=None, free_hw=True), Interface(output="compact", batch=None, free_hw=True)
SAME = Letterbox(scale=1.0, pad_xy=(0, 0))
EVERY_HEAD = pytest.mark.parametrize("head", SPECS)


def pictures(hw: tuple[int, int], count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(7).random((count, 3, *hw), dtype=np.float32)


@pytest.fixture(scope="module")
def weights(make_weights: Any) -> dict[str, Any]:
    return {name: make_weights(spec, seed=3) for name, spec in SPECS.items()}


@pytest.fixture(scope="module")
def truth(weights: dict[str, Any]) -> dict[tuple[str, tuple[int, int]], NDArray[np.float32]]:
    """What the file of each head and size gives, both pictures one by one."""
    import onnxruntime

    found = {}
    for name, spec in SPECS.items():
        for hw in SIZES:
            fixed = build_onnx(spec.resized(hw), weights[name]).SerializeToString()
            session = onnxruntime.InferenceSession(fixed)
            outputs = [session.run(None, {"images": p[None]})[0] for p in pictures(hw)]
            found[name, hw] = np.concatenate(outputs)
    return found


def made(head: str, weights: dict[str, Any], form: Interface) -> onnx.ModelProto:
    return apply_interface(build_onnx(SPECS[head], weights[head]), SPECS[head], form)


@pytest.mark.default_cases("coupled", "dfl")
@EVERY_HEAD
def test_the_raw_output_is_that_of_the_fixed_file(
    head: str, weights: dict[str, Any], truth: Any, run_onnx: Any
) -> None:
    model = made(head, weights, RAW)
    for hw in SIZES:
        np.testing.assert_array_equal(run_onnx(model, pictures(hw)), truth[head, hw])


@pytest.mark.default_cases("coupled", "dfl")
@EVERY_HEAD
def test_the_rows_are_those_of_the_fixed_file(
    head: str, weights: dict[str, Any], truth: Any, run_onnx: Any
) -> None:
    model = made(head, weights, ROWS)
    for hw in SIZES:
        spec = SPECS[head].resized(hw)
        rows = run_onnx(model, pictures(hw))
        assert rows.shape == (2, min(1000, spec.cells * spec.nc), 6)
        for i, output in enumerate(truth[head, hw]):
            a, b = (
                decode(o[None], s, SAME, hw, conf=0.8, iou=0.5)
                for o, s in ((rows[i], ROWS.spec(spec)), (output, spec))
            )
            assert len(b) > 5
            np.testing.assert_array_equal(a.xyxy, b.xyxy)
            np.testing.assert_array_equal(a.score, b.score)


@pytest.mark.default_cases("dfl")
@EVERY_HEAD
def test_openvino_gives_at_each_size_what_the_fixed_file_gives(
    head: str, weights: dict[str, Any], truth: Any, tmp_path: Path
) -> None:
    from export.graph.openvino import write_openvino

    for form in (RAW, ROWS):
        path = tmp_path / f"{form.output}.xml"
        write_openvino(made(head, weights, form), form.metadata(SPECS[head]), path, "fp32")
        backend = open_backend(path, threads=1)
        assert backend.inputs[0].shape == (None, 3, None, None)
        for hw in SIZES:
            output = backend.infer({"images": pictures(hw)})["output0"]
            raw = truth[head, hw]
            if form is RAW:
                np.testing.assert_allclose(output, raw, rtol=1e-3, atol=2e-2)  # boxes in pixels
            else:
                by_row = raw if head != "dfl" else raw.transpose(0, 2, 1)
                scores = by_row[..., 4:] if head == "dfl" else by_row[..., 5:] * by_row[..., 4:5]
                best = np.sort(scores.reshape(2, -1), axis=1)[:, ::-1][:, : output.shape[1]]
                np.testing.assert_allclose(output[..., 4], best, atol=1e-4)
        backend.close()


def test_bytes_with_the_channels_last_may_be_of_any_size(
    weights: dict[str, Any], truth: Any, run_onnx: Any
) -> None:
    model = made("coupled", weights, replace(RAW, pixels="uint8"))
    for hw in SIZES:
        images = np.random.default_rng(0).integers(0, 256, (1, *hw, 3), np.uint8)
        fixed = build_onnx(COUPLED.resized(hw), weights["coupled"])
        planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) * np.float32(1 / 255)
        np.testing.assert_allclose(run_onnx(model, images), run_onnx(fixed, planes), rtol=1e-5, atol=1e-4)


def test_the_number_of_rows_is_fixed_where_the_smallest_input_has_them_all(weights: dict[str, Any]) -> None:
    few = made("coupled", weights, replace(ROWS, rows=100, least_hw=(64, 64)))
    assert few.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 100
    kinds = {t.name: t for t in few.graph.initializer}
    assert all(n.input[1] in kinds for n in few.graph.node if n.op_type == "TopK")
    many = made("coupled", weights, ROWS)
    assert not many.graph.output[0].type.tensor_type.shape.dim[1].HasField("dim_value")


@pytest.mark.slow
def test_bytes_inside_run_at_any_size_on_onnx_runtime(
    checkpoint: Checkpoint, dataset: Dataset, tmp_path: Path
) -> None:
    calibration = choose_images(dataset, checkpoint.spec, count=2)
    job = Job(
        checkpoint=checkpoint,
        target="onnx",
        precision="int8",
        calibration=calibration,
        cache=tmp_path / "statistics",
    )
    detectors = {}
    for name, form in {"fixed": Interface(output="compact"), "free": replace(ROWS, batch=1)}.items():
        files = export(replace(job, interface=form), tmp_path / name, "m", check=lambda a, b: None).files
        detectors[name] = open_detector(files[0], conf=0.3, threads=1)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    fixed, free = (detectors[name](image) for name in ("fixed", "free"))
    np.testing.assert_array_equal(free.xyxy, fixed.xyxy)
    larger = open_detector(tmp_path / "free" / "m.onnx", conf=0.3, threads=1, input_hw=(160, 128))
    assert larger.spec.input_hw == (160, 128)
    assert len(larger(np.random.default_rng(0).integers(0, 256, (160, 128, 3), np.uint8))) > 0


def test_a_file_of_fixed_size_runs_at_no_other(tmp_path: Path, weights: dict[str, Any]) -> None:
    path = tmp_path / "fixed.onnx"
    path.write_bytes(build_onnx(COUPLED, weights["coupled"]).SerializeToString())
    assert open_detector(path, input_hw=(64, 96)).spec.input_hw == (64, 96)
    with pytest.raises(UsageError, match="has a fixed input size of 64x96, not 160x128") as caught:
        open_detector(path, input_hw=(160, 128))
    assert "--dynamic size" in caught.value.hint
