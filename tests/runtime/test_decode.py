"""Network output to detections."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from runtime.decode import check_output, decode
from runtime.letterbox import Letterbox

V5 = ModelSpec(name="x", input_hw=(64, 128), classes=("red", "green"))
V8 = ModelSpec(name="x", input_hw=(64, 128), classes=("red", "green"), anchors_px=(), layout="yolov8")
ROWS = ModelSpec(name="x", input_hw=(64, 128), classes=("red", "green"), layout="compact")
SAME = Letterbox(scale=1.0, pad_xy=(0, 0))
HW = (64, 128)


def v5(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Rows cx, cy, w, h, objectness, red, green among empty cells."""
    output = np.zeros((1, 252, 7), np.float32)
    output[0, : len(rows)] = np.array(rows, np.float32).reshape(-1, 7)
    return output


def run(output: NDArray[Any], spec: ModelSpec = V5, **options: Any) -> Detections:
    return decode(output, spec, SAME, HW, **{"conf": 0.25, "iou": 0.45, **options})


def test_one_box_is_found_with_its_class_and_score() -> None:
    found = run(v5((30, 20, 10, 20, 0.8, 0.1, 0.9)))
    np.testing.assert_allclose(found.xyxy, [[25, 10, 35, 30]])
    assert found.score.tolist() == pytest.approx([0.72])
    assert found.class_id.tolist() == [1]


def test_nothing_is_found_in_nothing() -> None:
    assert len(run(v5())) == 0


def test_the_threshold_is_on_objectness_times_class() -> None:
    assert len(run(v5((30, 20, 10, 20, 0.5, 0.4, 0.1)), conf=0.25)) == 0
    assert len(run(v5((30, 20, 10, 20, 0.5, 0.6, 0.1)), conf=0.25)) == 1


def test_a_score_on_the_threshold_is_not_above_it() -> None:
    assert len(run(v5((30, 20, 10, 20, 0.5, 0.5, 0)), conf=0.25)) == 0


def test_of_two_boxes_of_one_class_the_better_stays() -> None:
    found = run(v5((30, 20, 10, 20, 0.6, 1, 0), (31, 20, 10, 20, 0.9, 1, 0)))
    assert found.score.tolist() == pytest.approx([0.9])


def test_boxes_of_different_classes_both_stay() -> None:
    found = run(v5((30, 20, 10, 20, 0.6, 1, 0), (31, 20, 10, 20, 0.9, 0, 1)))
    assert found.class_id.tolist() == [1, 0]


def test_one_box_may_carry_two_labels_in_evaluation() -> None:
    output = v5((30, 20, 10, 20, 0.9, 0.8, 0.7))
    assert len(run(output)) == 1
    assert run(output, multi_label=True).class_id.tolist() == [0, 1]


def test_no_more_than_the_limit_are_kept() -> None:
    rows = [(4 + 8 * i, 20, 6, 6, 0.3 + 0.01 * i, 1, 0) for i in range(12)]
    found = run(v5(*rows), limit=5)
    assert found.score.tolist() == pytest.approx([0.41, 0.40, 0.39, 0.38, 0.37])


def test_boxes_are_clipped_to_the_frame() -> None:
    found = run(v5((2, 2, 10, 10, 0.9, 1, 0)))
    np.testing.assert_allclose(found.xyxy, [[0, 0, 7, 7]])


def test_a_box_that_lies_in_the_border_alone_is_dropped() -> None:
    border = Letterbox(scale=1.0, pad_xy=(50, 0))
    found = decode(v5((20, 20, 10, 10, 0.9, 1, 0)), V5, border, (64, 28), conf=0.25, iou=0.45)
    assert len(found) == 0


def test_boxes_come_back_to_source_pixels() -> None:
    fit = Letterbox(scale=0.5, pad_xy=(10, 4))
    found = decode(v5((30, 24, 10, 20, 0.9, 1, 0)), V5, fit, (200, 300), conf=0.25, iou=0.45)
    np.testing.assert_allclose(found.xyxy, [[30, 20, 50, 60]])


def columns(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same boxes in the layout without objectness, where that is 1."""
    return np.ascontiguousarray(np.delete(output, 4, axis=2).transpose(0, 2, 1))


@pytest.mark.parametrize("multi_label", [False, True])
def test_both_layouts_give_the_same(multi_label: bool) -> None:
    rng = np.random.default_rng(0)
    output = np.zeros((1, 252, 7), np.float32)
    output[0, :, :2], output[0, :, 2:4] = rng.uniform(0, 120, (252, 2)), rng.uniform(4, 40, (252, 2))
    output[0, :, 4], output[0, :, 5:] = 1, rng.uniform(0, 1, (252, 2))
    a, b = (run(o, spec, multi_label=multi_label) for o, spec in ((output, V5), (columns(output), V8)))
    assert len(a) > 20
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.score, b.score)
    np.testing.assert_array_equal(a.class_id, b.class_id)


def rows(*pairs: tuple[float, ...]) -> NDArray[np.float32]:
    """A compact output: x0, y0, x1, y1, score, class; empty rows behind."""
    output = np.zeros((1, 20, 6), np.float32)
    output[0, : len(pairs)] = np.array(pairs, np.float32).reshape(-1, 6)
    return output


def test_rows_of_a_compact_output_are_suppressed_by_class() -> None:
    output = rows((25, 10, 35, 30, 0.9, 1), (26, 10, 36, 30, 0.8, 1), (25, 10, 35, 31, 0.7, 0))
    found = run(output, ROWS)
    np.testing.assert_allclose(found.xyxy, [[25, 10, 35, 30], [25, 10, 35, 31]])
    assert found.class_id.tolist() == [1, 0]


def test_a_box_of_a_compact_output_has_its_best_class_only_unless_several_are_wanted() -> None:
    output = rows((25, 10, 35, 30, 0.9, 1), (25, 10, 35, 30, 0.6, 0))
    assert run(output, ROWS).class_id.tolist() == [1]
    assert run(output, ROWS, multi_label=True).class_id.tolist() == [1, 0]


def test_an_overflow_in_a_compact_output_is_seen_below_the_threshold_too() -> None:
    output = rows((25, 10, 35, 30, 0.9, 1))
    output[0, -1, 4] = np.nan
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        run(output, ROWS)


@pytest.mark.parametrize("class_id", [-1, 2])
def test_a_compact_output_of_classes_that_there_are_not_is_refused(class_id: int) -> None:
    with pytest.raises(ArtifactError, match=f"names class {class_id}"):
        run(rows((25, 10, 35, 30, 0.9, class_id)), ROWS)


def test_a_half_precision_output_is_read() -> None:
    assert len(run(v5((30, 20, 10, 20, 0.9, 1, 0)).astype(np.float16))) == 1


@pytest.mark.parametrize("shape", [(1, 252, 8), (2, 252, 7), (1, 7, 252), (252, 7)])
def test_an_output_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match="output has shape"):
        run(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("column", [2, 4])
def test_an_overflow_is_not_taken_for_an_empty_street(value: float, column: int) -> None:
    output = v5((30, 20, 10, 20, 0.9, 1, 0))
    output[0, 0, column] = value
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        run(output)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [2, 5])
def test_an_overflow_is_seen_in_columns_too(value: float, row: int) -> None:
    output = columns(v5((30, 20, 10, 20, 1, 0.9, 0.1)))
    output[0, row, 0] = value
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        run(output, V8)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_order_of_the_cells_does_not_matter(data: st.DataObject) -> None:
    cells = st.tuples(st.integers(0, 120), st.integers(0, 60), st.integers(4, 40), st.integers(4, 40))
    places = data.draw(st.lists(cells, min_size=1, max_size=15))
    rows = [(*p, 0.95 - 0.03 * i, *((1, 0) if i % 2 else (0, 1))) for i, p in enumerate(places)]
    mixed = data.draw(st.permutations(rows))
    a, b = run(v5(*rows)), run(v5(*mixed))
    np.testing.assert_array_equal(a.xyxy, b.xyxy)
    np.testing.assert_array_equal(a.class_id, b.class_id)


def test_suppression_of_many_classes_is_suppression_of_each() -> None:
    rng = np.random.default_rng(0)
    rows = np.zeros((200, 7), np.float32)
    rows[:, :2], rows[:, 2:4] = rng.uniform(0, 120, (200, 2)), rng.uniform(4, 40, (200, 2))
    rows[:, 4] = rng.uniform(0.3, 1, 200)
    rows[np.arange(200), 5 + rng.integers(0, 2, 200)] = 1
    together = run(v5(*map(tuple, rows)))
    for class_id in (0, 1):
        alone = run(v5(*map(tuple, rows[rows[:, 5 + class_id] == 1])))
        np.testing.assert_allclose(together.where(together.class_id == class_id).xyxy, alone.xyxy, atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "shape", "told"),
    [
        (None, (1, 300, 6), "takes any number of images"),
        (4, (1, 300, 6), "takes 4 images"),
        (1, (2, 300, 6), "1 image,"),
    ],
)
def test_an_output_of_another_batch_than_the_input_is_told_as_that(
    batch: int | None, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ArtifactError, match=told) as caught:
        check_output(shape, ROWS, batch=batch)
    assert "axis" not in str(caught.value)
