"""Where and in which number format the network computes while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgestill.errors import DeviceError


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How forward and backward passes are computed. Weights, losses and the optimiser stay in float32.

    Attributes:
        device: Where.
        dtype: What convolutions compute in.
        channels_last: Whether maps lie in memory pixel by pixel.
    """

    device: torch.device
    dtype: torch.dtype
    channels_last: bool

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def to_device(self, model: nn.Module) -> nn.Module:
        """Move a network to the device, in the memory layout."""
        if self.channels_last:
            return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        return model.to(self.device)

    def images(self, images: Tensor, scale: float) -> Tensor:
        """Network input ``[B, 3, H, W]`` float32 from uint8 that is channels last in memory."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.to(self.device, torch.float32, non_blocking=True, memory_format=layout).mul_(scale)

    @property
    def scales_gradients(self) -> bool:
        """Whether small gradients would vanish: fp16 has five bits of exponent, bf16 has eight."""
        return self.dtype == torch.float16

    def describe(self) -> str:
        """For logs and results, e.g. ``"cpu bf16 channels_last"``."""
        name = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]
        return f"{self.device.type} {name}{' channels_last' if self.channels_last else ''}"


def resolve(device: str, precision: str) -> ComputeConfig:
    """Resolve a recipe's ``device`` and ``precision`` on this machine.

    Measured on a CPU with AVX512_BF16, 2 threads: bf16 doubles the speed of training, but only with channels
    last; without it YOLOv5s falls to a quarter of its fp32 speed. So the two always go together.

    Raises:
        DeviceError: This machine has not the device, or the device does not train in that precision.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise DeviceError(
            "the recipe asks for device = cuda and torch finds no GPU", hint="--set device=auto"
        )
    if has_gpu and device != "cpu":
        formats = {
            "auto": torch.float16,
            "fp16": torch.float16,
            "bf16": torch.bfloat16,
            "fp32": torch.float32,
        }
        return ComputeConfig(device=torch.device("cuda"), dtype=formats[precision], channels_last=True)
    if precision == "fp16":
        raise DeviceError(
            "fp16 trains on a GPU only, and this run is on the CPU", hint="--set precision=auto"
        )
    bf16 = precision == "bf16" or (precision == "auto" and cpu_has_bf16())
    return ComputeConfig(
        device=torch.device("cpu"), dtype=torch.bfloat16 if bf16 else torch.float32, channels_last=True
    )


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 by itself (AVX512_BF16 or AMX); emulated, it is slower than fp32."""
    checks = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks if check is not None)
