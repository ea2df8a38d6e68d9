"""Cell coordinates of the feature maps: constants for a fixed input size, else computed in the graph.

One formula serves both, since nodes with constant inputs are folded while they are written.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from onnx import TensorProto

from edgestill.spec import ModelSpec
from export.graph.writer import GraphWriter

Axis = Literal["y", "x"]
SMALLEST = (32, 32)  # least height and width of an input of free size


class CellGrid:
    """Numbers and coordinates of the cells of each level, as tensors of a graph.

    Args:
        writer: Collects the nodes.
        spec: Has the strides, and the input size where it is fixed.
        image: The input tensor, ``[B, 3, H, W]`` or uint8 ``[B, H, W, 3]``, if its height and width are free.
        least_hw: The smallest size that a free input may have.
    """

    def __init__(
        self,
        writer: GraphWriter,
        spec: ModelSpec,
        image: str | None = None,
        least_hw: tuple[int, int] = SMALLEST,
    ) -> None:
        self._writer, self._spec = writer, spec
        self._least = spec if image is None else spec.resized(least_hw)
        self.is_free = image is not None
        if image is None:
            self._size = writer.constant("grid.size", np.asarray(spec.input_hw, np.int64))
        else:
            whole = writer.node("Shape", "grid.shape", [image])
            first = 1 if spec.pixels == "uint8" else 2
            self._size = writer.part("grid.size", whole, 0, first, first + 2)

    def side(self, level: int, axis: Axis) -> str:
        """Number of rows (``y``) or columns (``x``) of a level, int64 ``[1]``."""
        name = f"grid.{level}.{axis}"
        at = 0 if axis == "y" else 1
        pixels = self._writer.part(f"{name}.pixels", self._size, 0, at, at + 1)
        return self._math("Div", f"{name}.side", pixels, self._stride(level))

    def cells(self, level: int) -> str:
        """Number of cells of a level, int64 ``[1]``."""
        return self._math("Mul", f"grid.{level}.cells", self.side(level, "y"), self.side(level, "x"))

    def ramp(self, level: int, axis: Axis, offset: float) -> str:
        """Pixel coordinates of cells along an axis: (offset, 1 + offset, ...) times the stride, float32."""
        name, w = f"grid.{level}.{axis}.ramp", self._writer
        end = w.fold("Squeeze", f"{name}.end", [self.side(level, axis)])
        bounds = [w.constant(f"grid.{n}", np.asarray(n, np.int64)) for n in (0, 1)]
        steps = w.fold("Range", f"{name}.whole", [bounds[0], end, bounds[1]])
        steps = w.fold("Cast", f"{name}.float", [steps], to=TensorProto.FLOAT)
        moved = self._math("Add", f"{name}.moved", steps, self._number(offset))
        return self._math("Mul", name, moved, self._number(self._spec.strides[level]))

    def at_most(self, name: str, limit: int, per_cell: int = 1) -> str:
        """The smaller of a limit and the number of boxes times ``per_cell``, int64 ``[1]``."""
        stored = self._writer.constant(f"{name}.limit", np.asarray([limit], np.int64))
        if self._least.cells * per_cell >= limit:
            return stored
        each = self._writer.constant(f"{name}.each", np.asarray([per_cell * self._per_cell()], np.int64))
        everything = self._math("Mul", f"{name}.all", self._sum(len(self._spec.strides)), each)
        return self._math("Min", name, everything, stored)

    def find(self, name: str, indices: str, offset: float) -> tuple[str, str, str]:
        """The cells of boxes, by their indices ``[B, K]`` among all boxes, ordered level, anchor, y, x.

        Args:
            name: Prefix of the nodes.
            indices: The indices, int64 ``[B, K]``.
            offset: Added to column and row.

        Returns:
            Coordinates of the cells, (column + offset, row + offset) times the stride, float32 ``[B, K, 2]``;
            index of the anchor among those of all levels, int64 ``[B, K]``, or of the level for a head
            without anchors; stride, float32 ``[B, K, 1]``.
        """
        w, count = self._writer, self._per_cell()
        level, start, cells, columns = self._level(name, indices)
        inside = w.node("Sub", f"{name}.inside", [indices, start])
        kind = level
        if count > 1:
            anchor = w.node("Div", f"{name}.anchor", [inside, cells])
            inside = w.node("Sub", f"{name}.cell", [inside, w.node("Mul", f"{name}.before", [anchor, cells])])
            n = w.constant("grid.anchors", np.asarray(count, np.int64))
            kind = w.node("Add", f"{name}.kind", [w.node("Mul", f"{name}.level.first", [level, n]), anchor])
        y = w.node("Div", f"{name}.y", [inside, columns])
        x = w.node("Sub", f"{name}.x", [inside, w.node("Mul", f"{name}.y.first", [y, columns])])
        both = [w.reshape(f"{name}.{axis}.column", t, (0, -1, 1)) for axis, t in (("x", x), ("y", y))]
        cell = w.node(
            "Cast", f"{name}.xy", [w.node("Concat", f"{name}.xy.whole", both, axis=2)], to=TensorProto.FLOAT
        )
        strides = w.constant("grid.strides", np.asarray(self._spec.strides, np.float32)[:, None])
        stride = w.node("Gather", f"{name}.stride", [strides, level], axis=0)
        moved = w.node("Add", f"{name}.xy.moved", [cell, self._number(offset)])
        return w.node("Mul", f"{name}.xy.pixels", [moved, stride]), kind, stride

    def _level(self, name: str, indices: str) -> tuple[str, str, str, str]:
        """The level of each index ``[B, K]``; the first index, the cells and the columns of that level."""
        w, levels = self._writer, range(len(self._spec.strides))
        each = w.constant("grid.each", np.asarray([self._per_cell()], np.int64))
        starts = [self._math("Mul", f"grid.{i}.start", self._sum(i), each) for i in levels]
        level = ""
        for i in levels[1:]:
            behind = w.node("GreaterOrEqual", f"{name}.behind.{i}", [indices, starts[i]])
            behind = w.node("Cast", f"{name}.behind.{i}.count", [behind], to=TensorProto.INT64)
            level = w.node("Add", f"{name}.level.{i}", [level, behind]) if level else behind
        facts = []
        for label, tensors in (
            ("start", starts),
            ("cells", [self.cells(i) for i in levels]),
            ("columns", [self.side(i, "x") for i in levels]),
        ):
            by_level = w.fold("Concat", f"grid.{label}", tensors, axis=0)
            facts.append(w.node("Gather", f"{name}.{label}", [by_level, level], axis=0))
        return level, facts[0], facts[1], facts[2]

    def _sum(self, levels: int) -> str:
        """Number of cells of the first ``levels`` levels, int64 ``[1]``."""
        total = self._writer.constant("grid.none", np.zeros(1, np.int64))
        for i in range(levels):
            total = self._math("Add", f"grid.{i}.total", total, self.cells(i))
        return total

    def _per_cell(self) -> int:
        return len(self._spec.anchors_px[0]) if self._spec.anchors_px else 1

    def _stride(self, level: int) -> str:
        return self._writer.constant(
            f"grid.{level}.stride", np.asarray([self._spec.strides[level]], np.int64)
        )

    def _number(self, value: float) -> str:
        return self._writer.constant(f"grid.float.{value:g}", np.asarray(value, np.float32))

    def _math(self, kind: str, name: str, a: str, b: str) -> str:
        return self._writer.fold(kind, name, [a, b])
