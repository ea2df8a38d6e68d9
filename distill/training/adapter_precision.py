"""Mixed precision for the trained layers of distillation methods (adapters and generators).

Their convolutions run in the dtype of the networks, and their outputs are converted back to float32. On a CPU
with bf16 this halves their cost. Weights and losses stay in float32. If a method passes
``NetworkOutputs.native``, the output keeps the dtype of the networks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distill.training.precision import ComputeConfig


def autocast_adapters(method_losses: nn.Module, compute: ComputeConfig) -> None:
    """Run the convolutions of distillation losses under the autocast of the networks.

    A convolution from or to one channel computes an attention mask and stays in float32; its cost is
    negligible.

    Args:
        method_losses: Distillation losses with their layers; call this once.
        compute: Device and dtype of the networks.
    """
    if compute.dtype == torch.float32:
        return
    for module in method_losses.modules():
        if isinstance(module, nn.Conv2d) and min(module.in_channels, module.out_channels) > 1:
            module.forward = _autocast_forward(module.forward, compute)  # type: ignore[method-assign,assignment]


def _autocast_forward(
    forward: Callable[[Tensor], Tensor], compute: ComputeConfig
) -> Callable[[Tensor], Tensor]:
    def forward_in_compute_dtype(input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        with compute.autocast():
            output = forward(input)
        # An input in the compute dtype gets an output in it, which saves two passes over the maps.
        return output if input.dtype == compute.dtype else output.float()

    return forward_in_compute_dtype
