"""Files that Ultralytics' own exporter writes run here, and give the boxes of its network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from edgestill.spec import ModelSpec
from runtime.detector import open_detector
from runtime.letterbox import prepare


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the tracer of torch, which is the package's choice
def test_a_file_of_yolo_export_runs_and_finds_what_its_network_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_weights: Any
) -> None:
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics", reason="without it there is no yolo export")
    from ultralytics.utils.nms import non_max_suppression

    monkeypatch.chdir(tmp_path)
    theirs = ultralytics.YOLO("yolov5nu.yaml", verbose=False)
    network = theirs.model.eval()
    spec = ModelSpec(
        name="yolov5n",
        input_hw=(64, 96),
        classes=tuple(network.names.values()),
        head="dfl",
        anchors_px=(),
        layout="yolov8",
    )
    network.load_state_dict({n: torch.from_numpy(w) for n, w in make_weights(spec, seed=5).items()})
    path = Path(theirs.export(format="onnx", imgsz=[64, 96], simplify=False, opset=17, verbose=False))

    detector = open_detector(path, conf=0.6, iou=0.45, threads=1)
    assert (detector.spec.input_hw, detector.spec.nc, detector.spec.layout) == ((64, 96), 80, "yolov8")
    assert detector.backend.outputs[0].shape == (1, 84, 126)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    found = detector(image)
    with torch.inference_mode():
        raw = network(torch.from_numpy(prepare(image, detector.spec)[0]))[0]
    truth = non_max_suppression(raw, conf_thres=0.6, iou_thres=0.45, max_det=300)[0].numpy()
    assert len(truth) > 5
    np.testing.assert_allclose(found.score, truth[:, 4], atol=1e-4)
    np.testing.assert_array_equal(found.class_id, truth[:, 5])
    np.testing.assert_allclose(found.xyxy, truth[:, :4].clip(0, [96, 64, 96, 64]), atol=1e-2)


def exported(name: str, nc: int, **options: Any) -> Path:
    """A file of `yolo export` in the working folder, of random weights; its scores are about 0.5."""
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics", reason="without it there is no yolo export")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    table = {**tasks.yaml_model_load(f"{name}.yaml"), "nc": nc}
    table.pop("yaml_file", None)
    Path(f"{name}.yaml").write_text(yaml.safe_dump(table))
    torch.manual_seed(0)
    theirs = ultralytics.YOLO(f"{name}.yaml", task="detect", verbose=False)
    for key, value in theirs.model.model[-1].named_parameters():
        if "cv3" in key and key.endswith(".2.bias"):
            value.data[:] = torch.linspace(0, 1, nc)
    settings = {"imgsz": [64, 96], "simplify": False, "opset": 17, "verbose": False, **options}
    return Path(theirs.export(format="onnx", **settings))


@pytest.mark.default_cases("yolo26n-1-options0")
@pytest.mark.filterwarnings("ignore")  # of the tracer of torch, which is the package's choice
@pytest.mark.parametrize(
    ("name", "nc", "options"),
    [
        ("yolo26n", 1, {"nms": False}),
        ("yolov10n", 1, {"nms": False}),
        ("yolo26n", 3, {"nms": False, "dynamic": True}),
    ],
)
def test_an_end_to_end_file_of_yolo_export_gives_the_boxes_of_the_package(
    name: str, nc: int, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = exported(name, nc, **options)
    torch = pytest.importorskip("torch")
    autobackend = pytest.importorskip("ultralytics.nn.autobackend")
    from ultralytics.utils.nms import non_max_suppression

    detector = open_detector(path, conf=0.3, threads=1)
    assert (detector.spec.nc, detector.spec.input_hw, detector.spec.layout) == (nc, (64, 96), "end2end")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    found = detector(image)
    opened = autobackend.AutoBackend(str(path), device=torch.device("cpu"), verbose=False)
    assert opened.end2end
    raw = opened(torch.from_numpy(prepare(image, detector.spec)[0]))
    truth = non_max_suppression(raw, conf_thres=0.3, end2end=True)[0].numpy()
    corners = truth[:, :4].clip(0, [96, 64, 96, 64])
    inside = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    assert inside.sum() > 5
    np.testing.assert_allclose(found.score, truth[inside, 4], atol=1e-5)
    np.testing.assert_array_equal(found.class_id, truth[inside, 5])
    np.testing.assert_allclose(found.xyxy, corners[inside], atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_same_network_exported_with_all_its_boxes_is_suppressed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    detector = open_detector(exported("yolo26n", 2, dynamic=True), threads=1)
    assert (detector.spec.nc, detector.spec.layout) == (2, "yolov8")
    assert detector.reading.end2end is False
