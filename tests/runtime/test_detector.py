"""One frame in, detections in its pixels out."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest

from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.manifest import Manifest, write_manifest
from edgestill.spec import SPEC_KEY, ModelSpec, TensorSpec
from runtime.detector import ModelDetector, open_detector


@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_lamps_are_found_where_they_are(backend: str, lamp_model: Path, painted: Any) -> None:
    detector = open_detector(lamp_model, backend=backend, threads=1)
    found = detector(painted((1, 0, "red"), (0, 2, "green")))
    by_class = dict(zip(found.class_id.tolist(), found.xyxy.tolist(), strict=True))
    np.testing.assert_allclose(by_class[0], [0, 64, 64, 128], atol=0.1)
    np.testing.assert_allclose(by_class[2], [128, 0, 192, 64], atol=0.1)


def test_boxes_are_in_source_pixels_behind_a_border(lamp_model: Path) -> None:
    tall = np.zeros((256, 192, 3), np.uint8)  # fits at a quarter, 24 pixels of border left and right
    tall[:128, :, 2] = 255
    found = open_detector(lamp_model, threads=1)(tall)
    assert found.class_id.tolist() == [0]
    np.testing.assert_allclose(found.xyxy[0], [32, 0, 160, 128], atol=1)


def test_its_stages_are_told(lamp_model: Path, painted: Any) -> None:
    _, stages_ms = open_detector(lamp_model, threads=1).timed(painted())
    assert list(stages_ms) == ["letterbox", "inference", "postprocess"]


def test_the_threshold_is_the_callers(lamp_model: Path, painted: Any) -> None:
    dim = painted((0, 0, "red")) // 2
    assert len(open_detector(lamp_model, conf=0.1, threads=1)(dim)) == 1
    assert len(open_detector(lamp_model, conf=0.9, threads=1)(dim)) == 0


def test_a_file_of_yolo_export_runs(tmp_path: Path, write_lamp_model: Any, painted: Any) -> None:
    metadata = {"names": "{0: 'r', 1: 'y', 2: 'g', 3: 'o'}", "task": "detect", "stride": "32"}
    onnx.save(write_lamp_model(metadata), tmp_path / "x.onnx")
    detector = open_detector(tmp_path / "x.onnx", threads=1)
    assert detector.spec.classes == ("r", "y", "g", "o")
    assert detector(painted((0, 0, "green"))).class_id.tolist() == [2]


def changed(spec: ModelSpec, **fields: object) -> str:
    return json.dumps({**spec.to_json(), **fields})


def other_size(spec: ModelSpec) -> dict[str, str]:
    return spec.resized((64, 128)).to_metadata()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        pytest.param(lambda _: {}, "neither an edgestill spec nor", id="no-detector"),
        pytest.param(lambda _: {SPEC_KEY: "{"}, "spec in the file is not JSON", id="broken-json"),
        pytest.param(lambda _: {SPEC_KEY: "{}"}, "missing or unknown fields", id="empty-spec"),
        pytest.param(other_size, r"its spec says \[1, 3, 64, 128\]", id="another-size"),
        pytest.param(lambda s: {SPEC_KEY: changed(s, strides=[0])}, r"has strides = \[0\]", id="no-stride"),
        pytest.param(lambda s: {SPEC_KEY: changed(s, classes=7)}, "spec has classes = 7", id="no-list"),
        pytest.param(lambda _: {SPEC_KEY: "[" * 10**5}, "spec in the file is not JSON", id="deep-json"),
        pytest.param(lambda _: {"names": "-" * 10**5 + "1"}, "has invalid metadata", id="deep-literal"),
        pytest.param(lambda _: {"names": "{0: 'one'}"}, "cannot tell how to read", id="wrong-class-count"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(
    tmp_path: Path, write_lamp_model: Any, lamp_spec: ModelSpec, metadata: Any, message: str
) -> None:
    onnx.save(write_lamp_model(metadata(lamp_spec)), tmp_path / "x.onnx")
    with pytest.raises(ArtifactError, match=message):
        open_detector(tmp_path / "x.onnx", threads=1)


def test_a_spec_with_another_class_count_is_refused(
    tmp_path: Path, write_lamp_model: Any, lamp_spec: ModelSpec
) -> None:
    data = {**lamp_spec.to_json(), "classes": ("red", "green")}
    metadata = ModelSpec.from_json(data).to_metadata()
    onnx.save(write_lamp_model(metadata), tmp_path / "x.onnx")
    with pytest.raises(ArtifactError, match="2 classes in layout yolov5 need 7"):
        open_detector(tmp_path / "x.onnx", threads=1)


def test_a_free_shape_does_not_take_any_size(
    tmp_path: Path, write_lamp_model: Any, lamp_spec: ModelSpec
) -> None:
    model = write_lamp_model(lamp_spec.resized((1 << 15, 1 << 15)).to_metadata())
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim[-2:]:
            dim.dim_param = "free"
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ArtifactError, match="the limit is 16384"):
        open_detector(tmp_path / "x.onnx", threads=1)


def test_a_file_that_is_not_the_one_of_its_manifest_is_not_opened(
    tmp_path: Path, lamp_model: Path, lamp_spec: ModelSpec
) -> None:
    path = tmp_path / "lamps.onnx"
    path.write_bytes(lamp_model.read_bytes())
    manifest = Manifest(
        spec=lamp_spec,
        format="onnx",
        files={path.name: sha256_file(path)},
        precision="fp32",
        precision_proved={},
        inputs=(),
        outputs=(),
        built_with={},
        parent_sha256="",
    )
    beside = write_manifest(path, manifest)
    open_detector(path, threads=1).close()
    path.write_bytes(path.read_bytes() + b"\x22\x00")  # valid, but not what was hashed
    with pytest.raises(ArtifactError, match="not the file that its manifest describes") as caught:
        open_detector(path, threads=1)
    assert beside.name in caught.value.hint
    beside.unlink()
    open_detector(path, threads=1).close()


class Counter:
    """A backend of a free or fixed batch size that finds nothing, and notes the sizes it gets."""

    name, device, concurrency = "counter", "here", 1
    metadata: ClassVar = {}

    def __init__(self, batch: int | None, max_batch: int | None) -> None:
        self.max_batch = max_batch
        self.sizes: list[int] = []
        self.inputs = (TensorSpec(name="images", shape=(batch, 3, 32, 32), dtype="float32"),)
        self.outputs = (TensorSpec(name="output0", shape=(batch, 1, 7), dtype="float32"),)

    def infer(self, feed: Any) -> Any:
        self.sizes.append(len(feed["images"]))
        return {"output0": np.zeros((len(feed["images"]), 1, 7), np.float32)}


@pytest.mark.parametrize(
    ("batch", "of_backend", "of_file", "most", "sizes"),
    [
        pytest.param(None, None, None, None, [7], id="any number"),
        pytest.param(None, 4, None, 4, [4, 3], id="limit of an engine"),
        pytest.param(None, 4, 3, 3, [3, 3, 1], id="limit of a file"),
        pytest.param(1, None, None, 1, [1] * 7, id="one"),
        pytest.param(4, None, None, 4, [4, 4], id="fixed, the rest is padded"),
    ],
)
def test_images_go_to_the_network_in_batches_that_it_takes(
    batch: int | None, of_backend: int | None, of_file: int | None, most: int | None, sizes: list[int]
) -> None:
    backend: Any = Counter(batch, of_backend)
    reading: Any = SimpleNamespace(max_batch=of_file)
    spec = ModelSpec(
        name="x", input_hw=(32, 32), classes=("a", "b"), strides=(32,), anchors_px=(((8.0, 8.0),),)
    )
    detector = ModelDetector(spec, backend, reading, conf=0.25, iou=0.45)
    found, stages_ms = detector.timed_batch([np.zeros((20, 30, 3), np.uint8)] * 7)
    assert (detector.max_batch, backend.sizes, len(found)) == (most, sizes, 7)
    assert list(stages_ms) == ["letterbox", "inference", "postprocess"]


@pytest.mark.parametrize("threads_of_model", [1, 4])
@pytest.mark.parametrize("backend", ["ort", "ov"])
def test_threads_may_share_a_detector(
    backend: str, threads_of_model: int, lamp_model: Path, painted: Any
) -> None:
    throughput = threads_of_model > 1
    detector = open_detector(lamp_model, backend=backend, threads=threads_of_model, throughput=throughput)
    assert (detector.backend.concurrency > 1) == throughput
    images = [painted((row, column, "red")) for row in range(2) for column in range(3)]
    right = [detector(image).xyxy.tolist() for image in images]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(20):
            assert [found.xyxy.tolist() for found in threads.map(detector, images)] == right
