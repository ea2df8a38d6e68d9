"""The original anchor head: one 1x1 convolution a level, then the decode."""

from __future__ import annotations

from collections.abc import Sequence

from edgestill import architecture
from edgestill.spec import ModelSpec
from export.emit import GraphWriter
from export.heads._anchors import PER_BOX, check_anchors, rows, to_grid
from export.weights import Weights, conv_only

HEAD = f"model.{architecture.HEAD_INDEX}"


def emit(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str], output: str) -> None:
    """Write the head; see ``export.heads``."""
    check_anchors(weights, spec)
    channels = architecture.level_channels(architecture.size_of(spec.name)).values()
    found = []
    for i, (x, width) in enumerate(zip(levels, channels, strict=True)):
        name, anchors, columns = f"{HEAD}.decode.{i}", len(spec.anchors_px[i]), PER_BOX + spec.nc
        y = conv_only(writer, weights, f"{HEAD}.m.{i}", x, channels=(width, anchors * columns))
        found.append(rows(writer, name, to_grid(writer, name, y), spec, i))
    writer.node("Concat", output, found, axis=1)
