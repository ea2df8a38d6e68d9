"""The YOLOv5 v6/v7 P5 network as a table, so that training and export build the same graph.

The table is fixed; a size only scales its widths and depths. Weight names follow from it: layer ``i`` of kind
``conv`` owns ``model.i.conv`` and ``model.i.bn``; ``c3`` owns ``cv1``, ``cv2``, ``cv3`` and ``m.k.cv1``,
``m.k.cv2``; ``sppf`` owns ``cv1``, ``cv2``. The head is ``model.24``:

- ``coupled`` owns ``m.level`` and ``anchors``;
- ``decoupled`` owns ``stems.level``, ``cls_convs.owner.{0,1}`` and ``reg_convs.owner.{0,1}`` (kind ``conv``),
  ``cls_preds.owner``, ``reg_preds.owner``, ``obj_preds.owner`` and ``anchors``; ``owner`` is the level, or 0
  where the levels share their towers;
- ``dfl`` owns ``cv2.level.{0,1,2}`` and ``cv3.level.{0,1,2}`` (0 and 1 of kind ``conv``) and ``dfl.conv``.

Source: models/yolov5{n,s,m,l,x}.yaml of https://github.com/ultralytics/yolov5, tag v7.0 (facts only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from types import MappingProxyType
from typing import Literal, NamedTuple

from edgestill.errors import unknown_name

Kind = Literal["conv", "c3", "sppf", "upsample", "concat"]

IMAGE = -1  # the source of the first layer
IMAGE_CHANNELS = 3
HEAD_INDEX = 24  # position of the detection head, behind the last layer of the table
TAPS: Mapping[str, int] = MappingProxyType({"p3": 17, "p4": 20, "p5": 23})  # what the head reads
STRIDES = (8, 16, 32)  # input pixels per cell at the taps
BN_EPS = 1e-3
BN_MOMENTUM = 0.03
PREFIX = "yolov5"
TOWER_CHANNELS = 256  # of a ``decoupled`` head, at width 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What makes a size: factors on the table's repeats and channels."""

    depth: float
    width: float


SIZES: Mapping[str, Scale] = MappingProxyType(
    {
        "n": Scale(depth=0.33, width=0.25),
        "s": Scale(depth=0.33, width=0.50),
        "m": Scale(depth=0.67, width=0.75),
        "l": Scale(depth=1.0, width=1.0),
        "x": Scale(depth=1.33, width=1.25),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One row of the table, at one size.

    Attributes:
        index: Position in ``model``; part of the weight names.
        sources: Positions of the layers that it reads, in order; ``IMAGE`` for the input tensor.
        kind: ``conv`` (no bias, batch norm, SiLU), ``c3`` (two 1x1 branches of half the output's width, one
            through ``repeats`` bottlenecks of 1x1 then 3x3, joined by a 1x1), ``sppf`` (1x1 to half the
            input's width, three chained max pools of ``kernel``, the four maps joined by a 1x1),
            ``upsample`` (nearest, times two), ``concat`` (over channels).
        in_channels: Channels of the input, summed over the sources.
        out_channels: Channels of the output.
        repeats: Bottlenecks of a ``c3``; 1 elsewhere.
        kernel: Side of a ``conv``'s kernel or of an ``sppf``'s pool; 1 elsewhere.
        stride: Stride of a ``conv``; 1 elsewhere.
        padding: Zero border of a ``conv``; of the ``sppf``'s pools (minus infinity there); 0 elsewhere.
        shortcut: Whether the bottlenecks of a ``c3`` add their input.
    """

    index: int
    sources: tuple[int, ...]
    kind: Kind
    in_channels: int
    out_channels: int
    repeats: int = 1
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    shortcut: bool = False


class _Row(NamedTuple):
    """A row at depth 1 and width 1; ``sources`` of -1 mean the row before, ``channels`` of 0 the input's."""

    kind: Kind
    channels: int = 0
    repeats: int = 1
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    shortcut: bool = False
    sources: tuple[int, ...] = (-1,)


_TABLE: tuple[_Row, ...] = (
    _Row("conv", 64, kernel=6, stride=2, padding=2),  # 0: stem
    _Row("conv", 128, kernel=3, stride=2, padding=1),
    _Row("c3", 128, repeats=3, shortcut=True),
    _Row("conv", 256, kernel=3, stride=2, padding=1),
    _Row("c3", 256, repeats=6, shortcut=True),  # 4: backbone P3
    _Row("conv", 512, kernel=3, stride=2, padding=1),
    _Row("c3", 512, repeats=9, shortcut=True),  # 6: backbone P4
    _Row("conv", 1024, kernel=3, stride=2, padding=1),
    _Row("c3", 1024, repeats=3, shortcut=True),
    _Row("sppf", 1024, kernel=5, padding=2),  # 9: backbone P5
    _Row("conv", 512),  # 10: top-down path
    _Row("upsample"),
    _Row("concat", sources=(-1, 6)),
    _Row("c3", 512, repeats=3),
    _Row("conv", 256),
    _Row("upsample"),
    _Row("concat", sources=(-1, 4)),
    _Row("c3", 256, repeats=3),  # 17: neck P3
    _Row("conv", 256, kernel=3, stride=2, padding=1),  # 18: bottom-up path
    _Row("concat", sources=(-1, 14)),
    _Row("c3", 512, repeats=3),  # 20: neck P4
    _Row("conv", 512, kernel=3, stride=2, padding=1),
    _Row("concat", sources=(-1, 10)),
    _Row("c3", 1024, repeats=3),  # 23: neck P5
)


@lru_cache
def layers(size: str) -> tuple[Layer, ...]:
    """The network of a size up to the head, in the order of execution.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.

    Raises:
        UsageError: No such size.
    """
    if size not in SIZES:
        raise unknown_name("YOLOv5 size", size, SIZES)
    scale = SIZES[size]
    built: list[Layer] = []
    for index, row in enumerate(_TABLE):
        sources = tuple(index - 1 if s == -1 else s for s in row.sources)
        in_channels = sum(IMAGE_CHANNELS if s == IMAGE else built[s].out_channels for s in sources)
        built.append(
            Layer(
                index=index,
                sources=sources,
                kind=row.kind,
                in_channels=in_channels,
                out_channels=_scaled(row.channels, scale) or in_channels,
                repeats=max(round(row.repeats * scale.depth), 1),
                kernel=row.kernel,
                stride=row.stride,
                padding=row.padding,
                shortcut=row.shortcut,
            )
        )
    return tuple(built)


def _scaled(channels: int, scale: Scale) -> int:
    """Channels of a size: multiples of 8."""
    return ceil(channels * scale.width / 8) * 8


def level_channels(size: str) -> dict[str, int]:
    """Channels of the maps that the head reads, by level ``p3``, ``p4``, ``p5``."""
    table = layers(size)
    return {level: table[index].out_channels for level, index in TAPS.items()}


def tower_channels(size: str) -> int:
    """Channels of the stems and towers of a ``decoupled`` head."""
    return _scaled(TOWER_CHANNELS, SIZES[size])


def size_of(name: str) -> str:
    """The size letter of an architecture name, e.g. ``"n"`` of ``"yolov5n"``.

    Raises:
        UsageError: No architecture has that name.
    """
    size = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or size not in SIZES:
        raise unknown_name("model", name, [PREFIX + s for s in SIZES])
    return size
