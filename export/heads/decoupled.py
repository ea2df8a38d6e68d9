"""YOLOX-style towers over the original's anchors: the same rows as the coupled head, from three branches.

A level's map goes through a 1x1 stem, then two 3x3 for the classes and two for box and objectness.

Source: Ge et al., YOLOX, https://arxiv.org/abs/2107.08430 (structure and names only).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgestill import architecture
from edgestill.spec import ModelSpec
from export.emit import BATCH, GraphWriter
from export.heads._anchors import check_anchors, grid_hw, rows, to_grid
from export.weights import Weights, conv_only, conv_silu

HEAD = f"model.{architecture.HEAD_INDEX}"
TOWER = 2  # 3x3 convolutions


def emit(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str], output: str) -> None:
    """Write the head; see ``export.heads``.

    Towers that serve all levels are written once for each: ranges, and the biases of INT8, are a level's own.
    """
    check_anchors(weights, spec)
    size = architecture.size_of(spec.name)
    hidden = architecture.tower_channels(size)
    found = []
    for i, (x, width) in enumerate(zip(levels, architecture.level_channels(size).values(), strict=True)):
        stem = conv_silu(writer, weights, f"{HEAD}.stems.{i}", x, channels=(width, hidden))
        s = _branches(writer, weights, spec, i, stem)
        found.append(rows(writer, f"{HEAD}.decode.{i}", s, spec, i))
    writer.node("Concat", output, found, axis=1)


def _branches(writer: GraphWriter, weights: Weights, spec: ModelSpec, level: int, stem: str) -> str:
    """Probabilities of one level, ``[B, h, w, anchors * (5 + nc)]``."""
    hidden = architecture.tower_channels(architecture.size_of(spec.name))
    owner, anchors = 0 if spec.share_levels else level, len(spec.anchors_px[level])
    height, width = grid_hw(spec, level)
    cells = height * width

    def tower(kind: str) -> str:
        x, channels = stem, (hidden, hidden)
        for k in range(TOWER):
            name, trained = f"{HEAD}.{kind}.{level}.{k}", f"{HEAD}.{kind}.{owner}.{k}"
            x = conv_silu(writer, weights, name, x, channels=channels, kernel=3, padding=1, trained=trained)
        return x

    def predict(kind: str, x: str, columns: int) -> str:
        name, trained = f"{HEAD}.{kind}.{level}", f"{HEAD}.{kind}.{owner}"
        y = conv_only(writer, weights, name, x, channels=(hidden, anchors * columns), trained=trained)
        place = f"{HEAD}.decode.{level}.{kind}"
        return writer.reshape(f"{place}.grid", to_grid(writer, place, y), (BATCH, cells, anchors, columns))

    boxes, classes = tower("reg_convs"), tower("cls_convs")
    columns = [predict("reg_preds", boxes, 4), predict("obj_preds", boxes, 1)]
    columns.append(predict("cls_preds", classes, spec.nc))
    joined = writer.node("Concat", f"{HEAD}.decode.{level}.joined", columns, axis=3)
    return writer.reshape(f"{HEAD}.decode.{level}.grid", joined, (BATCH, height, width, -1))
