"""The blocks of ``distill.models.blocks`` with fake quantisation; state-dict names of weights are the same.

A quantiser belongs to the reader of a tensor, not to its producer: of two readers of one map, one may be a
detection output, which reads it in float. ``InputQuantizers`` holds the quantisers of the inputs of one ONNX
node, in the order of the exported graph: see ``edgestill.quantization``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.models.blocks import C3, SPPF, Bottleneck
from distill.qat.fake_quantize import FakeQuantize

#: By input; None reads it in float. A tuple, so that torch does not register a shared ``FakeQuantize`` in
#: each of its readers and save it several times.
InputQuantizers = tuple[FakeQuantize | None, ...]


def quantize_input(quantizers: InputQuantizers, index: int, x: Tensor) -> Tensor:
    """Input ``index`` of a node, quantised if it has a quantiser."""
    quantizer = quantizers[index] if index < len(quantizers) else None
    out: Tensor = x if quantizer is None else quantizer(x)
    return out


class QuantizedConv(nn.Module):
    """Convolution with folded batch norm, then SiLU.

    Args:
        conv: The convolution, with a bias.
        quantizers: Input quantisers of the nodes ``conv``, ``sigmoid`` and ``product``.
        weight_steps: Quantiser of the weights; None for a float convolution.
        bias_steps: Quantiser of the input, if the bias is an integer multiple of (input step * weight step).
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        quantizers: dict[str, InputQuantizers],
        weight_steps: FakeQuantize | None,
        bias_steps: FakeQuantize | None,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.weight_steps = weight_steps
        self._input, self._sigmoid, self._product = (quantizers[k] for k in ("conv", "sigmoid", "product"))
        self._bias_steps = (bias_steps,)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H/stride, W/stride]``."""
        conv = self.conv
        y = F.conv2d(quantize_input(self._input, 0, x), *self.quantized_weights(), conv.stride, conv.padding)
        if not (self._sigmoid or self._product):
            return F.silu(y)
        gate = torch.sigmoid(quantize_input(self._sigmoid, 0, y))
        return quantize_input(self._product, 0, y) * quantize_input(self._product, 1, gate)

    def quantized_weights(self) -> tuple[Tensor, Tensor]:
        """Fake-quantised weight ``[Cout, Cin, k, k]`` and bias ``[Cout]``."""
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        if self.weight_steps is None:
            return weight, bias
        inputs = self._bias_steps[0]
        if inputs is not None:
            step = (self.weight_steps.step * inputs.step).detach()
            bias = bias + (torch.round(bias / step) * step - bias).detach()
        return self.weight_steps(weight), bias


class QuantizedBottleneck(nn.Module):
    """Bottleneck with quantised inputs of the addition."""

    def __init__(self, block: Bottleneck, quantizers: InputQuantizers) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = block.cv1, block.cv2, block.shortcut
        self._quantizers = quantizers

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to the same shape."""
        out: Tensor = self.cv2(self.cv1(x))
        return (
            quantize_input(self._quantizers, 0, x) + quantize_input(self._quantizers, 1, out)
            if self.shortcut
            else out
        )


class QuantizedC3(nn.Module):
    """C3 with quantised inputs of the concatenation."""

    def __init__(self, block: C3, quantizers: InputQuantizers) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3, self.m = block.cv1, block.cv2, block.cv3, block.m
        self._quantizers = quantizers

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        joined = (self.m(self.cv1(x)), self.cv2(x))
        out: Tensor = self.cv3(
            torch.cat([quantize_input(self._quantizers, i, y) for i, y in enumerate(joined)], 1)
        )
        return out


class QuantizedSppf(nn.Module):
    """SPPF with quantised inputs of its max pools and of the concatenation."""

    def __init__(self, block: SPPF, pools: list[InputQuantizers], quantizers: InputQuantizers) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = block.cv1, block.cv2, block.m
        self._pools, self._quantizers = pools, quantizers

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, Cin, H, W]`` to ``[B, Cout, H, W]``."""
        maps = [self.cv1(x)]
        for quantizers in self._pools:
            maps.append(self.m(quantize_input(quantizers, 0, maps[-1])))
        out: Tensor = self.cv2(
            torch.cat([quantize_input(self._quantizers, i, y) for i, y in enumerate(maps)], 1)
        )
        return out


class QuantizedConcat(nn.Module):
    """Concatenation over channels, with quantised inputs."""

    def __init__(self, quantizers: InputQuantizers) -> None:
        super().__init__()
        self._quantizers = quantizers

    def forward(self, *maps: Tensor) -> Tensor:
        """Concatenate ``[B, Ci, H, W]`` to ``[B, sum(Ci), H, W]``."""
        return torch.cat([quantize_input(self._quantizers, i, y) for i, y in enumerate(maps)], 1)


class QuantizedUpsample(nn.Module):
    """Nearest-neighbour upsampling by 2, with a quantised input."""

    def __init__(self, quantizers: InputQuantizers) -> None:
        super().__init__()
        self._quantizers = quantizers

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C, 2H, 2W]``."""
        return F.interpolate(quantize_input(self._quantizers, 0, x), scale_factor=2, mode="nearest")
