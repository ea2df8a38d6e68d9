"""Read feature maps of a network without touching it: forward hooks on the outputs of its neck layers.

The outputs are hooked, not the head's inputs: a head may overwrite the list that it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from distill.models.yolov5 import TAPS, Yolov5


class Taps:
    """The maps of the latest forward pass. Use it as a context manager, or ``close`` it.

    Attributes:
        features: ``[B, C, h, w]`` by level, in the format that the network computed in.
    """

    def __init__(self, model: Yolov5, layers: Mapping[str, int] = TAPS) -> None:
        self.features: dict[str, Tensor] = {}
        self._handles = [
            model.model[index].register_forward_hook(self._keeper(level)) for level, index in layers.items()
        ]

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.features = {}

    def _keeper(self, level: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self.features[level] = output

        return keep
