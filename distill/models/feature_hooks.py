"""Feature maps of an unmodified network, by forward hooks on its neck layers.

The hooks are on the outputs of the neck and not on the inputs of the head, because a head may modify its
input list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from distill.method import NetworkOutputs
from edgestill.architecture import TAPS
from edgestill.spec import HeadKind


class FeatureHooks:
    """Collects the feature maps of the latest forward pass. Use it as a context manager, or call ``close``.

    Args:
        model: A network with its layers in a list ``model``, as in the original YOLOv5.
        layers: Index of the layer that outputs each map, by level.

    Attributes:
        features: ``[B, C, h, w]`` by level, in the dtype of the forward pass.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, int] = TAPS) -> None:
        self.features: dict[str, Tensor] = {}
        self._handles = [
            model.get_submodule(f"model.{index}").register_forward_hook(self._hook(level))
            for level, index in layers.items()
        ]

    def __enter__(self) -> FeatureHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.features = {}  # a new dict: a NetworkOutputs may hold the old one

    def _hook(self, level: str) -> Any:
        def store(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.features[level] = output

        return store


def forward_features(
    model: nn.Module, images: Tensor, head: HeadKind | None, layers: Mapping[str, int] = TAPS
) -> NetworkOutputs:
    """Run one forward pass; returns neck features and raw head maps in the dtype of the pass.

    Args:
        model: A network that returns raw maps, in training or evaluation mode.
        images: RGB in [0, 1], float ``[B, 3, H, W]``.
        head: Kind of its head.
        layers: Layers of the feature maps, see ``FeatureHooks``.
    """
    with FeatureHooks(model, layers) as hooks:
        raw = model(images)
        return NetworkOutputs(hooks.features, raw, head)
