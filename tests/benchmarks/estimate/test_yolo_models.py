"""The layers of published models have the published numbers of operations and parameters."""

import pytest

from benchmarks.estimate.yolo_models import published_model, published_names
from edgestill.errors import UsageError

#: GFLOPs at 640 x 640 and parameters in millions of README tables and of the released networks with fused
#: batch norm; kernels are convolutions, pools, resizes and decoding.
PUBLISHED = {
    "yolov5n": (4.47, 1.87, 60),
    "yolov5s": (16.43, 7.23, 60),
    "yolov5m": (48.87, 21.17, 82),
    "yolov5l": (108.99, 46.53, 104),
    "yolov5x": (205.45, 86.71, 126),
    "yolov5n6": (4.6, 3.24, 78),
    "yolov5s6": (16.8, 12.61, 78),
    "yolov5m6": (49.9, 35.7, 106),
    "yolov5l6": (111.2, 76.73, 134),
    "yolov5x6": (209.6, 140.73, 162),
    "yolov5s-v5.0": (17.0, 7.27, 63),
    "yolov5x-v5.0": (218.6, 87.73, 135),
    "yolov5nu": (7.7, 2.65, 74),
    "yolov5xu": (246.4, 97.2, 140),
    "yolov8n": (8.7, 3.15, 70),
    "yolov8x": (257.8, 68.2, 110),
    "yolo11n": (6.5, 2.62, 94),
    "yolo11m": (68.0, 20.1, 114),
    "yolo11x": (194.9, 56.9, 170),
    "yolo26n": (5.4, 2.4, 109),
    "yolo26x": (193.9, 55.7, 167),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_operations_and_parameters_are_the_published_ones(name: str) -> None:
    gflops, millions, kernels = PUBLISHED[name]
    work = published_model(name, (640, 640))
    assert work.gflops == pytest.approx(gflops, rel=0.015)
    assert work.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    assert len(work.layers) == kernels


def test_a_p6_model_has_its_own_size() -> None:
    assert published_model("yolov5n6").input_hw == (1280, 1280)
    assert published_model("yolov5n").input_hw == (640, 640)


def test_operations_follow_the_number_of_pixels() -> None:
    small, large = (published_model("yolov8s", hw).gflops for hw in ((320, 320), (640, 960)))
    assert large == pytest.approx(6 * small, rel=1e-6)


@pytest.mark.parametrize("name", ["yolov5", "yolov5q", "yolov5n9", "yolov9n", "", "yolov5n-v9", "YOLOV5N"])
def test_an_unknown_name_is_refused(name: str) -> None:
    assert name not in published_names()
    with pytest.raises(UsageError, match="no published model"):
        published_model(name)
