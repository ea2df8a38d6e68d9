"""The compact output: the K pairs of box and class with the best scores, selected before the decode.

The selection has two steps, since boxes times classes are many. First the K boxes with the best class scores:
they contain the K best pairs, because each of them has a pair that is better than any pair of the other
boxes. Only these K boxes are decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from export.graph.writer import BATCH, GraphWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class BestBoxes:
    """The names of the tensors of the K best boxes, float32.

    Attributes:
        centre: x and y, ``[B, K, 2]``, input pixels.
        half: Half of width and height, ``[B, K, 2]``, input pixels.
        scores: Class scores, ``[B, K, nc]``.
        nan_guard: See the function ``nan_guard``, ``[B, 1, 1]``.
    """

    centre: str
    half: str
    scores: str
    nan_guard: str


def write_compact_rows(writer: GraphWriter, nc: int, boxes: BestBoxes, count: str, output: str) -> None:
    """Write the compact output ``[B, count, 6]``.

    Args:
        writer: Collects the nodes.
        nc: Number of classes.
        boxes: The boxes, sorted by their best class score.
        count: Number of rows, int64 ``[1]``.
        output: Name of the output.
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
    """NaN if a value of ``[B, N, C]`` is NaN or infinite, else 0, as TopK would hide it; ``[B, 1, 1]``."""
    total = writer.node("ReduceMean", f"{name}.mean", [values], axes=[1, 2], keepdims=1)
    return writer.node("Sub", f"{name}.alarm", [total, total])
