"""What the heads over anchors share: the decode, and that the anchors are the trained ones.

With s = sigmoid(map): centre = (2 s - 0.5 + cell) * stride, size = (2 s)^2 * anchor, and s itself for
objectness and classes. The rows are ordered level, anchor, y, x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from export.emit import BATCH, GraphWriter
from export.weights import Weights

PER_BOX = 5  # cx, cy, w, h, objectness, before the classes
ANCHORS = f"model.{architecture.HEAD_INDEX}.anchors"


def to_grid(writer: GraphWriter, name: str, x: str) -> str:
    """Probabilities of a map ``[B, anchors * columns, h, w]`` with the channels last.

    The arithmetic of the decode is done in that order, which is how a CPU engine holds the map, so that this
    transpose costs nothing there.
    """
    s = writer.node("Sigmoid", f"{name}.sigmoid", [x])
    return writer.node("Transpose", f"{name}.last", [s], perm=[0, 2, 3, 1])


def grid_hw(spec: ModelSpec, level: int) -> tuple[int, int]:
    """Rows and columns of cells of a level."""
    stride = spec.strides[level]
    return spec.input_hw[0] // stride, spec.input_hw[1] // stride


def rows(writer: GraphWriter, name: str, s: str, spec: ModelSpec, level: int) -> str:
    """One level's probabilities ``[B, h, w, anchors * (5 + nc)]`` as rows ``[B, anchors * h * w, 5 + nc]``.

    Every column is s * (m + k * s) + cell, with m and k by column: one pass for an engine that fuses, and no
    split and join of narrow pieces.
    """
    anchors, stride = np.asarray(spec.anchors_px[level], np.float32), spec.strides[level]
    height, width = grid_hw(spec, level)
    n, columns = len(anchors), PER_BOX + spec.nc
    linear = np.ones((1, 1, 1, n, columns), np.float32)
    linear[..., :4] = (2 * stride, 2 * stride, 0, 0)
    square = np.zeros((1, 1, 1, n, columns), np.float32)
    square[..., 2:4] = 4 * anchors
    cell_x = np.zeros((1, 1, width, n, columns), np.float32)
    cell_x[..., 0] = (np.arange(width)[:, None] - 0.5) * stride
    cell_y = np.zeros((1, height, 1, n, columns), np.float32)
    cell_y[..., 1] = (np.arange(height)[:, None, None] - 0.5) * stride

    def step(kind: str, label: str, a: str, value: NDArray[np.float32]) -> str:
        flat = value.reshape(*value.shape[:3], n * columns)
        return writer.node(kind, f"{name}.{label}", [a, writer.constant(f"{name}.{label}.by", flat)])

    gain = step("Add", "gain", step("Mul", "square", s, square), linear)
    boxes = writer.node("Mul", f"{name}.scaled", [s, gain])
    boxes = step("Add", "cell_y", step("Add", "cell_x", boxes, cell_x), cell_y)
    boxes = writer.reshape(f"{name}.flat", boxes, (BATCH, height * width, n, columns))
    boxes = writer.node("Transpose", f"{name}.by_anchor", [boxes], perm=[0, 2, 1, 3])
    return writer.reshape(f"{name}.rows", boxes, (BATCH, n * height * width, columns))


def check_anchors(weights: Weights, spec: ModelSpec) -> None:
    """The anchors that the network was trained with must be those that the spec decodes with."""
    wanted = np.asarray(spec.anchors_px)
    trained = weights.take(ANCHORS, wanted.shape) * np.asarray(spec.strides)[:, None, None]
    if not np.allclose(trained, wanted, rtol=2e-3):  # FP16 storage rounds by 5e-4
        raise ArtifactError(
            f"the checkpoint was trained with anchors {trained.round(1).tolist()}, its spec says others",
            hint="write the checkpoint again with the anchors of the model",
        )
