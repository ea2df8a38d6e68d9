"""The compact output: of all boxes the best pairs of box and class, chosen before most of the decode is done.

In two steps, since boxes times classes are many: the K best boxes by their best class hold the K best pairs,
as each of these boxes has a pair that is better than any of the others'. Only these K boxes are decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.graph.writer import BATCH, GraphWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class BestBoxes:
    """The best boxes of an image, by the names of tensors.

    Attributes:
        centre: ``[B, K, 2]``, x before y, input pixels.
        half: Half of the width and height, ``[B, K, 2]``, input pixels.
        scores: Of each class, ``[B, K, nc]``.
        nan_guard: See ``nan_guard``.
    """

    centre: str
    half: str
    scores: str
    nan_guard: str


def write_compact_rows(writer: GraphWriter, nc: int, boxes: BestBoxes, count: str, output: str) -> None:
    """Write the compact output ``[B, count, 6]``.

    Args:
        writer: Where the nodes go.
        nc: Number of classes.
        boxes: Sorted by their best class.
        count: The number of rows, int64 ``[1]``.
        output: The name of the output.
    """
    flat = writer.reshape(f"{output}.flat", boxes.scores, (BATCH, -1))
    score, place = writer.top(f"{output}.pairs", flat, count)
    classes = writer.constant(f"{output}.nc", np.asarray(nc, np.int64))
    box = writer.node("Div", f"{output}.box", [place, classes])
    first = writer.node("Mul", f"{output}.box.first", [box, classes])
    class_id = writer.node("Sub", f"{output}.class", [place, first])
    class_id = writer.node("Cast", f"{output}.class.float", [class_id], to=TensorProto.FLOAT)
    corners = [
        writer.node("Sub", f"{output}.low", [boxes.centre, boxes.half]),
        writer.node("Add", f"{output}.high", [boxes.centre, boxes.half]),
    ]
    columns = [
        writer.pick(f"{output}.boxes", writer.node("Concat", f"{output}.corners", corners, axis=2), box),
        writer.reshape(f"{output}.score", score, (BATCH, -1, 1)),
        writer.reshape(f"{output}.id", class_id, (BATCH, -1, 1)),
    ]
    writer.node("Add", output, [writer.node("Concat", f"{output}.rows", columns, axis=2), boxes.nan_guard])


def nan_guard(writer: GraphWriter, name: str, values: str) -> str:
    """0, or NaN if one of ``[B, N, C]`` is no number, which is last in every order and must not go unseen."""
    total = writer.node("ReduceMean", f"{name}.mean", [values], axes=[1, 2], keepdims=1)
    return writer.node("Sub", f"{name}.alarm", [total, total])
