"""The ultralytics package opens a file and finds what the runtime finds, or it refuses the file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgestill.spec import NOT_FOR_ULTRALYTICS, ModelSpec
from export.graph.interface import Interface, apply_interface
from export.graph.yolov5 import build_onnx
from runtime.detector import open_detector
from runtime.letterbox import prepare

COUPLED = ModelSpec(name="yolov5n", input_hw=(64, 96), classes=("red", "yellow", "green"))
DFL = replace(COUPLED, head="dfl", anchors_px=(), layout="yolov8")
ONE = ("light",)
SPECS = {
    "coupled": COUPLED,
    "coupled-one-class": replace(COUPLED, classes=ONE),
    "decoupled": replace(COUPLED, head="decoupled"),
    "dfl": DFL,
    "dfl-one-class": replace(DFL, classes=ONE),
}
SHAPES: dict[str, dict[str, Any]] = {
    "one": {},
    "batch": {"batch": 2},
    "free-batch": {"batch": None},
    "free-size": {"free_hw": True},
    "free-both": {"batch": None, "free_hw": True},
}


def written(path: Path, spec: ModelSpec, weights: Any, form: Interface) -> Path:
    onnx.save(apply_interface(build_onnx(spec, weights), spec, form), path)
    return path


def theirs(path: Path) -> Any:
    """The file as the package opens it."""
    torch = pytest.importorskip("torch")
    autobackend = pytest.importorskip("ultralytics.nn.autobackend")
    return autobackend.AutoBackend(str(path), device=torch.device("cpu"), verbose=False)


@pytest.mark.default_cases("dfl-free-both", "dfl-one-class-batch")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("head", ["dfl", "dfl-one-class"])
def test_the_package_finds_in_a_raw_dfl_file_what_the_runtime_finds(
    head: str, shape: str, tmp_path: Path, make_weights: Any
) -> None:
    spec = SPECS[head]
    path = written(tmp_path / "x.onnx", spec, make_weights(spec), Interface(**SHAPES[shape]))
    opened = theirs(path)
    import torch
    from ultralytics.utils.nms import non_max_suppression

    assert (opened.names, opened.stride, opened.task) == (dict(enumerate(spec.classes)), 32, "detect")
    assert (opened.end2end, opened.imgsz) == (False, [64, 96])
    images = np.random.default_rng(4).integers(0, 256, (3, *spec.input_hw, 3), np.uint8)
    detector = open_detector(path, conf=0.6, iou=0.45, threads=1)
    together = np.concatenate([prepare(image, spec)[0] for image in images])
    found = non_max_suppression(opened(torch.from_numpy(together)), 0.6, 0.45, max_det=300)
    assert sum(map(len, found)) > 9
    for image, kept in zip(images, found, strict=True):
        ours, rows = detector(image), kept.numpy()
        np.testing.assert_allclose(ours.score, rows[:, 4], atol=1e-6)
        np.testing.assert_array_equal(ours.class_id, rows[:, 5])
        np.testing.assert_allclose(ours.xyxy, rows[:, :4].clip(0, [96, 64, 96, 64]), atol=1e-3)


@pytest.mark.default_cases("coupled-form0", "decoupled-form2", "coupled-form5", "dfl-form13")
@pytest.mark.parametrize(
    ("head", "form"),
    [
        *((head, Interface(output="compact", **SHAPES["one"])) for head in SPECS),
        *(("coupled", Interface(output="compact", **changes)) for changes in SHAPES.values()),
        *((head, Interface()) for head in ("coupled", "coupled-one-class", "decoupled")),
        ("dfl", Interface(pixels="uint8")),
        ("coupled", Interface(output="compact", pixels="uint8")),
    ],
)
def test_the_package_refuses_what_it_would_read_otherwise(
    head: str, form: Interface, tmp_path: Path, make_weights: Any
) -> None:
    spec = SPECS[head]
    path = written(tmp_path / "x.onnx", spec, make_weights(spec), form)
    with pytest.raises(ValueError, match=NOT_FOR_ULTRALYTICS):
        theirs(path)
    detector = open_detector(path, threads=1)
    assert detector.spec.layout == ("compact" if form.output == "compact" else spec.layout)


def test_the_package_refuses_scores_that_are_mapped_here(tmp_path: Path, make_weights: Any) -> None:
    spec = replace(DFL, score_map=((0.2, 0.3), (0.6, 0.8)))
    path = written(tmp_path / "x.onnx", spec, make_weights(spec), Interface())
    with pytest.raises(ValueError, match=NOT_FOR_ULTRALYTICS):
        theirs(path)
