"""Box formats, overlap and suppression. NumPy only, pure functions."""

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def cxcywh_to_xyxy(boxes: Boxes) -> Boxes:
    """Centre, width, height to corners; any ``[..., 4]``."""
    half = boxes[..., 2:] / 2
    return np.concatenate((boxes[..., :2] - half, boxes[..., :2] + half), axis=-1)


def xyxy_to_cxcywh(boxes: Boxes) -> Boxes:
    """Corners to centre, width, height; any ``[..., 4]``."""
    return np.concatenate(((boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]), axis=-1)


def pairwise_iou(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Intersection over union of corners ``[N, 4]`` and ``[M, 4]``: float32 ``[N, M]``; 0 for empty boxes."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), axis=1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.asarray(np.where(union > 0, inter / np.maximum(union, 1e-12), 0), np.float32)


def nms(
    xyxy: Boxes,
    score: NDArray[np.float32],
    iou_threshold: float,
    limit: int,
    *,
    nested_threshold: float | None = None,
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression of one class.

    Args:
        xyxy: Corners, float32 ``[N, 4]``.
        score: float32 ``[N]``.
        iou_threshold: A box that overlaps a kept one by more than this is dropped.
        limit: Boxes kept at most.
        nested_threshold: A box is dropped as well if its intersection with a kept one is more than this part
            of the smaller of the two: their IoU is small if one is much larger. None for IoU alone.

    Returns:
        Positions of the kept boxes, highest score first; int64 ``[K]``. Equal scores keep their order.
    """
    order = np.argsort(-score, kind="stable")
    x0, y0, x1, y1 = xyxy.T
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        union = np.maximum(area[best] + area[rest] - inter, 1e-12)
        keep = inter / union <= iou_threshold
        if nested_threshold is not None:
            keep &= inter <= nested_threshold * np.minimum(area[best], area[rest])
        order = rest[keep]
    return np.asarray(kept, np.int64)


def apart(boxes: Boxes, xyxy: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """Which boxes neither overlap nor touch another one.

    Args:
        boxes: Corners, float32 ``[N, 4]``.
        xyxy: Corners of the other box.

    Returns:
        bool ``[N]``.
    """
    x0, y0, x1, y1 = xyxy
    beside = (boxes[:, 0] > x1) | (boxes[:, 2] < x0) | (boxes[:, 1] > y1) | (boxes[:, 3] < y0)
    return np.asarray(beside, np.bool_)
