"""YOLOv5 v6/v7 in five sizes with three kinds of head, and the state-dict names of the original.

Weights of the original (``coupled``) and of YOLOv5u (``dfl``) load strictly. The table of layers is in
``edgestill.architecture``.

Source: https://github.com/ultralytics/yolov5, tag v7.0 (architecture, names and formulas only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from distill.models.blocks import build_block
from distill.models.coupled import Coupled
from distill.models.decoupled import Decoupled
from distill.models.dfl import Dfl
from distill.models.head import AnchorsPx, DetectionHead
from edgestill.architecture import PREFIX, SIZES, STRIDES, TAPS, layers, level_channels, tower_channels
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import COCO_ANCHORS_PX, HeadKind, ModelSpec

__all__ = [
    "TAPS",
    "Yolov5",
    "build",
    "from_spec",
    "fuse_batch_norms",
    "model_spec",
    "weight_mismatch",
]

Network = TypeVar("Network", bound=nn.Module)


class Yolov5(nn.Module):
    """YOLOv5; ``model[i]`` is layer ``i`` of the original, and the head is the last one.

    Attributes:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        channels: Channels of the feature maps for the head, by level ``p3``, ``p4``, ``p5``.
        anchors_px: Anchor width and height in input pixels, by level; empty for an anchor-free head.
    """

    def __init__(
        self,
        size: str,
        nc: int,
        anchors_px: AnchorsPx,
        strides: Sequence[int],
        head: HeadKind,
        *,
        share_levels: bool,
    ) -> None:
        super().__init__()
        self._table = layers(size)
        self._kept = {s for layer in self._table for s in layer.sources if s != layer.index - 1}
        self.size = size
        self.channels = level_channels(size)
        self.anchors_px = tuple(tuple((float(w), float(h)) for w, h in level) for level in anchors_px)
        self._is_body_frozen = False
        self.model = nn.ModuleList(build_block(layer) for layer in self._table)
        # The head is built last: for one seed, backbone and neck have the same weights with every head.
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
        """Name of the architecture, e.g. ``"yolov5n"``."""
        return PREFIX + self.size

    @property
    def head(self) -> DetectionHead:
        """The detection head."""
        head = self.model[-1]
        assert isinstance(head, DetectionHead)
        return head

    def forward(self, x: Tensor) -> list[Tensor]:
        """Raw maps, the same in training and evaluation.

        Args:
            x: RGB images in [0, 1], float ``[B, 3, H, W]``; sides are multiples of the largest stride.

        Returns:
            ``[B, anchors, h, w, columns]`` by level, see the head; for anchor heads tx, ty, tw, th,
            objectness and class logits.
        """
        kept: dict[int, Tensor] = {}
        for layer, module in zip(self._table, self.model, strict=False):  # the head follows the table
            x = module(*(x if s == layer.index - 1 else kept[s] for s in layer.sources))
            if layer.index in self._kept or layer.index in TAPS.values():
                kept[layer.index] = x
        raw: list[Tensor] = self.head([kept[index] for index in TAPS.values()])
        return raw

    def freeze_body(self) -> None:
        """Exclude backbone and neck from training: no gradients, batch norms stay in evaluation mode."""
        self._is_body_frozen = True
        self.model[:-1].requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Yolov5:
        """Switch to training or evaluation mode; a frozen backbone and neck stay in evaluation mode."""
        super().train(mode)
        if self._is_body_frozen:
            self.model[:-1].eval()
        return self

    def decode(self, raw: Sequence[Tensor]) -> Tensor:
        """Boxes and probabilities from raw maps, float32, in the head's ``layout``."""
        return self.head.decode(raw)


def build(
    size: str,
    nc: int,
    anchors_px: AnchorsPx = COCO_ANCHORS_PX,
    strides: Sequence[int] = STRIDES,
    *,
    head: HeadKind = "coupled",
    share_levels: bool = False,
) -> Yolov5:
    """A network with random weights.

    Args:
        size: ``n``, ``s``, ``m``, ``l`` or ``x``.
        nc: Number of classes.
        anchors_px: Anchor width and height in input pixels, by level; unused for ``dfl``.
        strides: Input pixels per cell, by level.
        head: Kind of detection head.
        share_levels: Whether all levels share the towers of a ``decoupled`` head.

    Raises:
        UsageError: The size is unknown, or ``share_levels`` is set for another head.
        DeviceError: The head needs a library that is not installed.
    """
    if share_levels and head != "decoupled":
        raise UsageError(
            f"share_levels needs the decoupled head, and head = {head}",
            hint="--set student.head=decoupled, or --set student.share_levels=false",
        )
    anchors = () if head == "dfl" else anchors_px
    return Yolov5(size, nc, anchors, strides, head, share_levels=share_levels)


def from_spec(spec: ModelSpec) -> Yolov5:
    """A network with random weights for a spec.

    Raises:
        ArtifactError: The spec is of a network that this module cannot build.
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
    size: str, nc: int, anchors_px: AnchorsPx, strides: Sequence[int], kind: HeadKind, *, share_levels: bool
) -> DetectionHead:
    """A head with random weights for the neck of a size."""
    channels = list(level_channels(size).values())
    if kind == "dfl":
        return Dfl(nc, channels, strides)
    if kind == "decoupled":
        hidden = tower_channels(size)
        return Decoupled(nc, channels, hidden, anchors_px, strides, share_levels=share_levels)
    return Coupled(nc, channels, anchors_px, strides)


def weight_mismatch(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The first difference between the tensors of a spec and the given shapes, as text; None if they match.

    Raises:
        ArtifactError: The spec is of a network that this module cannot build.
    """
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in from_spec(spec).state_dict().items()}
    if missing := [name for name in wanted if name not in shapes]:
        return f"{len(missing)} tensors are missing, the first is {missing[0]}"
    if surplus := [name for name in shapes if name not in wanted]:
        return f"{len(surplus)} tensors are unknown, the first is {surplus[0]}"
    odd = next((name for name in wanted if wanted[name] != shapes[name]), None)
    return None if odd is None else f"{odd} is {list(shapes[odd])}, expected {list(wanted[odd])}"


def model_spec(model: Yolov5, classes: Sequence[str], input_hw: tuple[int, int]) -> ModelSpec:
    """The contract (``ModelSpec``) of a network.

    Args:
        model: The network.
        classes: Class names in the order of the class ids.
        input_hw: Height and width of the input tensor, pixels.

    Raises:
        ArtifactError: The number of names is not the number of classes.
    """
    if len(classes) != model.nc:
        raise ArtifactError(
            f"the network has {model.nc} classes, but there are {len(classes)} class names",
            hint="give one name for each class, in the order of the class ids",
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


def fuse_batch_norms(model: Network) -> Network:
    """A copy in evaluation mode with batch norms folded into the convolutions; faster, not for training."""
    copy = deepcopy(model).eval()
    for module in copy.modules():
        # Fits modules of ``ultralytics`` too, where some batch norms do not follow a convolution.
        conv, norm = getattr(module, "conv", None), getattr(module, "bn", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            module.conv, module.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return copy
