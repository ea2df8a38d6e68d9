"""Decoupled head: YOLOX-style towers over YOLOv5's anchors, with the output rows of the coupled head.

Each level has a 1x1 stem, then two 3x3 convolutions for the classes and two for box and objectness.

Source: Ge et al., YOLOX, https://arxiv.org/abs/2107.08430 (structure and names only).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgestill import architecture
from edgestill.spec import ModelSpec
from export.graph.cells import CellGrid
from export.graph.heads import _anchors
from export.graph.heads._anchors import DECODE, check_anchors
from export.graph.topk import BestBoxes
from export.graph.weights import Weights, conv_only, conv_silu
from export.graph.writer import BATCH, GraphWriter

HEAD = f"model.{architecture.HEAD_INDEX}"
TOWER = 2  # 3x3 convolutions
BRANCHES = ("reg_preds", "obj_preds", "cls_preds")  # in the order of a row: box, objectness, classes


def write_head(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str]) -> None:
    """Write the head; see ``export.graph.heads``.

    Towers that all levels share are written once for each level, since ranges and INT8 biases differ by
    level.
    """
    check_anchors(weights, spec)
    size = architecture.size_of(spec.name)
    hidden = architecture.tower_channels(size)
    for i, (x, width) in enumerate(zip(levels, architecture.level_channels(size).values(), strict=True)):
        stem = conv_silu(writer, weights, f"{HEAD}.stems.{i}", x, channels=(width, hidden))
        _branches(writer, weights, spec, i, stem)


def maps(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the probabilities ``[B, anchors * columns, h, w]``: box, objectness, classes of each level."""
    return tuple(f"{DECODE}.{i}.{kind}.sigmoid" for i in range(len(spec.strides)) for kind in BRANCHES)


def write_all_boxes(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, output: str) -> None:
    """Write the decode of all boxes; see ``export.graph.heads``."""
    found = [_anchors.rows(writer, spec, grid, i, s) for i, s in enumerate(_by_cell(writer, spec))]
    writer.node("Concat", output, found, axis=1)


def write_best_boxes(writer: GraphWriter, spec: ModelSpec, grid: CellGrid, limit: int) -> BestBoxes:
    """Write the decode of the best boxes; see ``export.graph.heads``."""
    return _anchors.write_best_boxes(writer, spec, grid, _by_cell(writer, spec), limit)


def _by_cell(writer: GraphWriter, spec: ModelSpec) -> list[str]:
    """The probabilities of each level, ``[B, h * w, anchors, 5 + nc]``."""
    found = []
    for i in range(len(spec.strides)):
        columns = []
        for kind, width in _columns(spec).items():
            name = f"{DECODE}.{i}.{kind}"
            last = writer.node("Transpose", f"{name}.last", [f"{name}.sigmoid"], perm=[0, 2, 3, 1])
            columns.append(writer.reshape(f"{name}.grid", last, (BATCH, -1, len(spec.anchors_px[i]), width)))
        found.append(writer.node("Concat", f"{DECODE}.{i}.joined", columns, axis=3))
    return found


def _branches(writer: GraphWriter, weights: Weights, spec: ModelSpec, level: int, stem: str) -> None:
    """The towers of one level, up to its outputs."""
    hidden = architecture.tower_channels(architecture.size_of(spec.name))
    owner, anchors = 0 if spec.share_levels else level, len(spec.anchors_px[level])

    def tower(kind: str) -> str:
        x, channels = stem, (hidden, hidden)
        for k in range(TOWER):
            name, trained = f"{HEAD}.{kind}.{level}.{k}", f"{HEAD}.{kind}.{owner}.{k}"
            x = conv_silu(writer, weights, name, x, channels=channels, kernel=3, padding=1, trained=trained)
        return x

    boxes, classes = tower("reg_convs"), tower("cls_convs")
    for kind, columns in _columns(spec).items():
        name, trained = f"{HEAD}.{kind}.{level}", f"{HEAD}.{kind}.{owner}"
        x, channels = classes if kind == "cls_preds" else boxes, (hidden, anchors * columns)
        y = conv_only(writer, weights, name, x, channels=channels, trained=trained)
        writer.node("Sigmoid", f"{DECODE}.{level}.{kind}.sigmoid", [y])


def _columns(spec: ModelSpec) -> dict[str, int]:
    """Number of columns of each branch."""
    return dict(zip(BRANCHES, (4, 1, spec.nc), strict=True))
