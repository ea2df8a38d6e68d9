"""The original anchor head: one 1x1 convolution a level, then the decode."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill import architecture
from edgestill.spec import ModelSpec
from export.graph.cells import CellGrid
from export.graph.heads import _anchors
from export.graph.heads._anchors import DECODE, PER_BOX, check_anchors
from export.graph.topk import BestBoxes
from export.graph.weights import Weights, conv_only
from export.graph.writer import BATCH, GraphWriter

HEAD = f"model.{architecture.HEAD_INDEX}"


def write_head(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str]) -> None:
    """Write the head; see ``export.graph.heads``."""
    check_anchors(weights, spec)
    channels = architecture.level_channels(architecture.size_of(spec.name)).values()
    for i, (x, width, made) in enumerate(zip(levels, channels, maps(spec), strict=True)):
        out = len(spec.anchors_px[i]) * (PER_BOX + spec.nc)
        y = conv_only(writer, weights, f"{HEAD}.m.{i}", x, channels=(width, out))
        writer.node("Sigmoid", made, [y])


def maps(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the probabilities ``[B, anchors * (5 + nc), h, w]`` of each level."""
    return tuple(f"{DECODE}.{i}.sigmoid" for i in range(len(spec.strides)))


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
    for i, s in enumerate(maps(spec)):
        last = writer.node("Transpose", f"{DECODE}.{i}.last", [s], perm=[0, 2, 3, 1])
        sizes = (BATCH, -1, len(spec.anchors_px[i]), PER_BOX + spec.nc)
        found.append(writer.reshape(f"{DECODE}.{i}.flat", last, sizes))
    return found
