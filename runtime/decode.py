"""Post-processing: from the network's output to detections, by score threshold, class and NMS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy, nms
from edgestill.detections import Detections
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from runtime.letterbox import Letterbox
from runtime.score_map import network_threshold, reported

LIMIT = 300  # detections an image; YOLOv5's max_det
MAX_CANDIDATES = 30_000  # boxes before NMS, highest scores first; YOLOv5's max_nms
END_TO_END = frozenset({"end2end", "end2end-normalized"})  # layouts of detections that need no NMS

# x0, y0, x1, y1 in input pixels [K, 4]; scores [K]; class ids [K]
Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def decode(
    output: NDArray[Any],
    spec: ModelSpec,
    letterbox: Letterbox,
    source_hw: tuple[int, int],
    *,
    conf: float,
    iou: float,
    multi_label: bool = False,
    limit: int = LIMIT,
) -> Detections:
    """Decode the output of one image.

    Args:
        output: float ``[1, ...]`` in ``spec.layout``; boxes in input pixels, probabilities.
        spec: Classes, layout and score map of the model.
        letterbox: The transform from the source frame to the input.
        source_hw: Height and width of the source frame, pixels; boxes are clipped to it.
        conf: Score threshold. The score is the class probability, times objectness in a layout with
            objectness, mapped by ``spec.score_map`` if there is one.
        iou: IoU threshold of NMS, which is done by class; an end-to-end output has none.
        multi_label: Whether one box is reported for each class above ``conf``, as in evaluation; else
            for its best class only. Of an end-to-end output every row is reported.
        limit: Largest number of detections.

    Returns:
        Detections in source pixels, highest score first.

    Raises:
        ArtifactError: The output does not have the shape of the spec, or is not finite.
    """
    check_output(output.shape, spec)
    find = _candidates if spec.layout in {"yolov5", "yolov8"} else _of_rows
    found = find(output[0], spec, network_threshold(conf, spec.score_map), multi_label=multi_label)
    if spec.layout in END_TO_END:
        xyxy, score, class_id = found
        keep = np.argsort(-score, kind="stable")[:limit]
    else:
        xyxy, score, class_id = _best(found, MAX_CANDIDATES)
        keep = nms(_offset_by_class(xyxy, class_id), score, iou, limit)
    height, width = source_hw
    xyxy = letterbox.to_source(xyxy[keep])
    xyxy = np.clip(xyxy, 0, np.array([width, height, width, height], np.float32))
    inside = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])  # not entirely in the letterbox border
    return Detections(xyxy[inside], reported(score[keep][inside], spec.score_map), class_id[keep][inside])


def check_output(shape: tuple[int | None, ...], spec: ModelSpec, *, batch: int | None = 1) -> None:
    """Raise ArtifactError if the shape of an output does not match the spec.

    Args:
        shape: Shape of the output, None for free sides.
        spec: Classes and layout of the model.
        batch: Batch size of the model's input; None if it is free.
    """
    columns, axis = {"yolov5": (5 + spec.nc, 2), "yolov8": (4 + spec.nc, 1)}.get(spec.layout, (6, 2))
    if len(shape) != 3 or shape[0] not in {batch, None} or shape[axis] not in {columns, None}:
        raise ArtifactError(
            f"the model's output has shape {list(shape)}; {spec.nc} classes in layout {spec.layout} "
            f"need {columns} on axis {axis}",
            hint="the file does not match its spec: export the model again",
        )


def _of_rows(output: NDArray[Any], spec: ModelSpec, conf: float, *, multi_label: bool) -> Candidates:
    """The rows of a compact or end-to-end output ``[K, 6]`` above the threshold."""
    rows = output.astype(np.float32, copy=False)
    _refuse_overflow(bool(np.isfinite(rows).all()))
    rows = rows[rows[:, 4] > conf]
    if spec.layout == "compact" and not multi_label:
        # A box has one row for each of its classes, best class first. Its coordinates are bit-identical in
        # all of its rows, and differ between boxes.
        _, first = np.unique(rows[:, :4], axis=0, return_index=True)
        rows = rows[np.sort(first)]
    class_id = rows[:, 5].astype(np.int64)
    if (odd := rows[(class_id < 0) | (class_id >= spec.nc) | (class_id != rows[:, 5]), 5]).size:
        raise ArtifactError(
            f"the model's output names class {odd[0]:g}; its spec has {spec.nc}",
            hint="the file does not match its spec: export the model again",
        )
    boxes = rows[:, :4]
    if spec.layout == "end2end-normalized":
        height, width = spec.input_hw
        boxes = boxes * np.array([width, height, width, height], np.float32)
    return boxes, rows[:, 4], class_id


def _candidates(output: NDArray[Any], spec: ModelSpec, conf: float, *, multi_label: bool) -> Candidates:
    """Boxes above the threshold. A cheap test on one value removes most rows before the rest is computed."""
    if spec.layout == "yolov5":
        gate = output[:, 4]
        rows = output[np.flatnonzero(gate > conf)]
    else:
        gate = output[4:].max(axis=0)
        rows = output[:, np.flatnonzero(gate > conf)].T
    rows = rows.astype(np.float32, copy=False)
    # The sum is not finite if any value is not; a comparison with NaN is False and would hide it.
    _refuse_overflow(bool(np.isfinite(gate.sum(dtype=np.float64)) and np.isfinite(rows).all()))
    boxes = cxcywh_to_xyxy(rows[:, :4])
    scores = rows[:, 5:] * rows[:, 4:5] if spec.layout == "yolov5" else rows[:, 4:]
    if multi_label:
        box, class_id = np.nonzero(scores > conf)
        return boxes[box], scores[box, class_id], class_id
    class_id = scores.argmax(axis=1)
    score = np.take_along_axis(scores, class_id[:, None], axis=1)[:, 0]
    keep = score > conf
    return boxes[keep], score[keep], class_id[keep]


def _refuse_overflow(finite: bool) -> None:
    if not finite:
        raise ArtifactError(
            "the model's output holds NaN or infinity",
            hint="values overflowed: use a higher precision, e.g. `edgestill export --precision fp32`",
        )


def _best(found: Candidates, limit: int) -> Candidates:
    boxes, score, class_id = found
    if len(score) <= limit:
        return found
    order = np.argsort(-score, kind="stable")[:limit]
    return boxes[order], score[order], class_id[order]


def _offset_by_class(xyxy: NDArray[np.float32], class_id: NDArray[np.int64]) -> NDArray[np.float32]:
    """Offset the boxes by class so that classes do not overlap, and one NMS call serves all of them."""
    if not len(xyxy):
        return xyxy
    span = np.float32(xyxy.max() - xyxy.min() + 1)
    return np.asarray(xyxy + class_id[:, None].astype(np.float32) * span, np.float32)
