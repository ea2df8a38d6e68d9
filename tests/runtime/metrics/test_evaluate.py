"""Average precision against cases worked out by hand, and against another implementation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.dataset import Dataset
from edgestill.detections import Detections
from edgestill.errors import DataError, UsageError
from edgestill.spec import ModelSpec
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import MAX_SOURCES, Accuracy, evaluate, score

HW = (480, 640)
BOX = (10.0, 10.0, 50.0, 110.0)  # 40 x 100: medium
FAR = (300.0, 300.0, 340.0, 400.0)


def found(*rows: tuple[tuple[float, ...], float, int]) -> Detections:
    ordered = sorted(rows, key=lambda row: -row[1])
    return Detections(
        np.array([r[0] for r in ordered], np.float32).reshape(-1, 4),
        np.array([r[1] for r in ordered], np.float32),
        np.array([r[2] for r in ordered], np.int64),
    )


def truth(*rows: tuple[tuple[float, ...], int]) -> Truth:
    return Truth(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4), np.array([r[1] for r in rows], np.int64)
    )


def of(predictions: list[Detections], truths: list[Truth], classes: tuple[str, ...] = ("a",)) -> Accuracy:
    return score(predictions, truths, classes, [HW] * len(truths))


def test_a_perfect_detector_has_average_precision_one() -> None:
    result = of([found((BOX, 0.9, 0))], [truth((BOX, 0))])
    assert (result.map50, result.map50_95) == (1.0, 1.0)


def test_a_false_alarm_above_the_hit_halves_the_precision() -> None:
    result = of([found((FAR, 0.9, 0), (BOX, 0.8, 0))], [truth((BOX, 0))])
    assert result.map50 == pytest.approx(0.5)


def test_a_false_alarm_below_the_last_hit_costs_nothing() -> None:
    result = of([found((BOX, 0.9, 0), (FAR, 0.1, 0))], [truth((BOX, 0))])
    assert result.map50 == 1.0


def test_half_of_the_labels_found_gives_51_of_101_recall_points() -> None:
    result = of([found((BOX, 0.9, 0)), found()], [truth((BOX, 0)), truth((FAR, 0))])
    assert result.map50 == pytest.approx(51 / 101)


def test_a_box_of_iou_072_counts_up_to_070() -> None:
    loose = (10.0, 10.0, 50.0, 82.0)  # 72 of 100 rows: IoU 0.72, five thresholds of ten
    result = of([found((loose, 0.9, 0))], [truth((BOX, 0))])
    assert (result.map50, result.map75) == (1.0, 0.0)
    assert result.map50_95 == pytest.approx(0.5)


def test_a_box_of_iou_076_counts_at_075() -> None:
    tighter = (10.0, 10.0, 50.0, 86.0)
    assert of([found((tighter, 0.9, 0))], [truth((BOX, 0))]).map75 == 1.0


def test_the_second_box_on_one_label_is_a_false_alarm() -> None:
    result = of(
        [found((BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0))],
        [truth((BOX, 0), (FAR, 0))],
    )
    # Recall 0.5 at precision 1 (51 points), recall 1 at precision 2/3 (50 points).
    assert result.map50 == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_right_box_with_the_wrong_class_is_no_hit() -> None:
    result = of([found((BOX, 0.9, 1))], [truth((BOX, 0))], ("a", "b"))
    assert result.map50 == 0.0


def test_a_class_without_labels_is_none_and_not_in_the_mean() -> None:
    result = of([found((BOX, 0.9, 0), (FAR, 0.9, 1))], [truth((BOX, 0))], ("a", "b"))
    assert result.per_class["b"] == {"ap50": None, "ap50_95": None, "labels": 0}
    assert result.map50 == 1.0


def test_no_detections_at_all_is_zero() -> None:
    result = of([found()], [truth((BOX, 0))])
    assert (result.map50, result.map50_95) == (0.0, 0.0)


def test_no_labels_at_all_is_none() -> None:
    result = of([found((BOX, 0.9, 0))], [truth()])
    assert (result.map50, result.map50_95) == (None, None)


def test_neither_labels_nor_detections_is_none() -> None:
    assert of([found()], [truth()]).map50 is None


def test_sizes_are_scored_and_counted_apart() -> None:
    small = (0.0, 0.0, 31.0, 32.0)
    medium = (100.0, 100.0, 132.0, 133.0)
    large = (200.0, 200.0, 297.0, 296.0)
    result = of([found((large, 0.9, 0), (medium, 0.8, 0))], [truth((small, 0), (medium, 0), (large, 0))])
    assert {size: s["labels"] for size, s in result.by_size.items()} == {"small": 1, "medium": 1, "large": 1}
    assert [result.by_size[size]["ap50"] for size in ("small", "medium", "large")] == [0.0, 1.0, 1.0]


def test_rare_classes_are_named_as_a_doubt() -> None:
    result = of([found((BOX, 0.9, 0))], [truth((BOX, 0))])
    assert result.doubts == ("classes with under 100 labels, whose AP is mostly noise: a 1",)


def test_sequences_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 predictions, 2 truths"):
        score([found()], [truth(), truth()], ("a",), [HW, HW])


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    of([found((BOX, 0.9, 0))], [truth((BOX, 0))])
    assert capfd.readouterr() == ("", "")


def _noisy_scene(rng: np.random.Generator, n: int) -> tuple[Detections, Truth]:
    """``n`` labels on a grid; most are found, shifted, some with another class, plus false alarms."""
    cells = rng.choice(48, n, replace=False)
    low = np.stack((cells % 8 * 80, cells // 8 * 80), 1) + rng.uniform(0, 20, (n, 2))
    boxes = np.concatenate((low, low + rng.uniform(20, 55, (n, 2))), 1).astype(np.float32)
    class_id = rng.integers(0, 3, n)
    hit = rng.random(n) < 0.8
    shifted = boxes[hit] + rng.normal(0, 2.5, (hit.sum(), 4)).astype(np.float32)
    alarm = rng.uniform(0, 400, (3, 2)).astype(np.float32)
    xyxy = np.concatenate((shifted, np.concatenate((alarm, alarm + 30), 1)))
    said = np.concatenate(
        (np.where(rng.random(hit.sum()) < 0.1, 0, class_id[hit]), rng.integers(0, 3, 3))
    ).astype(np.int64)
    confidence = rng.random(len(xyxy)).astype(np.float32)
    order = np.argsort(-confidence)
    return Detections(xyxy[order], confidence[order], said[order]), Truth(boxes, class_id.astype(np.int64))


@pytest.mark.slow
def test_agrees_with_ultralytics_within_one_and_a_half_points() -> None:
    """It reads the curve between recall points where COCO takes the next one, and matches by IoU first."""
    metrics = pytest.importorskip("ultralytics.utils.metrics")
    rng = np.random.default_rng(5)
    scenes = [_noisy_scene(rng, 12) for _ in range(40)]
    predictions, truths = [list(side) for side in zip(*scenes, strict=True)]
    mine = score(predictions, truths, ("a", "b", "c"), [HW] * len(scenes))

    thresholds = np.linspace(0.5, 0.95, 10)
    hits = []
    for p, t in scenes:
        low = np.maximum(p.xyxy[:, None, :2], t.xyxy[None, :, :2])
        high = np.minimum(p.xyxy[:, None, 2:], t.xyxy[None, :, 2:])
        inter = np.prod(np.clip(high - low, 0, None), 2)
        areas = [np.prod(b[:, 2:] - b[:, :2], 1) for b in (p.xyxy, t.xyxy)]
        iou = inter / (areas[0][:, None] + areas[1][None] - inter)
        iou = np.where(p.class_id[:, None] == t.class_id[None], iou, 0)
        correct = np.zeros((len(p), 10), bool)
        for column, threshold in enumerate(thresholds):
            for j in range(iou.shape[1]):  # labels lie in cells of their own: the best box is the match
                best = int(iou[:, j].argmax())
                if iou[best, j] >= threshold:
                    correct[best, column] = True
        hits.append(correct)
    theirs = metrics.ap_per_class(
        np.concatenate(hits),
        np.concatenate([p.score for p in predictions]),
        np.concatenate([p.class_id for p in predictions]),
        np.concatenate([t.class_id for t in truths]),
    )[5]
    assert mine.map50 == pytest.approx(theirs[:, 0].mean(), abs=0.015)
    assert mine.map50_95 == pytest.approx(theirs.mean(), abs=0.015)
    assert mine.map75 == pytest.approx(theirs[:, 5].mean(), abs=0.015)


class Oracle:
    """A detector that sees one fixed box in the middle of every image."""

    spec = ModelSpec(name="oracle", input_hw=(32, 32), classes=("a", "b"))

    def __call__(self, image_bgr: np.ndarray) -> Detections:
        height, width = image_bgr.shape[:2]
        return found(((width / 4, height / 4, width * 3 / 4, height * 3 / 4), 0.9, 0))


def make_data(folder: Path, names: list[str], classes: str = "[a, b]") -> Dataset:
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for name in names:
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((40, 60, 3), np.uint8))
        (folder / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text(f"path: .\nval: images\nnames: {classes}\n")
    return Dataset.open(folder / "data.yaml")


def test_a_split_is_read_detected_and_scored(tmp_path: Path) -> None:
    result = evaluate(Oracle(), make_data(tmp_path, ["one", "two"]), "val")
    assert (result.images, result.labels, result.map50_95) == (2, 2, 1.0)
    assert result.taken_for["nothing"] == {"a": 0, "b": 0}


def test_several_sources_are_scored_apart(tmp_path: Path) -> None:
    data = make_data(tmp_path, ["x_1", "x_2", "y_1"])
    (tmp_path / "labels" / "y_1.txt").write_text("0 0.1 0.1 0.1 0.1\n")
    sources = evaluate(Oracle(), data, "val").per_source
    assert {name: (s["images"], s["map50"]) for name, s in sources.items()} == {"x": (2, 1.0), "y": (1, 0.0)}
    assert [s["per_class"]["a"]["labels"] for s in sources.values()] == [2, 1]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["scene_1", "scene_2"], id="one-source"),
        pytest.param(["0001_a", "0002_a"], id="numbered"),
        pytest.param([f"p{i}_a" for i in range(MAX_SOURCES + 1)], id="a-prefix-each"),
        pytest.param(["x_1", "plain"], id="not-all-have-one"),
    ],
)
def test_names_that_tell_no_sources_give_none(tmp_path: Path, names: list[str]) -> None:
    assert evaluate(Oracle(), make_data(tmp_path, names), "val").per_source == {}


def test_a_limit_takes_images_from_the_whole_split(tmp_path: Path) -> None:
    data = make_data(tmp_path, ["x_1", "x_2", "y_1", "y_2"])
    result = evaluate(Oracle(), data, "val", limit=2)
    assert (result.images, set(result.per_source)) == (2, {"x", "y"})


def test_a_limit_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the limit is 0 images"):
        evaluate(Oracle(), make_data(tmp_path, ["one"]), "val", limit=0)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param("[a, b, c]", "the model has 2 classes and .* has 3", id="count"),
        pytest.param("[a, c]", "class 1 is 'b' in the model and 'c' in ", id="name"),
        pytest.param("[b, a]", "class 0 is 'a' in the model and 'b' in ", id="order"),
    ],
)
def test_a_model_of_other_classes_is_a_data_error(tmp_path: Path, names: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(Oracle(), make_data(tmp_path, ["one"], names), "val")
