"""Files of other exporters are read by what they say about themselves, or are refused."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgestill.cli.main import main
from edgestill.errors import ArtifactError
from edgestill.spec import COCO_ANCHORS_PX, TensorSpec
from runtime.detector import ModelDetector, open_detector
from runtime.file_reading import Reading, read_file

HW = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3
GREY = np.full((*HW, 3), 128, np.uint8)
END_TO_END = {"end2end": "True", "task": "detect", "stride": "32", "imgsz": "[64, 96]", "batch": "1"}
NMS_INSIDE = {**END_TO_END, "end2end": "False", "args": "{'nms': True, 'batch': 1, 'dynamic': False}"}
PLAIN = {**END_TO_END, "end2end": "False", "args": "{'nms': None}"}


def named(count: int) -> str:
    return repr({i: f"class {i}" for i in range(count)})


@dataclass
class Loaded:
    """A loaded model of given shapes; it answers with ``answer``."""

    metadata: dict[str, str]
    outputs: tuple[TensorSpec, ...]
    inputs: tuple[TensorSpec, ...]
    answer: NDArray[Any] | None = None
    name: str = "stand-in"
    device: str = "nowhere"
    max_batch: int | None = None
    fed: list[tuple[int, ...]] = field(default_factory=list)

    def infer(self, feed: Any) -> dict[str, NDArray[Any]]:
        (image,) = feed.values()
        self.fed.append(image.shape)
        assert self.answer is not None, "nothing is to be run"
        return {self.outputs[0].name: self.answer}

    def layers_by_dtype(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        """Nothing to free."""


def loaded(
    metadata: dict[str, str],
    *shape: int | None,
    answer: NDArray[Any] | None = None,
    taken: tuple[int | None, ...] = (1, 3, *HW),
) -> Loaded:
    return Loaded(
        metadata=metadata,
        outputs=(TensorSpec(name="output0", shape=shape, dtype="float32"),),
        inputs=(TensorSpec(name="images", shape=taken, dtype="float32"),),
        answer=answer,
    )


def read(backend: Loaded, path: Path = Path("x.onnx")) -> Reading:
    return read_file(path, backend)


def rows_file(
    path: Path, rows: Any, metadata: dict[str, str], *, slots: int = 20, free_batch: bool = False
) -> Path:
    """An ONNX file that answers each image with the same end-to-end rows, padded with zeros."""
    padded = np.zeros((1, slots, 6), np.float32)
    padded[0, : len(rows)] = np.reshape(rows, (-1, 6))
    batch: Any = "batch" if free_batch else 1
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "axis"], ["row"]),
        helper.make_node("Mul", ["row", "nought"], ["zero"]),
        helper.make_node("Add", ["zero", "rows"], ["output0"]),
    ]
    stored = {"rows": padded, "nought": np.float32(0), "axis": np.array([3])}
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *HW])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, slots, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def opened(path: Path, **options: Any) -> ModelDetector:
    return open_detector(path, threads=1, **options)


# --- end-to-end outputs


@pytest.mark.parametrize("nc", [1, 2, 3, 80])
@pytest.mark.parametrize(
    ("metadata", "why"),
    [(END_TO_END, "end2end in its metadata"), (NMS_INSIDE, "args.nms in its metadata")],
)
def test_end_to_end_detections_are_found_for_every_number_of_classes(
    nc: int, metadata: dict[str, str], why: str, tmp_path: Path
) -> None:
    rows = [[10, 20, 30, 50, 0.9, nc - 1], [60, 20, 80, 44, 0.4, 0], [1, 1, 9, 9, 0.1, 0]]
    detector = opened(rows_file(tmp_path / "x.onnx", rows, {**metadata, "names": named(nc)}))
    assert (detector.spec.layout, detector.reading.why) == ("end2end", why)
    found = detector(GREY)
    np.testing.assert_allclose(found.xyxy, [[10, 20, 30, 50], [60, 20, 80, 44]], atol=1e-4)
    np.testing.assert_allclose(found.score, [0.9, 0.4])
    assert found.class_id.tolist() == [nc - 1, 0]


def test_one_sure_box_of_one_class_is_reported_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows_file(tmp_path / "x.onnx", [[10, 12, 30, 44, 0.9, 0]], {**END_TO_END, "names": "{0: 'light'}"})
    cv2.imwrite(str(tmp_path / "grey.png"), GREY)
    assert main(["run", str(path), "--source", str(tmp_path / "grey.png")]) == 0
    assert json.loads(capsys.readouterr().out)["detections"] == {"light": 1}


def test_overlapping_end_to_end_detections_are_not_suppressed(tmp_path: Path) -> None:
    rows = [[10, 20, 30, 50, 0.5, 0], [10, 20, 30, 50, 0.7, 0], [11, 20, 31, 50, 0.6, 0]]
    detector = opened(rows_file(tmp_path / "x.onnx", rows, {**END_TO_END, "names": named(1)}), iou=0.1)
    np.testing.assert_allclose(detector(GREY).score, [0.7, 0.6, 0.5])


def test_boxes_return_through_the_letterbox(tmp_path: Path) -> None:
    path = rows_file(tmp_path / "x.onnx", [[32, 0, 64, 32, 0.9, 0]], {**END_TO_END, "names": named(1)})
    found = opened(path)(np.zeros((256, 192, 3), np.uint8))  # a quarter of the size, 24 pixels of border
    np.testing.assert_allclose(found.xyxy, [[32, 0, 160, 128]], atol=1e-3)


def test_more_rows_than_the_limit_give_the_best_ones(tmp_path: Path) -> None:
    rows = [[10, 20, 30, 50, 0.3 + i / 1000, 0] for i in range(400)]
    path = rows_file(tmp_path / "x.onnx", rows, {**END_TO_END, "names": named(1)}, slots=500)
    found = opened(path)(GREY)
    assert len(found) == 300
    assert found.score[0] == pytest.approx(0.699)


def test_normalised_boxes_are_scaled_to_the_input(tmp_path: Path) -> None:
    rows = [[0.25, 0.125, 0.5, 0.5, 0.9, 0], [0, 0, 1.01, 1, 0.01, 0]]
    detector = opened(rows_file(tmp_path / "x.onnx", rows, {**END_TO_END, "names": named(1)}))
    assert detector.spec.layout == "end2end-normalized"
    np.testing.assert_allclose(detector(GREY).xyxy, [[24, 8, 48, 32]], atol=1e-4)


def test_the_batch_of_a_file_with_nms_inside_is_the_one_of_its_export(tmp_path: Path) -> None:
    rows = [[10, 20, 30, 50, 0.9, 0]]
    free = rows_file(tmp_path / "x.onnx", rows, {**NMS_INSIDE, "names": named(1)}, free_batch=True)
    detector = opened(free)
    assert detector.reading.max_batch == 1
    fed = []
    infer = detector.backend.infer
    detector.backend.infer = lambda feed: fed.append(feed["images"].shape[0]) or infer(feed)  # type: ignore[method-assign,func-returns-value]
    found, _ = detector.timed_batch([GREY] * 3)
    assert fed == [1, 1, 1]
    assert [len(f) for f in found] == [1, 1, 1]


def test_a_user_is_told_of_thresholds_inside_the_file(tmp_path: Path, capsys: Any) -> None:
    opened(rows_file(tmp_path / "x.onnx", [], {**NMS_INSIDE, "names": named(1)}))
    assert "has NMS inside" in capsys.readouterr().err
    opened(rows_file(tmp_path / "y.onnx", [], {**END_TO_END, "names": named(1)}))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("row", "nc"),
    [
        pytest.param([10, 20, 30, 50, 0, 0.9], 1, id="score-last"),
        pytest.param([10, 20, 30, 50, 0.9, 3], 2, id="a-class-without-name"),
        pytest.param([0, 10, 20, 30, 50, 0.9], 3, id="image-first"),
    ],
)
def test_columns_in_another_order_are_refused(row: list[float], nc: int, tmp_path: Path) -> None:
    path = rows_file(tmp_path / "x.onnx", [row], {**END_TO_END, "names": named(nc)})
    with pytest.raises(ArtifactError, match="columns 4 and 5 are not a score and a class id"):
        opened(path)


@pytest.mark.parametrize("shape", [(1, 300, 7), (1, 5, CELLS), (1, 300, 57)])
def test_an_end_to_end_file_without_six_columns_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="its metadata say end2end"):
        read(loaded({**END_TO_END, "names": named(1)}, *shape, answer=np.zeros(shape, np.float32)))


# --- shapes that tell one layout, and those that do not


@pytest.mark.parametrize(
    ("nc", "shape", "layout"),
    [
        (1, (1, 3 * CELLS, 6), "yolov5"),
        (2, (1, 3 * CELLS, 7), "yolov5"),
        (4, (1, 3 * CELLS, 9), "yolov5"),
        (1, (1, 5, CELLS), "yolov8"),
        (2, (1, 6, CELLS), "yolov8"),
        (80, (1, 84, CELLS), "yolov8"),
        (2, (1, 6, CELLS + 16 * 24), "yolov8"),  # with a P2 level
    ],
)
def test_a_shape_that_fits_one_layout_is_read_without_a_run(
    nc: int, shape: tuple[int, int, int], layout: str
) -> None:
    reading = read(loaded({"names": named(nc), "stride": "32"}, *shape))
    assert reading.spec.layout == layout
    assert reading.why.startswith(f"the shape {list(shape)} of its output")
    assert reading.spec.anchors_px == (COCO_ANCHORS_PX if layout == "yolov5" else ())


@pytest.mark.parametrize("metadata", [{}, PLAIN])
@pytest.mark.parametrize(
    ("nc", "shape"),
    [
        pytest.param(1, (1, 300, 6), id="5+1-or-end-to-end"),
        pytest.param(1, (1, 100, 6), id="5+1-with-other-rows"),
        pytest.param(2, (1, 300, 6), id="end-to-end-or-RT-DETR"),
        pytest.param(80, (1, 300, 6), id="end-to-end-that-does-not-say-so"),
        pytest.param(2, (1, 6, 300), id="turned-end-to-end"),
        pytest.param(2, (1, 300, 7), id="rotated-end-to-end"),
        pytest.param(1, (1, 300, 9), id="unknown-columns"),
        pytest.param(3, (1, CELLS, 7), id="turned-yolov8"),
        pytest.param(80, (1, 116, CELLS), id="masks"),
        pytest.param(1, (1, 300), id="two-axes"),
    ],
)
def test_an_ambiguous_shape_is_refused_with_a_next_step(
    nc: int, shape: tuple[int, ...], metadata: dict[str, str]
) -> None:
    with pytest.raises(ArtifactError, match="cannot tell how to read") as caught:
        read(loaded({**metadata, "names": named(nc)}, *shape))
    assert "export it again" in caught.value.hint


def test_two_outputs_are_refused() -> None:
    backend = loaded({"names": named(1)}, 1, 5, CELLS)
    backend.outputs *= 2
    with pytest.raises(ArtifactError, match="a detector has one"):
        read(backend)


# --- free sizes


@pytest.mark.parametrize(
    ("metadata", "fed"),
    [({"imgsz": "[64, 96]"}, (64, 96)), ({"imgsz": "64"}, (64, 64)), ({}, (640, 640))],
)
def test_free_sizes_are_learnt_in_one_run_at_the_size_of_the_file(
    metadata: dict[str, str], fed: tuple[int, int]
) -> None:
    cells = sum(fed[0] // s * (fed[1] // s) for s in (8, 16, 32))
    backend = loaded(
        {**metadata, "names": named(1)},
        *(None, None, None),
        answer=np.zeros((1, 5, cells), np.float32),
        taken=(None, 3, None, None),
    )
    reading = read(backend)
    assert (reading.spec.layout, reading.spec.input_hw) == ("yolov8", fed)
    assert backend.fed == [(1, 3, *fed)]
    assert bool(reading.notes) == ("imgsz" not in metadata)


def test_a_requested_size_is_the_one_that_is_run() -> None:
    backend = loaded(
        {"names": named(1)}, None, None, None, answer=np.zeros((1, 5, 21)), taken=(1, 3, None, None)
    )
    reading = read_file(Path("x.onnx"), backend, (32, 32))
    assert (reading.spec.input_hw, reading.notes, backend.fed) == ((32, 32), (), [(1, 3, 32, 32)])


def test_a_free_output_of_end_to_end_rows_is_not_taken_for_yolov5() -> None:
    rows = np.zeros((1, 300, 6), np.float32)
    said = {**END_TO_END, "names": named(1)}
    assert read(loaded(said, None, None, None, answer=rows)).spec.layout == "end2end"
    with pytest.raises(ArtifactError, match="cannot tell how to read"):
        read(loaded({"names": named(1)}, None, None, None, answer=rows))


def test_a_free_size_above_the_limit_is_not_run() -> None:
    backend = loaded(
        {"names": named(1), "imgsz": "[1048576, 1048576]"}, None, None, None, taken=(1, 3, None, None)
    )
    with pytest.raises(ArtifactError, match="the limit is 16384"):
        read(backend)


# --- other facts


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify", "semantic"])
def test_another_task_is_refused_by_name(task: str) -> None:
    with pytest.raises(ArtifactError, match=f"a model for the task '{task}'") as caught:
        read(loaded({**PLAIN, "task": task, "names": named(1)}, 1, 5, CELLS))
    assert "export a detector" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"head": "RTDETRDecoder"}, "has the head RTDETRDecoder"),
        ({"channels": "1"}, "images of 1 channels"),
        ({"names": "not python"}, "class names that cannot be read"),
        ({"names": "{1: 'a', 2: 'b'}"}, "class names that cannot be read"),
    ],
)
def test_what_is_no_plain_detector_is_refused(said: dict[str, str], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        read(loaded({**PLAIN, "names": named(1), **said}, 1, 5, CELLS))


def test_an_input_that_is_no_float_image_is_refused() -> None:
    for taken, dtype in (((1, 64, 96, 3), "float32"), ((1, 3, *HW), "uint8")):
        backend = loaded({"names": named(1)}, 1, 5, CELLS)
        backend.inputs = (TensorSpec(name="images", shape=taken, dtype=dtype),)
        with pytest.raises(ArtifactError, match="must take one float tensor"):
            read(backend)


def test_without_names_the_file_beside_the_xml_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="neither an edgestill spec nor") as caught:
        read(loaded({}, 1, 5, CELLS), tmp_path / "x.xml")
    assert "metadata.yaml" in caught.value.hint
    with pytest.raises(ArtifactError) as caught:
        read(loaded({}, 1, 5, CELLS))
    assert "metadata.yaml" not in caught.value.hint


def test_class_names_are_ordered_by_their_ids() -> None:
    reading = read(loaded({"names": "{'1': 'green', '0': 'red'}"}, 1, 6, CELLS))
    assert reading.spec.classes == ("red", "green")


def test_the_stride_of_the_file_bounds_its_sizes() -> None:
    cells = 16 * 16 + 8 * 8 + 4 * 4 + 2 * 2
    reading = read(loaded({"names": named(1), "stride": "64"}, 1, 3 * cells, 6, taken=(1, 3, 128, 128)))
    assert reading.spec.strides == (8, 16, 32, 64)
    with pytest.raises(ArtifactError, match="not a multiple of the largest stride 64"):
        reading.spec.resized((96, 96))


def test_an_openvino_file_is_read_by_the_metadata_beside_it(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    source = rows_file(tmp_path / "x.onnx", [[10, 20, 30, 50, 0.9, 0]], {})
    ov.save_model(ov.Core().read_model(source), tmp_path / "x.xml", compress_to_fp16=False)
    with pytest.raises(ArtifactError) as caught:
        opened(tmp_path / "x.xml")
    assert "metadata.yaml" in caught.value.hint
    (tmp_path / "metadata.yaml").write_text(
        "task: detect\nend2end: true\nimgsz: [64, 96]\nstride: 32\nnames: {0: light}\nargs: {nms: null}\n"
    )
    detector = opened(tmp_path / "x.xml")
    assert (detector.reading.end2end, detector.reading.nms) == (True, None)
    np.testing.assert_allclose(detector(GREY).xyxy, [[10, 20, 30, 50]], atol=1e-4)
