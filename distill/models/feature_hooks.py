"""Read feature maps of a network without touching it: forward hooks on the outputs of its neck layers.

The outputs are hooked, not the head's inputs: a head may overwrite the list that it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from distill.method import NetworkOutputs
from edgestill.architecture import TAPS
from edgestill.spec import Head


class FeatureHooks:
    """The maps of the latest forward pass. Use it as a context manager, or ``close`` it.

    Args:
        model: A network that keeps its layers in a list ``model``, as the original YOLOv5 does.
        layers: Which of them make the maps, by level.

    Attributes:
        features: ``[B, C, h, w]`` by level, in the format that the network computed in.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, int] = TAPS) -> None:
        self.features: dict[str, Tensor] = {}
        self._handles = [
            model.get_submodule(f"model.{index}").register_forward_hook(self._keeper(level))
            for level, index in layers.items()
        ]

    def __enter__(self) -> FeatureHooks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.features = {}  # not cleared: a NetworkOutputs may hold it

    def _keeper(self, level: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.features[level] = output

        return keep


def forward_features(
    model: nn.Module, images: Tensor, head: Head | None, layers: Mapping[str, int] = TAPS
) -> NetworkOutputs:
    """Maps of the neck and raw predictions of one forward pass, in the format that it is computed in.

    Args:
        model: A network that gives raw maps, in whatever mode it is.
        images: RGB in [0, 1], float ``[B, 3, H, W]``.
        head: What kind of head it has.
        layers: Where its maps are, see ``FeatureHooks``.
    """
    with FeatureHooks(model, layers) as taps:
        raw = model(images)
        return NetworkOutputs(taps.features, raw, head)
