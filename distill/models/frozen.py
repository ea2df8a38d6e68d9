"""Frozen networks for use as teachers, of this project or of other packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from distill.method import NetworkOutputs
from distill.models.feature_hooks import forward_features
from distill.models.yolov5 import Yolov5, fuse_batch_norms
from edgestill.architecture import TAPS
from edgestill.spec import HeadKind, ModelSpec


@runtime_checkable
class EndToEndHead(Protocol):
    """A head that may have a second branch, which predicts one box for each object."""

    def one_to_one_logits(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Class logits ``[B, 1, h, w, nc]`` by level; empty without such a branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherInfo:
    """Properties of a teacher network.

    Attributes:
        name: Architecture, e.g. ``"yolov5s"``.
        classes: Class names; the index is the class id.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; empty for an anchor-free head.
        channels: Channels of its feature maps, by level ``p3``, ``p4``, ``p5``.
        layers: Index in the network's ``model`` of the layer that outputs each map, by level.
        head: Kind of head; None if its raw maps hold class logits only.
    """

    name: str
    classes: tuple[str, ...]
    strides: tuple[int, ...]
    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    channels: Mapping[str, int]
    layers: Mapping[str, int]
    head: HeadKind | None


class FrozenTeacher(nn.Module):
    """Frozen copy of a network with folded batch norms; returns ``NetworkOutputs``.

    It stays in evaluation mode when a training loop calls ``train``.

    Args:
        network: Network with its layers in a list ``model``, as in the original YOLOv5; returns raw maps.
        info: Its properties.
    """

    def __init__(self, network: nn.Module, info: TeacherInfo) -> None:
        super().__init__()
        self.network = fuse_batch_norms(network)
        self.info = info
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in evaluation mode; ``mode`` is ignored."""
        return super().train(False)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Neck features, raw head maps and one-to-one class logits, in the dtype of the forward pass.

        Args:
            images: RGB in [0, 1], float ``[B, 3, H, W]``.
        """
        outputs = forward_features(self.network, images, self.info.head, self.info.layers)
        *_, head = self.network.get_submodule("model").children()
        if isinstance(head, EndToEndHead):
            one_to_one = head.one_to_one_logits([outputs.features[level] for level in self.info.layers])
            outputs = replace(outputs, one_to_one=one_to_one)
        return outputs


def teacher_info(network: Yolov5, spec: ModelSpec) -> TeacherInfo:
    """Properties of a network of this project."""
    return TeacherInfo(
        name=spec.name,
        classes=spec.classes,
        strides=spec.strides,
        anchors_px=spec.anchors_px,
        channels=network.channels,
        layers=TAPS,
        head=spec.head,
    )
