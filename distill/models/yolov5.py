"""Classic YOLOv5 v6/v7 in five sizes, with three heads and the original's weight names.

The weights of the original load strictly (``coupled``), those of YOLOv5u too (``dfl``).

The table of layers is ``edgestill.architecture``.

Source: https://github.com/ultralytics/yolov5, tag v7.0 (architecture, names and formulas only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distill.models.blocks import block
from distill.models.coupled import Coupled
from distill.models.decoupled import Decoupled
from distill.models.dfl import Dfl
from distill.models.head import AnchorsPx, Head
from edgestill.architecture import PREFIX, SIZES, STRIDES, TAPS, layers, level_channels, tower_channels
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import COCO_ANCHORS_PX, ModelSpec
from edgestill.spec import Head as Kind

__all__ = ["TAPS", "Yolov5", "build", "from_spec", "fused", "misfit", "spec"]

Network = TypeVar("Network", bound=nn.Module)


class Yolov5(nn.Module):
    """The network; ``model[i]`` is layer ``i`` of the original's list, the head is the last.

    Attributes:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        channels: Channels of the maps that the head reads, by level ``p3``, ``p4``, ``p5``.
        anchors_px: Anchor width and height in input pixels, by level; empty for an anchor-free head.
    """

    def __init__(
        self,
        size: str,
        nc: int,
        anchors_px: AnchorsPx,
        strides: Sequence[int],
        head: Kind,
        *,
        share_levels: bool,
    ) -> None:
        super().__init__()
        self._table = layers(size)
        self._kept = {s for layer in self._table for s in layer.sources if s != layer.index - 1}
        self.size = size
        self.channels = level_channels(size)
        self.anchors_px = tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors_px)
        self.model = nn.ModuleList(block(layer) for layer in self._table)
        # The head comes last: backbone and neck then start from the same numbers, whatever the head.
        self.model.append(_head(size, nc, self.anchors_px, strides, head, share_levels=share_levels))

    @property
    def nc(self) -> int:
        """Number of classes."""
        return self.head.nc

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell, by level."""
        return self.head.strides

    @property
    def name(self) -> str:
        """The architecture's name, e.g. ``"yolov5n"``."""
        return PREFIX + self.size

    @property
    def head(self) -> Head:
        """The detection head."""
        head = self.model[-1]
        assert isinstance(head, Head)
        return head

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw maps, the same in training and evaluation.

        Args:
            x: RGB images in [0, 1], float ``[B, 3, H, W]``; sides are multiples of the largest stride.

        Returns:
            ``[B, anchors, h, w, columns]`` by level, see the head; of the anchor heads tx, ty, tw, th,
            objectness and class logits.
        """
        kept: dict[int, Tensor] = {}
        for layer, module in zip(self._table, self.model, strict=False):  # the head follows the table
            x = module(*(x if s == layer.index - 1 else kept[s] for s in layer.sources))
            if layer.index in self._kept or layer.index in TAPS.values():
                kept[layer.index] = x
        raw: list[Tensor] = self.head([kept[index] for index in TAPS.values()])
        return raw

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities of raw maps, float32, in the head's ``layout``."""
        return self.head.decode(raw)


def build(
    size: str,
    nc: int,
    anchors_px: AnchorsPx = COCO_ANCHORS_PX,
    strides: Sequence[int] = STRIDES,
    *,
    head: Kind = "coupled",
    share_levels: bool = False,
) -> Yolov5:
    """A fresh network.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        nc: Number of classes.
        anchors_px: Anchor width and height in input pixels, by level; a ``dfl`` head has none.
        strides: Input pixels per cell, by level.
        head: Kind of detection head.
        share_levels: Whether the towers of a ``decoupled`` head serve all levels.

    Raises:
        UsageError: No such size, or ``share_levels`` of another head.
        DeviceError: The head needs a library that is not installed.
    """
    if share_levels and head != "decoupled":
        raise UsageError(
            f"share_levels is of the decoupled head, and head is {head}",
            hint="--set student.head=decoupled, or --set student.share_levels=false",
        )
    anchors = () if head == "dfl" else anchors_px
    return Yolov5(size, nc, anchors, strides, head, share_levels=share_levels)


def from_spec(spec: ModelSpec) -> Yolov5:
    """A fresh network for a spec.

    Raises:
        ArtifactError: The spec asks for a network that this module does not build.
        DeviceError: The head needs a library that is not installed.
    """
    size = {PREFIX + s: s for s in SIZES}.get(spec.name)
    levels = 0 if spec.head == "dfl" else len(STRIDES)
    if size is None or spec.strides != STRIDES or len(spec.anchors_px) != levels:
        raise ArtifactError(
            f"cannot build {spec.name!r} with head {spec.head!r}, strides {list(spec.strides)} "
            f"and {len(spec.anchors_px)} levels of anchors",
            hint=f"known: {PREFIX}{{{','.join(SIZES)}}}, strides {list(STRIDES)}, {levels} levels of anchors",
        )
    return build(size, spec.nc, spec.anchors_px, spec.strides, head=spec.head, share_levels=spec.share_levels)


def _head(
    size: str, nc: int, anchors_px: AnchorsPx, strides: Sequence[int], kind: Kind, *, share_levels: bool
) -> Head:
    """A fresh head on the neck of a size."""
    channels = list(level_channels(size).values())
    if kind == "dfl":
        return Dfl(nc, channels, strides)
    if kind == "decoupled":
        hidden = tower_channels(size)
        return Decoupled(nc, channels, hidden, anchors_px, strides, share_levels=share_levels)
    return Coupled(nc, channels, anchors_px, strides)


def misfit(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The first difference between a spec's weights and named shapes, in words; None where all fit.

    Raises:
        ArtifactError: The spec asks for a network that this module does not build.
    """
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in from_spec(spec).state_dict().items()}
    if missing := [name for name in wanted if name not in shapes]:
        return f"{len(missing)} tensors are missing, the first is {missing[0]}"
    if surplus := [name for name in shapes if name not in wanted]:
        return f"{len(surplus)} tensors are unknown, the first is {surplus[0]}"
    odd = next((name for name in wanted if wanted[name] != shapes[name]), None)
    return None if odd is None else f"{odd} is {list(shapes[odd])}, expected {list(wanted[odd])}"


def spec(model: Yolov5, classes: Sequence[str], input_hw: tuple[int, int]) -> ModelSpec:
    """The contract of a network.

    Args:
        model: The network.
        classes: Class names, one for each of its classes.
        input_hw: Height and width of the input tensor, pixels.

    Raises:
        ArtifactError: The names do not fit the network.
    """
    if len(classes) != model.nc:
        raise ArtifactError(
            f"the network has {model.nc} classes, but {len(classes)} are named",
            hint="name each class once, in the order of the class ids",
        )
    return ModelSpec(
        name=model.name,
        input_hw=input_hw,
        classes=tuple(classes),
        strides=model.strides,
        anchors_px=model.anchors_px,
        head=model.head.kind,
        share_levels=model.head.share_levels,
        layout=model.head.layout,
    )


def fused(model: Network) -> Network:
    """A copy for inference with the batch norms folded into the convolutions; faster, not for training."""
    copy = deepcopy(model).eval()
    for module in copy.modules():
        # Ours, and those of networks of ``ultralytics``, where not every batch norm follows a convolution.
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return copy
