"""The blocks of YOLO networks as lists of kernels, with the shapes that pass between them.

A kernel is what is left after the usual fusions: batch norm, activation and the addition of a shortcut belong
to the convolution before them; a concatenation or a split costs nothing, because its parts are written in
place.

Sources (facts only): models/{common,yolo}.py of github.com/ultralytics/yolov5, tags v5.0 and v7.0;
ultralytics/nn/modules of github.com/ultralytics/ultralytics, 8.4.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from benchmarks.estimate.layer_work import LayerWork

ANCHORS = 3  # boxes of a cell of YOLOv5
DFL_BINS = 16  # values of a side of a box
ATTENTION_HEAD = 64  # channels of a head of an attention block; its keys have half of them
BOX_CHANNELS, CLASS_CHANNELS = 64, 100  # limits for the towers of the heads of YOLOv8, YOLO11 and YOLO26


class Shape(NamedTuple):
    """A feature map of one image."""

    channels: int
    height: int
    width: int

    @property
    def elements(self) -> int:
        """Number of values."""
        return self.channels * self.height * self.width

    def with_channels(self, channels: int) -> Shape:
        """The same size with other channels."""
        return Shape(channels, self.height, self.width)


class Kernels:
    """Collects the kernels of a network; a method adds those of one block and returns the block's output."""

    def __init__(self) -> None:
        self.layers: list[LayerWork] = []

    def conv(
        self,
        x: Shape,
        channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        adds: bool = False,
    ) -> Shape:
        """A convolution that keeps the size, or divides it by the stride; ``adds`` reads a shortcut, too."""
        out = Shape(channels, ceil(x.height / stride), ceil(x.width / stride))
        reduction = kernel * kernel * x.channels // groups
        weights = reduction * channels
        self.layers.append(
            LayerWork(
                kind="dense" if groups == 1 else "depthwise",
                flops=2.0 * weights * out.height * out.width,
                read=x.elements + (out.elements if adds else 0),
                written=out.elements,
                weights=weights + channels,
                outputs=channels,
                reduction=reduction,
            )
        )
        return out

    def move(self, x: Shape, out: Shape) -> Shape:
        """A kernel that only reads and writes values: a pool, a resize, a pointwise operator."""
        self.layers.append(LayerWork(kind="memory", flops=0.0, read=x.elements, written=out.elements))
        return out

    def product(self, rows: int, inner: int, columns: int, heads: int) -> None:
        """A matrix product of two activations, ``heads`` times."""
        self.layers.append(
            LayerWork(
                kind="dense",
                flops=2.0 * heads * rows * inner * columns,
                read=heads * inner * (rows + columns),
                written=heads * rows * columns,
                outputs=columns,
                reduction=inner,
            )
        )

    def bottleneck(self, x: Shape, hidden: int, first: int, *, shortcut: bool) -> Shape:
        """A convolution of kernel ``first`` to ``hidden`` channels, and one of kernel 3 back."""
        return self.conv(self.conv(x, hidden, first), x.channels, 3, adds=shortcut)

    def c3(self, x: Shape, channels: int, repeats: int, *, shortcut: bool, first: int = 1) -> Shape:
        """The C3 of YOLOv5 (``first`` 1) and of YOLO11 (3); its two 1x1 branches run as one convolution."""
        hidden = channels // 2
        part = self.conv(x, 2 * hidden).with_channels(hidden)
        for _ in range(repeats):
            self.bottleneck(part, hidden, first, shortcut=shortcut)
        return self.conv(x.with_channels(2 * hidden), channels)

    def c2f(self, x: Shape, channels: int, repeats: int, *, shortcut: bool) -> Shape:
        """The C2f of YOLOv8: the output of each bottleneck is joined."""
        part = self.conv(x, channels).with_channels(channels // 2)
        for _ in range(repeats):
            self.bottleneck(part, part.channels, 3, shortcut=shortcut)
        return self.conv(x.with_channels((2 + repeats) * part.channels), channels)

    def c3k2(self, x: Shape, channels: int, repeats: int, *, ratio: float, inner: str) -> Shape:
        """YOLO11's C3k2: a C2f of ``ratio`` of the channels; ``inner`` is bottleneck, c3 or attention."""
        hidden = int(channels * ratio)
        part = self.conv(x, 2 * hidden).with_channels(hidden)
        for _ in range(repeats):
            if inner == "c3":
                self.c3(part, hidden, 2, shortcut=True, first=3)
            else:
                self.bottleneck(part, hidden // 2, 3, shortcut=True)
            if inner == "attention":
                self.attention(part)
        return self.conv(x.with_channels((2 + repeats) * hidden), channels)

    def attention(self, x: Shape) -> Shape:
        """The self-attention of YOLO11 over all cells, and the two 1x1 convolutions behind it."""
        heads = max(x.channels // ATTENTION_HEAD, 1)
        of_head, cells = x.channels // heads, x.height * x.width
        key = of_head // 2
        self.conv(x, x.channels + 2 * heads * key)
        self.product(cells, key, cells, heads)
        scores = Shape(heads, cells, cells)
        self.move(scores, scores)  # softmax
        self.product(of_head, cells, cells, heads)
        self.conv(x, x.channels, 3, groups=x.channels, adds=True)
        self.conv(x, x.channels, adds=True)
        return self.conv(self.conv(x, 2 * x.channels), x.channels, adds=True)

    def c2psa(self, x: Shape, repeats: int) -> Shape:
        """The C2PSA of YOLO11: attention on half of the channels."""
        part = self.conv(x, x.channels).with_channels(x.channels // 2)
        for _ in range(repeats):
            self.attention(part)
        return self.conv(x, x.channels)

    def sppf(self, x: Shape, channels: int) -> Shape:
        """A 1x1 convolution to half of the channels, three max pools, and a 1x1 over the four maps."""
        part = self.conv(x, x.channels // 2)
        for _ in range(3):
            self.move(part, part)
        return self.conv(part.with_channels(4 * part.channels), channels)

    def upsample(self, x: Shape) -> Shape:
        """Nearest neighbour, times two."""
        return self.move(x, Shape(x.channels, 2 * x.height, 2 * x.width))

    def focus(self, x: Shape, channels: int) -> Shape:
        """The stem of YOLOv5 v5.0: every second pixel into channels, then a convolution."""
        return self.conv(self.move(x, Shape(4 * x.channels, x.height // 2, x.width // 2)), channels, 3)

    def anchor_head(self, levels: list[Shape], classes: int) -> None:
        """The head of YOLOv5, with its decoding to boxes."""
        for x in levels:
            out = self.conv(x, ANCHORS * (5 + classes))
            self.move(out, out)

    def split_head(self, levels: list[Shape], classes: int, *, light: bool, bins: int = DFL_BINS) -> None:
        """The head of YOLOv5u and YOLOv8, or of YOLO11 and YOLO26 (``light``), with its decoding."""
        first = levels[0].channels
        box, towers = max(16, first // 4, 4 * bins), max(first, min(classes, CLASS_CHANNELS))
        for x in levels:
            self.conv(self.conv(self.conv(x, box, 3), box, 3), 4 * bins)
            for source in (x, x.with_channels(towers)):
                if light:
                    self.conv(self.conv(source, source.channels, 3, groups=source.channels), towers)
                else:
                    self.conv(source, towers, 3)
            self.conv(x.with_channels(towers), classes)
        cells = sum(x.height * x.width for x in levels)
        if bins > 1:
            self.move(Shape(4 * bins, cells, 1), Shape(4, cells, 1))  # expected value of each side
        self.move(Shape(4 + classes, cells, 1), Shape(4 + classes, cells, 1))
