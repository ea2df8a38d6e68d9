"""Exponential moving average (EMA) of the weights; the average is validated and saved."""

from __future__ import annotations

from copy import deepcopy
from math import exp
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Ema(Generic[M]):
    """Exponential moving average of a network.

    The decay is ``decay * (1 - exp(-updates / steps))``. It starts small, so the first weights hardly count.

    Attributes:
        model: The averaged network, in evaluation mode and without gradients.
        updates: Number of updates so far.

    Source: ModelEMA of https://github.com/ultralytics/yolov5, tag v7.0 (the formula).
    """

    def __init__(self, model: M, decay: float, steps: int) -> None:
        self.model: M = deepcopy(model).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay
        self._steps = steps

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average in the parameters and buffers of ``model``. Integer buffers (counters) are copied."""
        self.updates += 1
        decay = self._decay * (1 - exp(-self.updates / self._steps))
        averages, values = [], []
        now = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                averages.append(average)
                values.append(now[name])
            else:
                average.copy_(now[name])
        torch._foreach_lerp_(averages, values, 1 - decay)
