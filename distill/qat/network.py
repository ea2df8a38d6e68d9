"""YOLOv5 with fake quantisation at the places where the exported graph has Q/DQ pairs.

Batch norms are folded into their convolutions before the first step. An active batch norm would change the
scale of each channel of a quantised weight with every batch, and a frozen one is only a factor of the
convolution. Checkpoints hold an ordinary float network, whose batch norms are the identity plus the bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.models.blocks import C3, SPPF, Bottleneck, Concat
from distill.models.yolov5 import Yolov5, from_spec, fuse_batch_norms
from distill.qat.fake_quant_blocks import (
    InputQuantizers,
    QuantizedBottleneck,
    QuantizedC3,
    QuantizedConcat,
    QuantizedConv,
    QuantizedSppf,
    QuantizedUpsample,
)
from distill.qat.fake_quantize import FakeQuantize
from edgestill.architecture import BN_EPS
from edgestill.errors import UsageError
from edgestill.quantization import QuantizationScheme
from edgestill.spec import ModelSpec

MAX_UINT8 = 255
SPPF_POOLS = 3


class QuantizedYolov5(Yolov5):
    """YOLOv5 with fake quantisation.

    Args:
        network: The float network; it is copied.
        scheme: Which tensors are quantised, and their initial steps.
        speed: See ``settings.QatConfig.step_speed``.

    Raises:
        UsageError: The head shares its towers between levels; each level would need its own scales.
    """

    def __init__(self, network: Yolov5, scheme: QuantizationScheme, *, speed: float = 1.0) -> None:
        head = network.head
        if head.share_levels:
            raise UsageError(
                "quantisation-aware training does not support towers shared by all levels",
                hint="--set student.share_levels=false",
            )
        with torch.device("meta"):  # only the structure is needed: the layers are replaced below
            super().__init__(
                network.size, network.nc, network.anchors_px, network.strides, head.kind, share_levels=False
            )
        self.model = fuse_batch_norms(network).model
        self.scheme = scheme
        self.grids = nn.ModuleList(self._tensor_quantizers(speed))
        self._index = dict(zip(sorted(scheme.quant_params), range(len(scheme.quant_params)), strict=True))
        for name, module in list(self.named_modules()):
            if (quantized := self._quantized_conv(name, module, speed)) is not None:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, quantized)
        # A second pass: the new blocks take over the convolutions that the first pass replaced.
        for name, module in list(self.named_modules()):
            if (block := self._quantized_block(name, module)) is not None:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, block)

    @torch.no_grad()
    def set_weights(
        self, weights: Mapping[str, NDArray[np.float32]], biases: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Set weights and biases of convolutions, by the names of their ONNX nodes."""
        for name, conv in self._convolutions():
            if (node := f"{name}.conv") in weights:
                assert conv.conv.bias is not None
                conv.conv.weight.copy_(torch.from_numpy(weights[node]))
                conv.conv.bias.copy_(torch.from_numpy(biases[node]))

    def to_float(self, spec: ModelSpec) -> tuple[Yolov5, QuantizationScheme]:
        """The network as a float ``Yolov5``, and the scheme with the current steps.

        INT8 weights are stored dequantised, so that storing them as FP16 cannot change their integers. Batch
        norms add the bias and are the identity otherwise.

        Args:
            spec: The network's contract.
        """
        network = from_spec(spec)
        stored = network.state_dict()
        ours = self.state_dict()
        stored |= {name: tensor for name, tensor in ours.items() if name in stored}
        weights: dict[str, NDArray[np.float32]] = {}
        for name, conv in self._convolutions():
            weight, bias = conv.conv.weight.detach(), conv.conv.bias
            if conv.weight_steps is not None:
                weights[f"{name}.conv"] = _array(conv.weight_steps.step)
                weight = conv.weight_steps(weight)
            assert bias is not None
            stored[f"{name}.conv.weight"] = weight
            stored[f"{name}.bn.weight"] = torch.ones_like(bias)
            stored[f"{name}.bn.bias"] = bias.detach()
            stored[f"{name}.bn.running_mean"] = torch.zeros_like(bias)
            stored[f"{name}.bn.running_var"] = torch.full_like(bias, 1 - BN_EPS)
        network.load_state_dict(stored)
        grids = {
            name: replace(grid, scale=self._quantizer(name).step.item())
            for name, grid in self.scheme.quant_params.items()
        }
        return network.eval(), replace(self.scheme, quant_params=grids, weights=weights)

    def _tensor_quantizers(self, speed: float) -> Iterator[FakeQuantize]:
        for name in sorted(self.scheme.quant_params):
            grid = self.scheme.quant_params[name]
            yield FakeQuantize(
                torch.tensor(grid.scale),
                -grid.zero_point,
                MAX_UINT8 - grid.zero_point,
                speed=speed,
                is_learned=grid.is_learnt,
            )

    def _quantizer(self, grid: str) -> FakeQuantize:
        quantizer = self.grids[self._index[grid]]
        assert isinstance(quantizer, FakeQuantize)
        return quantizer

    def _quantizers(self, node: str) -> InputQuantizers:
        """The input quantisers of an ONNX node; empty if it reads all inputs in float."""
        return tuple(self._quantizer(g) if g else None for g in self.scheme.reads.get(node, ()))

    def _convolutions(self) -> Iterator[tuple[str, QuantizedConv]]:
        for name, module in self.named_modules():
            if isinstance(module, QuantizedConv):
                yield name, module

    def _quantized_conv(self, name: str, module: nn.Module, speed: float) -> nn.Module | None:
        """Replacement for a convolution with SiLU, of this project or of ``ultralytics``; None for others."""
        conv = getattr(module, "conv", None)
        if not (isinstance(conv, nn.Conv2d) and hasattr(module, "act")):
            return None
        node, steps, bias_steps = f"{name}.conv", None, None
        if node in self.scheme.weights:
            first = torch.tensor(self.scheme.weights[node])
            limit = self.scheme.weight_limit.of(conv.weight.shape)
            steps = FakeQuantize(first, -limit.largest, limit.largest, speed=speed, pair=limit.pair)
            if self.scheme.has_integer_bias:
                bias_steps = self._quantizer(self.scheme.inputs[node])
        nodes = {"conv": node, "sigmoid": f"{name}.act.sigmoid", "product": f"{name}.act"}
        return QuantizedConv(conv, {k: self._quantizers(n) for k, n in nodes.items()}, steps, bias_steps)

    def _quantized_block(self, name: str, module: nn.Module) -> nn.Module | None:
        """Replacement for a block with further quantised inputs; None for others."""
        if isinstance(module, Bottleneck):
            return QuantizedBottleneck(module, self._quantizers(f"{name}.add"))
        if isinstance(module, C3):
            return QuantizedC3(module, self._quantizers(f"{name}.cat"))
        if isinstance(module, SPPF):
            pools = [self._quantizers(f"{name}.pool.{k}") for k in range(SPPF_POOLS)]
            return QuantizedSppf(module, pools, self._quantizers(f"{name}.cat"))
        if isinstance(module, Concat):
            return QuantizedConcat(self._quantizers(name))
        if isinstance(module, nn.Upsample):
            return QuantizedUpsample(self._quantizers(name))
        return None


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().cpu().numpy(), np.float32)
