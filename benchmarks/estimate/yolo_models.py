"""The layers of published YOLO models by their names, without their files.

A family is a table of blocks at width 1 and depth 1, and its sizes. Sources (facts only): the YAML files
models/yolov5*.yaml of github.com/ultralytics/yolov5, tags v5.0 and v7.0, and ultralytics/cfg/models of
github.com/ultralytics/ultralytics, 8.4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.yolo_blocks import Kernels, Shape
from edgestill.architecture import SIZES as YOLOV5_SIZES
from edgestill.architecture import Scale
from edgestill.errors import unknown_name

CLASSES = 80  # of COCO, which the published models were trained on
IMAGE_CHANNELS = 3


class Row(NamedTuple):
    """One block at depth 1 and width 1.

    Attributes:
        block: ``conv``, ``focus``, ``c3``, ``c2f``, ``c3k2``, ``sppf``, ``c2psa``, ``up`` or ``cat``.
        channels: Channels of the output; 0 for those of the input.
        repeats: Inner blocks.
        kernel: Side of the kernel of a ``conv``.
        stride: Stride of a ``conv``.
        sources: Rows that it reads; -1 is the row before.
        shortcut: Whether inner blocks of a ``c3`` or ``c2f`` add their input.
        inner: Inner block of a ``c3k2``.
        ratio: Inner channels of a ``c3k2`` over its channels.
    """

    block: str
    channels: int = 0
    repeats: int = 1
    kernel: int = 1
    stride: int = 1
    sources: tuple[int, ...] = (-1,)
    shortcut: bool = False
    inner: str = "bottleneck"
    ratio: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A size of a family.

    Attributes:
        depth: Factor on the repeats.
        width: Factor on the channels.
        most: Limit of the channels, before the factor.
        nested: Whether every inner block of a ``c3k2`` is a ``c3``.
    """

    depth: float
    width: float
    most: int = 1024
    nested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A table of blocks and how it ends.

    Attributes:
        rows: The blocks.
        sizes: By letter.
        levels: Rows that the head reads.
        head: ``anchor``, ``split`` or ``light``.
        bins: Values of a side of a box.
        imgsz: Published input size, pixels.
    """

    rows: tuple[Row, ...]
    sizes: Mapping[str, Size]
    levels: tuple[int, ...]
    head: str
    bins: int = 16
    imgsz: int = 640


def _down(channels: int) -> Row:
    return Row("conv", channels, kernel=3, stride=2)


def _cat(row: int) -> Row:
    return Row("cat", sources=(-1, row))


_UP = Row("up")
_STEM = Row("conv", 64, kernel=6, stride=2)
_P5_NECK = (
    *(Row("conv", 512), _UP, _cat(6), Row("c3", 512, 3)),
    *(Row("conv", 256), _UP, _cat(4), Row("c3", 256, 3)),
    *(_down(256), _cat(14), Row("c3", 512, 3), _down(512), _cat(10), Row("c3", 1024, 3)),
)
_V5 = (
    *(_STEM, _down(128), Row("c3", 128, 3, shortcut=True), _down(256), Row("c3", 256, 6, shortcut=True)),
    *(_down(512), Row("c3", 512, 9, shortcut=True), _down(1024), Row("c3", 1024, 3, shortcut=True)),
    *(Row("sppf", 1024), *_P5_NECK),
)
#: v5.0 begins with Focus, has 9 inner blocks at P3, and SPP before a C3 at P5.
_V5_0 = (
    *(Row("focus", 64), _down(128), Row("c3", 128, 3, shortcut=True)),
    *(_down(256), Row("c3", 256, 9, shortcut=True), _down(512), Row("c3", 512, 9, shortcut=True)),
    *(_down(1024), Row("sppf", 1024), Row("c3", 1024, 3), *_P5_NECK),
)
_V5_P6 = (
    *(_STEM, _down(128), Row("c3", 128, 3, shortcut=True), _down(256), Row("c3", 256, 6, shortcut=True)),
    *(_down(512), Row("c3", 512, 9, shortcut=True), _down(768), Row("c3", 768, 3, shortcut=True)),
    *(_down(1024), Row("c3", 1024, 3, shortcut=True), Row("sppf", 1024)),
    *(Row("conv", 768), _UP, _cat(8), Row("c3", 768, 3)),
    *(Row("conv", 512), _UP, _cat(6), Row("c3", 512, 3)),
    *(Row("conv", 256), _UP, _cat(4), Row("c3", 256, 3)),
    *(_down(256), _cat(20), Row("c3", 512, 3), _down(512), _cat(16), Row("c3", 768, 3)),
    *(_down(768), _cat(12), Row("c3", 1024, 3)),
)
_V8 = (
    *(
        _down(64),
        _down(128),
        Row("c2f", 128, 3, shortcut=True),
        _down(256),
        Row("c2f", 256, 6, shortcut=True),
    ),
    *(_down(512), Row("c2f", 512, 6, shortcut=True), _down(1024), Row("c2f", 1024, 3, shortcut=True)),
    *(Row("sppf", 1024), _UP, _cat(6), Row("c2f", 512, 3), _UP, _cat(4), Row("c2f", 256, 3)),
    *(_down(256), _cat(12), Row("c2f", 512, 3), _down(512), _cat(9), Row("c2f", 1024, 3)),
)
_11_BACKBONE = (
    *(_down(64), _down(128), Row("c3k2", 256, 2, ratio=0.25), _down(256), Row("c3k2", 512, 2, ratio=0.25)),
    *(_down(512), Row("c3k2", 512, 2, inner="c3"), _down(1024), Row("c3k2", 1024, 2, inner="c3")),
    *(Row("sppf", 1024), Row("c2psa", repeats=2), _UP, _cat(6)),
)
_11 = (
    *(*_11_BACKBONE, Row("c3k2", 512, 2), _UP, _cat(4), Row("c3k2", 256, 2)),
    *(_down(256), _cat(13), Row("c3k2", 512, 2), _down(512), _cat(10), Row("c3k2", 1024, 2, inner="c3")),
)
_26 = (
    *(*_11_BACKBONE, Row("c3k2", 512, 2, inner="c3"), _UP, _cat(4), Row("c3k2", 256, 2, inner="c3")),
    *(_down(256), _cat(13), Row("c3k2", 512, 2, inner="c3"), _down(512), _cat(10)),
    Row("c3k2", 1024, inner="attention"),
)


def _scaled(scales: Mapping[str, Scale]) -> Mapping[str, Size]:
    return {name: Size(depth=scale.depth, width=scale.width) for name, scale in scales.items()}


_V5_SIZES = _scaled(YOLOV5_SIZES)
_V8_SIZES = {
    **_V5_SIZES,
    "m": Size(depth=0.67, width=0.75, most=768),
    "l": Size(depth=1.0, width=1.0, most=512),
    "x": Size(depth=1.0, width=1.25, most=512),
}
_11_SIZES = {
    "n": Size(depth=0.5, width=0.25),
    "s": Size(depth=0.5, width=0.5),
    "m": Size(depth=0.5, width=1.0, most=512, nested=True),
    "l": Size(depth=1.0, width=1.0, most=512, nested=True),
    "x": Size(depth=1.0, width=1.5, most=512, nested=True),
}
_P5, _P6 = (17, 20, 23), (23, 26, 29, 32)
_YOLOV5 = Family(rows=_V5, sizes=_V5_SIZES, levels=_P5, head="anchor")
_YOLOV5_P6 = Family(rows=_V5_P6, sizes=_V5_SIZES, levels=_P6, head="anchor", imgsz=1280)
#: By the name of a family, with ``?`` for the letter of the size.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "yolov5?": _YOLOV5,
        "yolov5?6": _YOLOV5_P6,
        "yolov5?u": replace(_YOLOV5, head="split"),
        "yolov5?6u": replace(_YOLOV5_P6, head="split"),
        "yolov5?-v5.0": Family(rows=_V5_0, sizes=_V5_SIZES, levels=_P5, head="anchor"),
        "yolov8?": Family(rows=_V8, sizes=_V8_SIZES, levels=(15, 18, 21), head="split"),
        "yolo11?": Family(rows=_11, sizes=_11_SIZES, levels=(16, 19, 22), head="light"),
        "yolo26?": Family(rows=_26, sizes=_11_SIZES, levels=(16, 19, 22), head="light", bins=1),
    }
)
_WORDING = re.compile(r"(yolov5|yolov8|yolo11|yolo26)([nsmlx])(.*)")


def published_names() -> tuple[str, ...]:
    """The names of all models whose layers are known."""
    return tuple(name.replace("?", size) for name, family in FAMILIES.items() for size in family.sizes)


def is_published(name: str) -> bool:
    """Whether the layers of a model of that name are known."""
    return name in published_names()


@lru_cache
def published_model(
    name: str, input_hw: tuple[int, int] | None = None, *, classes: int = CLASSES
) -> ModelWork:
    """The layers of a published model.

    Args:
        name: E.g. ``yolov5n``, ``yolov5s6``, ``yolov8m``, ``yolo11x``.
        input_hw: Input height and width, pixels; None for the size that its authors publish.
        classes: Number of classes.

    Raises:
        UsageError: No model has that name.
    """
    match = _WORDING.fullmatch(name)
    key = f"{match[1]}?{match[3]}" if match else ""
    if match is None or key not in FAMILIES:
        raise unknown_name("published model", name, published_names())
    family = FAMILIES[key]
    hw = input_hw or (family.imgsz, family.imgsz)
    kernels = Kernels()
    maps: list[Shape] = []
    for row in family.rows:
        inputs = [maps[s] for s in row.sources] if maps else [Shape(IMAGE_CHANNELS, *hw)]
        maps.append(_block(kernels, row, inputs, family.sizes[match[2]]))
    levels = [maps[k] for k in family.levels]
    if family.head == "anchor":
        kernels.anchor_head(levels, classes)
    else:
        kernels.split_head(levels, classes, light=family.head == "light", bins=family.bins)
    return ModelWork(name=name, input_hw=hw, layers=tuple(kernels.layers))


def _block(kernels: Kernels, row: Row, inputs: list[Shape], size: Size) -> Shape:
    x = inputs[0].with_channels(sum(i.channels for i in inputs))
    channels = ceil(min(row.channels, size.most) * size.width / 8) * 8 if row.channels else x.channels
    repeats = max(round(row.repeats * size.depth), 1) if row.repeats > 1 else row.repeats
    inner = "c3" if size.nested and row.inner != "attention" else row.inner
    make: dict[str, Callable[[], Shape]] = {
        "conv": lambda: kernels.conv(x, channels, row.kernel, stride=row.stride),
        "focus": lambda: kernels.focus(x, channels),
        "c3": lambda: kernels.c3(x, channels, repeats, shortcut=row.shortcut),
        "c2f": lambda: kernels.c2f(x, channels, repeats, shortcut=row.shortcut),
        "c3k2": lambda: kernels.c3k2(x, channels, repeats, ratio=row.ratio, inner=inner),
        "sppf": lambda: kernels.sppf(x, channels),
        "c2psa": lambda: kernels.c2psa(x, repeats),
        "up": lambda: kernels.upsample(x),
        "cat": lambda: x,
    }
    return make[row.block]()
