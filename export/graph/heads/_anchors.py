"""The decode of anchor-based heads, and the check of their anchors.

With s = sigmoid(map): centre = (2 s - 0.5 + cell) * stride, size = (2 s)^2 * anchor, and s itself for
objectness and classes. The rows are ordered level, anchor, y, x.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from export.graph.cells import Axis, CellGrid
from export.graph.topk import BestBoxes, nan_guard
from export.graph.weights import Weights
from export.graph.writer import BATCH, GraphWriter

PER_BOX = 5  # cx, cy, w, h, objectness, before the classes
ANCHORS = f"model.{architecture.HEAD_INDEX}.anchors"
DECODE = f"model.{architecture.HEAD_INDEX}.decode"


def rows(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, level: int, s: str) -> str:
    """One level's probabilities ``[B, h * w, anchors, 5 + nc]`` as rows ``[B, anchors * h * w, 5 + nc]``.

    Every column is s * (m + k * s) + cell, with m and k by column: one fused pass without split and concat of
    narrow tensors. It comes last, in the order of the rows. Before a transpose it would fix another order in
    memory, and OpenVINO then moves all values once more.
    """
    anchors, stride = np.asarray(spec.anchors_px[level], np.float32), spec.strides[level]
    name, n, columns = f"{DECODE}.{level}", len(anchors), PER_BOX + spec.nc
    linear = np.ones((n, columns), np.float32)
    linear[..., :4] = (2 * stride, 2 * stride, 0, 0)
    square = np.zeros((n, columns), np.float32)
    square[..., 2:4] = 4 * anchors

    def by(label: str, value: NDArray[np.float32]) -> str:
        return writer.constant(f"{name}.{label}.by", value.reshape(1, -1, 1, 1, columns))

    def cell(axis: Axis, column: int) -> str:
        """The cell coordinates along an axis, for one column."""
        only = np.zeros((1, columns), np.float32)
        only[:, column] = 1
        shape = (1, 1, 1, -1, 1) if axis == "x" else (1, 1, -1, 1, 1)
        ramp = writer.reshape(f"{name}.cell_{axis}.ramp", grid.ramp(level, axis, -0.5), shape)
        return writer.fold("Mul", f"{name}.cell_{axis}.by", [ramp, by(f"column_{axis}", only)])

    s = writer.node("Transpose", f"{name}.by_anchor", [s], perm=[0, 2, 1, 3])
    s = _as_grid(writer, grid, level, s, (n, columns))
    gain = writer.node("Mul", f"{name}.square", [s, by("square", square)])
    gain = writer.node("Add", f"{name}.gain", [gain, by("gain", linear)])
    boxes = writer.node("Mul", f"{name}.scaled", [s, gain])
    boxes = writer.node("Add", f"{name}.cell_x", [boxes, cell("x", 0)])
    boxes = writer.node("Add", f"{name}.cell_y", [boxes, cell("y", 1)])
    return writer.reshape(f"{name}.rows", boxes, (BATCH, -1, columns))


def _as_grid(writer: GraphWriter, grid: CellGrid, level: int, s: str, sizes: tuple[int, int]) -> str:
    """``[B, anchors, h * w, columns]`` as ``[B, anchors, h, w, columns]``."""
    name, (anchors, columns) = f"{DECODE}.{level}.grid", sizes
    parts = [
        writer.constant(f"{name}.before", np.asarray([BATCH, anchors], np.int64)),
        grid.side(level, "y"),
        grid.side(level, "x"),
        writer.constant(f"{name}.columns", np.asarray([columns], np.int64)),
    ]
    return writer.node("Reshape", name, [s, writer.fold("Concat", f"{name}.shape", parts, axis=0)])


def write_best_boxes(
    writer: GraphWriter, spec: ModelSpec, grid: CellGrid, levels: Sequence[str], limit: int
) -> BestBoxes:
    """The best boxes of all levels, each given as probabilities ``[B, h * w, anchors, 5 + nc]``.

    The values of one box are contiguous, as they are in memory behind OpenVINO's convolutions. Only the
    selected boxes are decoded.
    """
    found, columns = [], []
    for i, s in enumerate(levels):
        name = f"{DECODE}.{i}"
        boxes = writer.node("Transpose", f"{name}.by_anchor", [s], perm=[0, 2, 1, 3])
        best = writer.part(f"{name}.classes", boxes, 3, PER_BOX, PER_BOX + spec.nc)
        best = writer.node("ReduceMax", f"{name}.best", [best], axes=[3], keepdims=1)
        objectness = writer.part(f"{name}.objectness", boxes, 3, 4, PER_BOX)
        best = writer.node("Mul", f"{name}.score", [best, objectness])
        found.append(writer.reshape(f"{name}.scores", best, (BATCH, -1)))
        columns.append(writer.reshape(f"{name}.rows", boxes, (BATCH, -1, PER_BOX + spec.nc)))
    all_rows = writer.node("Concat", f"{DECODE}.rows", columns, axis=1)
    scores = writer.node("Concat", f"{DECODE}.scores", found, axis=1)
    _, indices = writer.top(f"{DECODE}.best", scores, grid.at_most(f"{DECODE}.count", limit))
    return _decoded(writer, spec, grid, all_rows, indices)


def _decoded(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, all_rows: str, indices: str) -> BestBoxes:
    """The rows of ``[B, A, 5 + nc]`` at indices ``[B, K]`` as boxes."""
    name = f"{DECODE}.best"
    s = writer.pick(f"{name}.rows", all_rows, indices)
    middle, kind, stride = grid.find(name, indices, -0.5)

    def times(label: str, a: str, b: str) -> str:
        return writer.node("Mul", f"{name}.{label}", [a, b])

    # In the order of operations of ``rows``, so that the results are bit-identical.
    two = writer.constant(f"{name}.two", np.asarray(2, np.float32))
    reach = times("reach", times("twice", writer.part(f"{name}.s.centre", s, 2, 0, 2), two), stride)
    anchors = np.asarray(spec.anchors_px, np.float32).reshape(-1, 2) * 2  # 4 s^2 of each, and half of that
    stored = writer.constant(f"{name}.anchors", anchors)
    anchor = writer.node("Gather", f"{name}.anchor_size", [stored, kind], axis=0)
    size = writer.part(f"{name}.s.size", s, 2, 2, 4)
    classes = writer.part(f"{name}.s.classes", s, 2, PER_BOX, PER_BOX + spec.nc)
    objectness = writer.part(f"{name}.s.objectness", s, 2, 4, PER_BOX)
    return BestBoxes(
        centre=writer.node("Add", f"{name}.centre", [reach, middle]),
        half=times("half", size, times("square", size, anchor)),
        scores=times("scores", classes, objectness),
        nan_guard=nan_guard(writer, DECODE, all_rows),
    )


def check_anchors(weights: Weights, spec: ModelSpec) -> None:
    """Raise ArtifactError unless the network was trained with the anchors of the spec."""
    wanted = np.asarray(spec.anchors_px)
    trained = weights.take(ANCHORS, wanted.shape) * np.asarray(spec.strides)[:, None, None]
    if not np.allclose(trained, wanted, rtol=2e-3):  # FP16 storage rounds by 5e-4
        raise ArtifactError(
            f"the checkpoint was trained with anchors {trained.round(1).tolist()}, its spec has others",
            hint="write the checkpoint again with the anchors of the model",
        )
