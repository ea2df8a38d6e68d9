"""A raw file with objectness as one that the ultralytics package opens."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import yaml
from openvino import opset13 as ops

from benchmarks.measure.footage import draw_street
from benchmarks.peers.ultralytics_file import main
from edgestill.spec import ModelSpec
from runtime.detector import open_detector


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A file that always finds one red and, with less objectness, one green."""
    spec = ModelSpec(name="tiny", input_hw=(32, 32), classes=("red", "yellow", "green", "off"))
    rows = np.zeros((1, spec.cells, 5 + spec.nc), np.float32)
    rows[0, 0] = (16, 16, 8, 16, 0.9, 0.9, 0.1, 0, 0)
    rows[0, 1] = (8, 8, 4, 8, 0.5, 0, 0.1, 0.8, 0)
    images = ops.parameter([1, 3, 32, 32], np.float32, "images")
    nothing = ops.reduce_sum(ops.multiply(images, np.float32(0)), np.array([0, 1, 2, 3]))
    model = ov.Model([ops.result(ops.add(rows, nothing))], [images], "tiny")
    for key, value in spec.to_metadata().items():
        model.set_rt_info(value, key)
    ov.save_model(model, tmp_path / "raw.xml", compress_to_fp16=False)
    return tmp_path / "raw.xml"


def test_it_finds_the_same_boxes_in_the_other_layout(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new_openvino_model"
    assert main([str(raw), str(folder)]) == 0
    before, after = open_detector(raw, conf=0.2), open_detector(folder / "raw.xml", conf=0.2)
    assert (before.spec.layout, after.spec.layout) == ("yolov5", "yolov8")
    assert after.spec.classes == before.spec.classes
    image = draw_street(0)
    assert len(before(image)) == 2
    np.testing.assert_allclose(after(image).xyxy, before(image).xyxy, atol=1e-3)
    np.testing.assert_allclose(after(image).score, before(image).score, atol=1e-6)
    said = yaml.safe_load((folder / "metadata.yaml").read_text())
    assert (said["task"], said["imgsz"]) == ("detect", list(before.spec.input_hw))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("model", "does not end in _openvino_model", id="a name that the package does not know"),
        pytest.param("there_openvino_model", "exists already", id="a folder that is there"),
    ],
)
def test_another_folder_is_refused(
    name: str, message: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there_openvino_model").mkdir()
    assert main([str(raw), str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
