"""The anchor-free head of YOLOv5u: four distances from the cell's centre, each a distribution over 16 bins.

With d = sum of bin * softmax, in cells: centre = (cell + 0.5 + (right - left, bottom - top) / 2) * stride,
size = (left + right, top + bottom) * stride. The columns are ordered level, y, x.

Source: ``Detect`` of https://github.com/ultralytics/ultralytics (names and formulas only); the distribution:
Li et al., Generalized Focal Loss, https://arxiv.org/abs/2006.04388.
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
from export.graph.weights import Weights, conv_only, conv_silu
from export.graph.writer import BATCH, GraphWriter

HEAD = f"model.{architecture.HEAD_INDEX}"
DECODE = f"{HEAD}.decode"
BINS = 16
SIDES = 4  # left, top, right, bottom
#: cx, cy, w, h by left, top, right, bottom.
BOX_OF_SIDES = ((-0.5, 0, 0.5, 0), (0, -0.5, 0, 0.5), (1, 0, 1, 0), (0, 1, 0, 1))
TO_BOX = np.kron(np.asarray(BOX_OF_SIDES), np.arange(BINS)).astype(np.float32)  # [4, 64], by bin


def write_head(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str]) -> None:
    """Write the head; see ``export.graph.heads``."""
    _check_bins(weights)
    channels = architecture.level_channels(architecture.size_of(spec.name))
    box_width = max(channels["p3"] // 4, SIDES * BINS)
    class_width = max(channels["p3"], min(spec.nc, 100))
    for i, (x, width) in enumerate(zip(levels, channels.values(), strict=True)):
        bins = _tower(writer, weights, f"{HEAD}.cv2.{i}", x, (width, box_width, SIDES * BINS))
        writer.reshape(f"{DECODE}.{i}.sides", bins, (BATCH, SIDES, BINS, -1))
        logits = _tower(writer, weights, f"{HEAD}.cv3.{i}", x, (width, class_width, spec.nc))
        writer.reshape(f"{DECODE}.{i}.classes", logits, (BATCH, spec.nc, -1))


def maps(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the logits of each level: bins ``[B, 4, 16, cells]``, then classes ``[B, nc, cells]``."""
    return tuple(f"{DECODE}.{i}.{kind}" for i in range(len(spec.strides)) for kind in ("sides", "classes"))


def write_all_boxes(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, output: str) -> None:
    """Write the decode of all boxes; see ``export.graph.heads``."""
    sides = writer.node("Concat", f"{DECODE}.sides", maps(spec)[::2], axis=3)
    box = _boxes(writer, spec, grid, sides)
    score = writer.node("Concat", f"{DECODE}.classes", maps(spec)[1::2], axis=2)
    score = writer.node("Sigmoid", f"{DECODE}.scores", [score])
    writer.node("Concat", output, [box, score], axis=1)


def write_best_boxes(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, limit: int) -> BestBoxes:
    """Write the choice of the best boxes.

    They are sorted by the probability of the best class, not by its logit, so that boxes with equal scores
    keep the order of the raw output.
    """
    name = f"{DECODE}.best"
    logits = writer.node("Concat", f"{DECODE}.classes", maps(spec)[1::2], axis=2)
    best = writer.node("ReduceMax", f"{DECODE}.logit", [logits], axes=[1], keepdims=0)
    best = writer.node("Sigmoid", f"{DECODE}.score", [best])
    _, indices = writer.top(name, best, grid.at_most(f"{DECODE}.count", limit))
    rows = []
    for i, sides in enumerate(maps(spec)[::2]):
        flat = writer.reshape(f"{DECODE}.{i}.flat", sides, (BATCH, SIDES * BINS, -1))
        rows.append(writer.node("Transpose", f"{DECODE}.{i}.by_box", [flat], perm=[0, 2, 1]))
    bins = writer.pick(f"{name}.bins", writer.node("Concat", f"{DECODE}.bins", rows, axis=1), indices)
    by_box = writer.node("Transpose", f"{DECODE}.classes.by_box", [logits], perm=[0, 2, 1])
    scores = writer.node("Sigmoid", f"{name}.scores", [writer.pick(f"{name}.classes", by_box, indices)])
    p = writer.reshape(f"{name}.sides", bins, (BATCH, -1, SIDES, BINS))
    p = writer.reshape(
        f"{name}.p", writer.node("Softmax", f"{name}.softmax", [p], axis=3), (BATCH, -1, SIDES * BINS)
    )
    middle, _, stride = grid.find(name, indices, 0.5)

    def pixels(label: str, sums: NDArray[np.float32]) -> str:
        """Two weighted sums over the bins, in pixels."""
        stored = writer.constant(f"{name}.{label}.by", np.ascontiguousarray(sums.T))
        cells = writer.node("MatMul", f"{name}.{label}.cells", [p, stored])
        return writer.node("Mul", f"{name}.{label}", [cells, stride])

    return BestBoxes(
        centre=writer.node("Add", f"{name}.centre", [pixels("moved", TO_BOX[:2]), middle]),
        half=pixels("half", (TO_BOX[2:] / 2).astype(np.float32)),
        scores=scores,
        nan_guard=nan_guard(writer, DECODE, logits),
    )


def _tower(writer: GraphWriter, weights: Weights, name: str, x: str, channels: tuple[int, int, int]) -> str:
    """Two 3x3 convolutions with SiLU and a 1x1; channels are (in, hidden, out)."""
    entry, within, out = channels
    x = conv_silu(writer, weights, f"{name}.0", x, channels=(entry, within), kernel=3, padding=1)
    x = conv_silu(writer, weights, f"{name}.1", x, channels=(within, within), kernel=3, padding=1)
    return conv_only(writer, weights, f"{name}.2", x, channels=(within, out))


def _boxes(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, x: str) -> str:
    """Logits of all levels ``[B, 4, 16, A]`` as ``[B, 4, A]``: cx, cy, w, h in pixels.

    The expectation over the bins and the sums of sides are one matrix product without a transpose: on ONNX
    Runtime's CPU it takes a sixth of the time of transpose, softmax and convolution over the bins.
    """
    p = writer.node("Softmax", f"{DECODE}.softmax", [x], axis=2)
    p = writer.reshape(f"{DECODE}.flat", p, (BATCH, SIDES * BINS, -1))
    box = writer.node("MatMul", f"{DECODE}.box", [writer.constant(f"{DECODE}.box.by", TO_BOX), p])
    strides, centres = _cells(writer, spec, grid)
    box = writer.node("Mul", f"{DECODE}.scaled", [box, strides])
    return writer.node("Add", f"{DECODE}.placed", [box, centres])


def _cells(writer: GraphWriter, spec: ModelSpec, grid: CellGrid) -> tuple[str, str]:
    """Strides ``[1, 1, A]`` and centres as cx, cy, 0, 0 in pixels ``[1, 4, A]`` of all cells."""
    strides, middles = [], []
    for i, stride in enumerate(spec.strides):
        spread: dict[str, str] = {}
        axes: tuple[tuple[Axis, int], ...] = (("x", 0), ("y", 1))
        for axis, row in axes:
            name = f"{DECODE}.{i}.middle.{axis}"
            only = writer.constant(f"{name}.row", np.eye(4, dtype=np.float32)[row].reshape(1, 4, 1, 1))
            shape = (1, 1, 1, -1) if axis == "x" else (1, 1, -1, 1)
            ramp = writer.reshape(f"{name}.ramp", grid.ramp(i, axis, 0.5), shape)
            spread[axis] = writer.fold("Mul", name, [ramp, only])
        middle = writer.fold("Add", f"{DECODE}.{i}.middle", list(spread.values()))
        middles.append(writer.reshape(f"{DECODE}.{i}.middles", middle, (1, 4, -1)))
        one = writer.constant(f"{DECODE}.{i}.stride", np.full((1, 1, 1), stride, np.float32))
        ones = writer.constant(f"{DECODE}.ones", np.ones(2, np.int64))
        shape_of = writer.fold("Concat", f"{DECODE}.{i}.cells", [ones, grid.cells(i)], axis=0)
        strides.append(writer.fold("Expand", f"{DECODE}.{i}.strides", [one, shape_of]))
    return (
        writer.fold("Concat", f"{DECODE}.strides", strides, axis=2),
        writer.fold("Concat", f"{DECODE}.centres", middles, axis=2),
    )


def _check_bins(weights: Weights) -> None:
    """Raise ArtifactError unless the bins, which ultralytics stores as a convolution, are 0 to 15."""
    bins = weights.take(f"{HEAD}.dfl.conv.weight", (1, BINS, 1, 1)).reshape(-1)
    if not np.array_equal(bins, np.arange(BINS)):
        raise ArtifactError(
            f"the bins of {HEAD}.dfl are {bins.tolist()}, not 0 to {BINS - 1}",
            hint="they are constants: write the checkpoint again with those of ultralytics",
        )
