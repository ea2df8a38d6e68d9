"""Model size: number of parameters and FLOPs, counted as in the papers."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from edgestill.architecture import IMAGE_CHANNELS


def parameter_count(model: nn.Module) -> int:
    """Number of parameters, including frozen ones, without buffers."""
    return sum(p.numel() for p in model.parameters())


def flops(
    model: nn.Module, input_hw: tuple[int, int], *, norms: bool = False, part: nn.Module | None = None
) -> int:
    """Floating-point operations (FLOPs) for one image: two for each multiply-add of a convolution.

    Args:
        model: A network that takes images; on the ``meta`` device nothing is computed.
        input_hw: Height and width of the input, pixels.
        norms: Whether to add two for each output value of a batch norm. Published figures of YOLOv5 and its
            successors include them; a network with folded batch norms has none.
        part: Count the convolutions of this part of the network only, such as its head; None for all.
    """
    total = 0

    def count(module: nn.Module, _inputs: Any, out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * out.numel() * prod(module.weight.shape[1:])
        elif norms:
            total += 2 * out.numel()

    counted = [m for m in (part or model).modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    handles = [module.register_forward_hook(count) for module in counted]
    device = next(model.parameters()).device
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, IMAGE_CHANNELS, *input_hw, device=device))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total
