"""A raw file with objectness as one that the ultralytics package opens."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import yaml

from benchmarks.footage import draw_street
from benchmarks.peers.ultralytics_file import main
from runtime.detector import open_detector


@pytest.fixture
def raw(tiny_model: Path, tmp_path: Path) -> Path:
    ov.save_model(ov.Core().read_model(tiny_model), tmp_path / "raw.xml", compress_to_fp16=False)
    return tmp_path / "raw.xml"


def test_it_finds_the_same_boxes_in_the_other_layout(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new_openvino_model"
    assert main([str(raw), str(folder)]) == 0
    before, after = open_detector(raw, conf=0.01), open_detector(folder / "raw.xml", conf=0.01)
    assert (before.spec.layout, after.spec.layout) == ("yolov5", "yolov8")
    assert after.spec.classes == before.spec.classes
    image = draw_street(0)
    assert len(before(image))
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
