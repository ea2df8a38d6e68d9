"""Plots and pictures of a run: drawn for whatever a run can end with, and showing what they are given."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from distill.plots.contact_sheet import CELL_HW, GAP, TITLE, PredictedImage, contact_sheet
from distill.plots.run_plots import deployed_detections
from distill.plots.training import plot_confusion, plot_curves, plot_history
from edgestill.detections import Detections
from edgestill.drawing.palette import image_colours, plot_colours
from edgestill.history import Row
from runtime.metrics.coco import Truth

NONE = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def texts(path: Path) -> str:
    """All words in an SVG."""
    return " ".join(e.text or "" for e in ET.parse(path).iter() if e.tag.endswith("text"))


@pytest.fixture(autouse=True)
def words_stay_words() -> None:
    import matplotlib

    matplotlib.rcParams["svg.fonttype"] = "none"


def test_a_history_shows_its_losses_and_its_best_scores(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"epoch": 1, "lr": 0.01, "box": 0.3, "cwd_p3": None, "map50": None, "map50_95": None, "seconds": 3.0},
        {"epoch": 2, "lr": 0.01, "box": 0.0, "cwd_p3": 0.2, "map50": 0.512, "map50_95": 0.2, "seconds": 3.1},
        {"epoch": 3, "lr": 0.01, "box": 0.1, "cwd_p3": 0.1, "map50": 0.4, "map50_95": 0.25, "seconds": 3.1},
    ]
    seen = texts(plot_history(tmp_path / "h.svg", rows))
    for word in ("box", "cwd_p3", "mAP50", "51.2", "25.0"):
        assert word in seen
    assert "seconds" not in seen


def test_a_history_without_any_score_is_drawn(tmp_path: Path) -> None:
    assert plot_history(tmp_path / "h.png", [{"epoch": 1, "box": 0.0, "map50": None}]).stat().st_size > 0


COUNTS = np.array([[8, 1, 1], [0, 0, 0], [4, 0, 0]])


def test_curves_name_their_classes_and_average_precision(tmp_path: Path) -> None:
    curves = {"red": np.full(101, 0.9), "off": np.full(101, 0.5)}
    seen = texts(plot_curves(tmp_path / "c.svg", curves, COUNTS, ["red", "off"]))
    for word in ("red  90.0", "off  50.0", "mean  70.0"):
        assert word in seen


@pytest.mark.default_cases("1")
@pytest.mark.parametrize("count", [0, 1, 80])
def test_curves_and_confusion_of_any_number_of_classes_are_drawn(tmp_path: Path, count: int) -> None:
    classes = [f"class {k}" for k in range(max(count, 1))]
    counts = np.eye(len(classes) + 1, dtype=np.int64)
    curves = {name: np.linspace(1, 0, 101) for name in classes[:count]}
    for path in (
        plot_curves(tmp_path / "c.png", curves, counts, classes),
        plot_confusion(tmp_path / "m.png", counts, classes),
    ):
        assert cv2.imread(str(path)).std() > 0


def test_a_confusion_shows_shares_of_true_classes_and_counts_of_false_alarms(tmp_path: Path) -> None:
    seen = texts(plot_confusion(tmp_path / "m.svg", COUNTS, ["red", "off"]))
    for word in ("80 %", "10 %", "no labels", "missed", "nothing"):
        assert word in seen
    assert "100 %" in seen.split("0 %")[-1] or "4" in seen.split()


# --- predictions beside labels


def detections(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def sheet(tmp_path: Path, *images: PredictedImage) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(contact_sheet(tmp_path / "s.jpg", images, ["red", "green"]))), np.uint8)


def near(colour: tuple[int, int, int], image: NDArray[np.uint8]) -> bool:
    """Whether a picture holds a colour, as far as JPEG keeps it."""
    return bool((np.abs(image.astype(int) - colour).max(-1) < 40).any())


def test_labels_stand_left_and_predictions_right(tmp_path: Path) -> None:
    truth = Truth(np.array([[10, 10, 60, 60]], np.float32), np.array([0]))
    one = PredictedImage(np.zeros((120, 160, 3), np.uint8), truth, detections((20, 20, 60, 60, 0.9, 1)))
    drawn = sheet(tmp_path, one)
    left, right = drawn[TITLE:, : CELL_HW[1]], drawn[TITLE:, CELL_HW[1] + GAP :]
    colours = image_colours(["red", "green"])
    assert near(colours[0], left)
    assert not near(colours[1], left)
    assert near(colours[1], right)
    assert not near(colours[0], right)


@pytest.mark.parametrize("hw", [(5, 7), (2000, 30), (30, 2000), (480, 640)])
def test_images_of_any_shape_are_pictured(tmp_path: Path, hw: tuple[int, int]) -> None:
    image = np.full((*hw, 3), 90, np.uint8)
    boxes = np.array([[0, 0, hw[1], hw[0]]] * 20, np.float32)  # more texts than there is room for
    one = PredictedImage(image, Truth(boxes, np.zeros(20, np.int64)), Detections.empty())
    drawn = sheet(tmp_path, one, PredictedImage(image, NONE, Detections.empty()), one)
    assert drawn.shape[1] == 4 * CELL_HW[1] + 5 * GAP


def test_a_device_reports_the_sure_ones_and_one_class_a_box() -> None:
    found = deployed_detections(
        detections((0, 0, 9, 9, 0.9, 1), (5, 5, 9, 9, 0.5, 0), (0, 0, 9, 9, 0.4, 0), (1, 1, 9, 9, 0.2, 0))
    )
    assert found.score.tolist() == pytest.approx([0.9, 0.5])
    assert found.class_id.tolist() == [1, 0]


# --- a class has the colour of its name


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)  # as OpenCV orders them


@pytest.mark.parametrize(("shown", "other"), [("red", "green"), ("green", "red"), ("yellow", "off")])
def test_a_curve_has_the_colour_of_its_class(shown: str, other: str, tmp_path: Path) -> None:
    classes = ["green", "off", "red", "yellow"]
    colours = dict(zip(classes, map(rgb, plot_colours(classes)), strict=True))
    drawn = cv2.imread(
        str(plot_curves(tmp_path / "c.png", {shown: np.full(101, 0.9)}, np.eye(5, dtype=int), classes))
    )
    exact = [bool((drawn == colours[name]).all(-1).any()) for name in (shown, other)]
    assert exact == [True, False]


@pytest.mark.default_cases("\\u7ea2\\u706f", "$x$")
@pytest.mark.parametrize("name", ["红灯", "$x$", "_hidden", "🚦", "x" * 250])
def test_plots_of_odd_class_names_are_drawn_without_a_warning(name: str, tmp_path: Path) -> None:
    classes = ["car", name]
    curves = {c: np.full(101, 0.5) for c in classes}
    words = texts(plot_curves(tmp_path / "c.svg", curves, np.eye(3, dtype=int), classes))
    assert words.count("50.0") == 3  # both classes and the mean are in the legend
    plot_confusion(tmp_path / "m.png", np.eye(3, dtype=int), classes)
