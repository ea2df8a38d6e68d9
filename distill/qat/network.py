"""A network that computes with rounded numbers: every rounding where the exported graph has one.

Batch norms are folded into their convolutions before the first step. Left beside rounded weights, a batch
norm would move each channel's scale with every batch; frozen, it is the convolution's own factor, which
training moves anyway. What is stored is an ordinary network again, whose batch norms change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.models.blocks import C3, SPPF, Bottleneck, Concat
from distill.models.yolov5 import Yolov5, from_spec, fused
from distill.qat.fake_quant_blocks import (
    Edges,
    RoundedBottleneck,
    RoundedC3,
    RoundedConcat,
    RoundedConv,
    RoundedSppf,
    RoundedUpsample,
)
from distill.qat.steps import Steps
from edgestill.architecture import BN_EPS
from edgestill.errors import UsageError
from edgestill.quantization import QuantizationScheme
from edgestill.spec import ModelSpec

LEVELS = 255
POOLS = 3


class QuantizedYolov5(Yolov5):
    """A network with roundings.

    Args:
        network: In float; it is left as it is.
        scheme: Where it is rounded, and the steps that it begins with.
        speed: See ``settings.Quantisation.step_speed``.

    Raises:
        UsageError: Levels share towers: each level of a shared tower would need scales of its own.
    """

    def __init__(self, network: Yolov5, scheme: QuantizationScheme, *, speed: float = 1.0) -> None:
        head = network.head
        if head.share_levels:
            raise UsageError(
                "the towers that all levels share cannot be trained with rounding",
                hint="--set student.share_levels=false",
            )
        with torch.device("meta"):  # only what the network is made of; its layers are replaced at once
            super().__init__(
                network.size, network.nc, network.anchors_px, network.strides, head.kind, share_levels=False
            )
        self.model = fused(network).model
        self.scheme = scheme
        self.grids = nn.ModuleList(self._grids(speed))
        self._by_name = dict(zip(sorted(scheme.quant_params), range(len(scheme.quant_params)), strict=True))
        for name, module in list(self.named_modules()):
            if (rounded := self._rounded(name, module, speed)) is not None:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, rounded)
        # The blocks take over what the pass before put into those that they replace.
        for name, module in list(self.named_modules()):
            if (block := self._block(name, module)) is not None:
                parent, _, child = name.rpartition(".")
                setattr(self.get_submodule(parent), child, block)

    @torch.no_grad()
    def put(
        self, weights: Mapping[str, NDArray[np.float32]], biases: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Give convolutions the weights and biases that an export chose for them, by its names of them."""
        for name, conv in self._convolutions():
            if (node := f"{name}.conv") in weights:
                assert conv.conv.bias is not None
                conv.conv.weight.copy_(torch.from_numpy(weights[node]))
                conv.conv.bias.copy_(torch.from_numpy(biases[node]))

    def settled(self, spec: ModelSpec) -> tuple[Yolov5, QuantizationScheme]:
        """The network as an ordinary one, and the roundings with the steps of now.

        Weights that multiply as bytes are stored as the numbers that their bytes say, so that storing them as
        FP16 cannot move them to other bytes. Batch norms add the bias and do nothing else.

        Args:
            spec: The network's contract.
        """
        plain = from_spec(spec)
        stored = plain.state_dict()
        ours = self.state_dict()
        stored |= {name: tensor for name, tensor in ours.items() if name in stored}
        weights: dict[str, NDArray[np.float32]] = {}
        for name, conv in self._convolutions():
            weight, bias = conv.conv.weight.detach(), conv.conv.bias
            if conv.weight_steps is not None:
                weights[f"{name}.conv"] = _array(conv.weight_steps.now)
                weight = conv.weight_steps(weight)
            assert bias is not None
            stored[f"{name}.conv.weight"] = weight
            stored[f"{name}.bn.weight"] = torch.ones_like(bias)
            stored[f"{name}.bn.bias"] = bias.detach()
            stored[f"{name}.bn.running_mean"] = torch.zeros_like(bias)
            stored[f"{name}.bn.running_var"] = torch.full_like(bias, 1 - BN_EPS)
        plain.load_state_dict(stored)
        grids = {
            name: replace(grid, scale=self._steps(name).now.item())
            for name, grid in self.scheme.quant_params.items()
        }
        return plain.eval(), replace(self.scheme, quant_params=grids, weights=weights)

    def _grids(self, speed: float) -> Iterator[Steps]:
        for name in sorted(self.scheme.quant_params):
            grid = self.scheme.quant_params[name]
            yield Steps(
                torch.tensor(grid.scale),
                -grid.zero_point,
                LEVELS - grid.zero_point,
                speed=speed,
                is_learnt=grid.is_learnt,
            )

    def _steps(self, grid: str) -> Steps:
        steps = self.grids[self._by_name[grid]]
        assert isinstance(steps, Steps)
        return steps

    def _edges(self, node: str) -> Edges:
        """The roundings of a node's inputs; none of a node that reads all as it is."""
        return tuple(self._steps(g) if g else None for g in self.scheme.reads.get(node, ()))

    def _convolutions(self) -> Iterator[tuple[str, RoundedConv]]:
        for name, module in self.named_modules():
            if isinstance(module, RoundedConv):
                yield name, module

    def _rounded(self, name: str, module: nn.Module, speed: float) -> nn.Module | None:
        """What stands for a convolution with its activation, ours or that of ``ultralytics``."""
        conv = getattr(module, "conv", None)
        if not (isinstance(conv, nn.Conv2d) and hasattr(module, "act")):
            return None
        node, steps, bias_steps = f"{name}.conv", None, None
        if node in self.scheme.weights:
            first = torch.tensor(self.scheme.weights[node])
            limit = self.scheme.weight_limit.of(conv.weight.shape)
            steps = Steps(first, -limit.largest, limit.largest, speed=speed, pair=limit.pair)
            if self.scheme.has_integer_bias:
                bias_steps = self._steps(self.scheme.inputs[node])
        edges = {"conv": node, "sigmoid": f"{name}.act.sigmoid", "product": f"{name}.act"}
        return RoundedConv(conv, {k: self._edges(n) for k, n in edges.items()}, steps, bias_steps)

    def _block(self, name: str, module: nn.Module) -> nn.Module | None:
        """What stands for a block that reads rounded numbers between its convolutions."""
        if isinstance(module, Bottleneck):
            return RoundedBottleneck(module, self._edges(f"{name}.add"))
        if isinstance(module, C3):
            return RoundedC3(module, self._edges(f"{name}.cat"))
        if isinstance(module, SPPF):
            pools = [self._edges(f"{name}.pool.{k}") for k in range(POOLS)]
            return RoundedSppf(module, pools, self._edges(f"{name}.cat"))
        if isinstance(module, Concat):
            return RoundedConcat(self._edges(name))
        if isinstance(module, nn.Upsample):
            return RoundedUpsample(self._edges(name))
        return None


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().cpu().numpy(), np.float32)
