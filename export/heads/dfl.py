"""YOLOv5u's anchor-free head: four distances from the cell's centre, each a distribution over 16 bins.

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
from export.emit import BATCH, GraphWriter
from export.weights import Weights, conv_only, conv_silu

HEAD = f"model.{architecture.HEAD_INDEX}"
BINS = 16
SIDES = 4  # left, top, right, bottom
#: cx, cy, w, h by left, top, right, bottom.
BOX_OF_SIDES = ((-0.5, 0, 0.5, 0), (0, -0.5, 0, 0.5), (1, 0, 1, 0), (0, 1, 0, 1))


def emit(writer: GraphWriter, weights: Weights, spec: ModelSpec, levels: Sequence[str], output: str) -> None:
    """Write the head; see ``export.heads``."""
    _check_bins(weights)
    channels = architecture.level_channels(architecture.size_of(spec.name))
    box_width = max(channels["p3"] // 4, SIDES * BINS)
    class_width = max(channels["p3"], min(spec.nc, 100))
    sides, classes = [], []
    for i, (x, width) in enumerate(zip(levels, channels.values(), strict=True)):
        bins = _tower(writer, weights, f"{HEAD}.cv2.{i}", x, (width, box_width, SIDES * BINS))
        sides.append(writer.reshape(f"{HEAD}.decode.{i}.sides", bins, (BATCH, SIDES, BINS, -1)))
        logits = _tower(writer, weights, f"{HEAD}.cv3.{i}", x, (width, class_width, spec.nc))
        classes.append(writer.reshape(f"{HEAD}.decode.{i}.classes", logits, (BATCH, spec.nc, -1)))
    name = f"{HEAD}.decode"
    box = _boxes(writer, name, writer.node("Concat", f"{name}.sides", sides, axis=3), spec)
    score = writer.node("Concat", f"{name}.classes", classes, axis=2)
    score = writer.node("Sigmoid", f"{name}.scores", [score])
    writer.node("Concat", output, [box, score], axis=1)


def _tower(writer: GraphWriter, weights: Weights, name: str, x: str, channels: tuple[int, int, int]) -> str:
    """Two 3x3 with SiLU and a 1x1; channels are (in, within, out)."""
    entry, within, out = channels
    x = conv_silu(writer, weights, f"{name}.0", x, channels=(entry, within), kernel=3, padding=1)
    x = conv_silu(writer, weights, f"{name}.1", x, channels=(within, within), kernel=3, padding=1)
    return conv_only(writer, weights, f"{name}.2", x, channels=(within, out))


def _boxes(writer: GraphWriter, name: str, x: str, spec: ModelSpec) -> str:
    """Logits of all levels ``[B, 4, 16, A]`` as ``[B, 4, A]``: cx, cy, w, h in pixels.

    The expectation over the bins and the sums of sides are one matrix product, and no axis changes place: on
    ONNX Runtime's CPU a sixth of the time of a transpose, a softmax and a convolution over the bins.
    """
    to_box = np.kron(np.asarray(BOX_OF_SIDES), np.arange(BINS)).astype(np.float32)  # [4, 64]
    strides, centres = _cells(spec)
    p = writer.node("Softmax", f"{name}.softmax", [x], axis=2)
    p = writer.reshape(f"{name}.flat", p, (BATCH, SIDES * BINS, -1))
    box = writer.node("MatMul", f"{name}.box", [writer.constant(f"{name}.box.by", to_box), p])
    box = writer.node("Mul", f"{name}.scaled", [box, writer.constant(f"{name}.strides", strides)])
    return writer.node("Add", f"{name}.placed", [box, writer.constant(f"{name}.centres", centres)])


def _cells(spec: ModelSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of all cells: their strides ``[1, 1, A]``; their middles as cx, cy, 0, 0 in pixels, ``[1, 4, A]``."""
    strides, middles = [], []
    for stride in spec.strides:
        y, x = np.mgrid[: spec.input_hw[0] // stride, : spec.input_hw[1] // stride]
        middles.append((np.stack([x, y]).reshape(2, -1) + 0.5) * stride)
        strides.append(np.full(x.size, stride, np.float32))
    centres = np.pad(np.concatenate(middles, axis=1), ((0, 2), (0, 0)))
    return np.concatenate(strides)[None, None], centres[None].astype(np.float32)


def _check_bins(weights: Weights) -> None:
    """The package stores the bins as a frozen convolution; others than 0 to 15 would be another network."""
    bins = weights.take(f"{HEAD}.dfl.conv.weight", (1, BINS, 1, 1)).reshape(-1)
    if not np.array_equal(bins, np.arange(BINS)):
        raise ArtifactError(
            f"the bins of {HEAD}.dfl are {bins.tolist()}, not 0 to {BINS - 1}",
            hint="they are not trained: write the checkpoint again with the package's own",
        )
