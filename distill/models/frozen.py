"""A network that is only looked at: what a teacher is, whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from distill.method import NetworkOutputs
from distill.models.feature_hooks import forward_features
from distill.models.yolov5 import Yolov5, fused
from edgestill.architecture import TAPS
from edgestill.spec import Head, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What must be known of a teacher to compare a student with it.

    Attributes:
        name: Architecture, e.g. ``"yolov5s"``.
        classes: Class names; the position is the class id.
        strides: Input pixels per cell, by level.
        anchors_px: Anchor width and height in input pixels, by level; empty for an anchor-free head.
        channels: Channels of its maps, by level ``p3``, ``p4``, ``p5``.
        layers: Which entries of the network's ``model`` make these maps, by level.
        head: Kind of head; None where its raw maps hold class logits alone.
    """

    name: str
    classes: tuple[str, ...]
    strides: tuple[int, ...]
    anchors_px: tuple[tuple[tuple[float, float], ...], ...]
    channels: Mapping[str, int]
    layers: Mapping[str, int]
    head: Head | None


class FrozenTeacher(nn.Module):
    """A frozen copy of a network, batch norms folded, that gives a ``NetworkOutputs`` of a batch.

    A loop that calls ``train`` does not wake it: in training mode its layers would use the statistics of the
    batch, and drift.

    Args:
        network: Keeps its layers in a list ``model``, as the original YOLOv5 does, and gives raw maps.
        facts: What it is.
    """

    def __init__(self, network: nn.Module, facts: Facts) -> None:
        super().__init__()
        self.network = fused(network)
        self.facts = facts
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenTeacher:
        """Stay in evaluation mode, whatever is asked for."""
        return super().train(False)

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Maps and raw predictions, in the format that they are computed in.

        Args:
            images: RGB in [0, 1], float ``[B, 3, H, W]``.
        """
        return forward_features(self.network, images, self.facts.head, self.facts.layers)


def facts_of(network: Yolov5, spec: ModelSpec) -> Facts:
    """What is known of a network of this project."""
    return Facts(
        name=spec.name,
        classes=spec.classes,
        strides=spec.strides,
        anchors_px=spec.anchors_px,
        channels=network.channels,
        layers=TAPS,
        head=spec.head,
    )
