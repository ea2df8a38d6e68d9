"""Files that Ultralytics' own exporter writes run here, and give the boxes of its network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.spec import ModelSpec
from runtime.detector import open_detector
from runtime.letterbox import prepare


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
