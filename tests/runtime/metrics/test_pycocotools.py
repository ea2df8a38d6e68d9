"""Every figure of average precision is that of pycocotools, to 1e-6, on any boxes, sizes, scores and ties."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgestill.detections import Detections
from runtime.metrics.coco import AREA, MAX_DETECTIONS, SHORT_SIDE, Sizes, Truth, precision_table
from runtime.metrics.evaluate import score

CLASSES = ("red", "yellow", "green")
HW = (400, 600)
CLOSE = 1e-6
#: Sides with areas below, at and above the limits of small and large.
SIDES = (2.0, 7.0, 8.0, 15.5, 31.0, 32.0, 33.0, 64.0, 96.0, 97.0, 150.0)


@pytest.fixture(autouse=True)
def pycocotools() -> None:
    pytest.importorskip("pycocotools", reason="the reference code of the protocol")


def precision_by_pycocotools(
    predictions: list[Detections], truths: list[Truth], sizes: Sizes
) -> NDArray[np.float64]:
    """Precision ``[T, R, K, A]`` by the reference code."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(xyxy: NDArray[Any], class_id: NDArray[Any], image: int) -> list[dict[str, Any]]:
        sides = (xyxy[:, 2:].astype(np.float64) - xyxy[:, :2]).clip(0)
        return [
            {
                "image_id": image,
                "category_id": int(k) + 1,
                "bbox": [float(box[0]), float(box[1]), *side.tolist()],
                "area": float(sizes.extent(side[None])[0]),
                "iscrowd": 0,
            }
            for box, side, k in zip(xyxy, sides, class_id, strict=True)
        ]

    labels = [e for i, t in enumerate(truths, 1) for e in entries(t.xyxy, t.class_id, i)]
    found = [
        {**e, "score": float(s)}
        for i, p in enumerate(predictions, 1)
        for e, s in zip(entries(p.xyxy, p.class_id, i), p.score, strict=True)
    ]
    frame = {
        "images": [{"id": i, "height": HW[0], "width": HW[1]} for i in range(1, len(truths) + 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for rows in (labels, found):
            one = COCO()
            one.dataset = {**frame, "annotations": [{**e, "id": n} for n, e in enumerate(rows, 1)]}
            one.createIndex()
            sides.append(one)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.params.areaRng = [[0, 1e10], *([low, high] for low, high in sizes.bounds.values())]
        evaluation.params.areaRngLbl = ["all", *sizes.bounds]
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., 0]


def mean(precision: NDArray[np.float64]) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


@st.composite
def images(draw: st.DrawFn) -> tuple[list[Detections], list[Truth]]:
    """One to four images: labels of all sizes, detections near them and elsewhere, scores with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.sampled_from((2, 5, 1000)))  # few different scores make ties
    spread = draw(st.sampled_from((0.02, 0.1, 0.3)))
    predictions, truths = [], []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0, 12))
        corner = rng.integers(0, 400, (count, 2)).astype(np.float64)
        boxes = np.concatenate((corner, corner + rng.choice(SIDES, (count, 2))), 1)
        classes = rng.integers(0, len(CLASSES), count)
        twice = rng.integers(0, 3, count)  # detections on each label
        near = np.repeat(boxes, twice, axis=0)
        size = np.tile(near[:, 2:] - near[:, :2], 2)
        near = near + rng.normal(0, spread, near.shape) * size * rng.integers(0, 2, (len(near), 1))
        extra = draw(st.integers(0, 6))
        far = rng.integers(0, 400, (extra, 2)).astype(np.float64)
        found = np.concatenate((near, np.concatenate((far, far + rng.choice(SIDES, (extra, 2))), 1)))
        said = np.concatenate((np.repeat(classes, twice), rng.integers(0, len(CLASSES), extra)))
        said = np.where(rng.random(len(said)) < 0.1, rng.integers(0, len(CLASSES), len(said)), said)
        scores = (rng.integers(1, steps + 1, len(found)) / steps).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        predictions.append(
            Detections(found[order].astype(np.float32), scores[order], said[order].astype(np.int64))
        )
        truths.append(Truth(boxes.astype(np.float32), classes.astype(np.int64)))
    return predictions, truths


@settings(deadline=None, max_examples=60)
@given(images())
def test_all_of_the_table_is_that_of_pycocotools(scenes: tuple[list[Detections], list[Truth]]) -> None:
    for sizes in (AREA, SHORT_SIDE):
        mine = precision_table(*scenes, CLASSES, [HW] * len(scenes[0]), sizes=sizes)
        np.testing.assert_allclose(mine, precision_by_pycocotools(*scenes, sizes), atol=CLOSE)


@settings(deadline=None, max_examples=40)
@given(images())
def test_every_reported_mean_is_that_of_pycocotools(scenes: tuple[list[Detections], list[Truth]]) -> None:
    mine = score(*scenes, CLASSES, [HW] * len(scenes[0]))
    precision = precision_by_pycocotools(*scenes, AREA)
    expected: dict[str, float | None] = {
        "map50": mean(precision[0, ..., 0]),
        "map75": mean(precision[5, ..., 0]),
        "map50_95": mean(precision[..., 0]),
    }
    reported: dict[str, float | None] = {name: getattr(mine, name) for name in expected}
    for a, size in enumerate(AREA.bounds, 1):
        expected[size] = mean(precision[..., a])
        reported[size] = mine.by_size[size]["ap50_95"]
        for k, name in enumerate(CLASSES):
            expected[f"{name} {size}"] = mean(precision[..., k, a])
            reported[f"{name} {size}"] = mine.by_class_and_size[name][size]["ap50_95"]
            expected[f"{name} {size} 50"] = mean(precision[0, :, k, a])
            reported[f"{name} {size} 50"] = mine.by_class_and_size[name][size]["ap50"]
    for k, name in enumerate(CLASSES):
        expected[name] = mean(precision[..., k, 0])
        reported[name] = mine.per_class[name]["ap50_95"]
    for name, value in expected.items():
        assert reported[name] == (None if value is None else pytest.approx(value, abs=CLOSE)), name


def test_more_detections_than_the_protocol_counts_are_cut_as_by_pycocotools() -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 300, (40, 2))
    labels = np.concatenate((corner, corner + rng.uniform(10, 60, (40, 2))), 1)
    found = np.tile(labels, (6, 1)) + rng.normal(0, 2, (240, 4))
    scores = np.sort(rng.random(240))[::-1].astype(np.float32)
    rows = rng.permutation(240)
    predictions = [Detections(found[rows].astype(np.float32), scores, rng.integers(0, 2, 240))]
    truths = [Truth(labels.astype(np.float32), rng.integers(0, 2, 40))]
    mine = precision_table(predictions, truths, CLASSES, [HW])
    np.testing.assert_allclose(mine, precision_by_pycocotools(predictions, truths, AREA), atol=CLOSE)


def test_labels_of_each_class_and_size_are_counted() -> None:
    boxes = np.array([[0, 0, 10, 10], [50, 0, 90, 40], [100, 0, 110, 10]], np.float32)
    truths = [Truth(boxes, np.array([0, 0, 2]))]
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    parts = score([nothing], truths, CLASSES, [HW]).by_class_and_size
    counts = {name: [s["labels"] for s in sizes.values()] for name, sizes in parts.items()}
    assert counts == {"red": [1, 1, 0], "yellow": [0, 0, 0], "green": [1, 0, 0]}
    assert parts["yellow"]["small"]["ap50"] is None
