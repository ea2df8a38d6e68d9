"""Adapters and generators of distillation terms compute as the networks do; what they give is float32 again.

They are layers that are trained, and on a CPU with bf16 they cost half as much in it. The losses behind them
stay in float32, and so do the weights. A method that hands in ``NetworkOutputs.native`` gets the networks'
format back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distill.training.precision import ComputeConfig


def follow(terms: nn.Module, compute: ComputeConfig) -> None:
    """Have the convolutions of some terms computed in the networks' number format.

    A convolution from or to a single map stays as it is: it makes a mask of attention, and costs nothing.

    Args:
        terms: Distillation losses with their layers; called once.
        compute: How the networks compute.
    """
    if compute.dtype == torch.float32:
        return
    for module in terms.modules():
        if isinstance(module, nn.Conv2d) and min(module.in_channels, module.out_channels) > 1:
            module.forward = _following(module.forward, compute)  # type: ignore[method-assign,assignment]


def _following(forward: Callable[[Tensor], Tensor], compute: ComputeConfig) -> Callable[[Tensor], Tensor]:
    def follow_networks(input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        with compute.autocast():
            found = forward(input)
        # Who hands in maps as the network made them takes them so, and saves two passes over them.
        return found if input.dtype == compute.dtype else found.float()

    return follow_networks
