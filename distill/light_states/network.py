"""The network of the light-state classifier, and its ONNX file."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graph.writer import GraphWriter
from runtime.light_states.classifier import STATES
from runtime.light_states.crops import CROP_HW

Array = NDArray[np.float32]
CHANNELS = (3, 12, 16, 24)  # of the crop, and after each convolution
HIDDEN = 24


class LightStateNet(nn.Module):
    """Three convolutions with stride 2 and two linear layers; 14,000 weights.

    The maps are flattened, not pooled: which lamp is lit counts beside its colour.
    """

    def __init__(self) -> None:
        super().__init__()
        pairs = list(pairwise(CHANNELS))
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in CHANNELS[1:])
        height, width = CROP_HW
        for _ in self.convolutions:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.hidden = nn.Linear(CHANNELS[-1] * height * width, HIDDEN)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(HIDDEN, len(STATES))

    def forward(self, crops: Tensor) -> Tensor:
        """Logits ``[N, 5]`` of crops: RGB in [0, 1], float32 ``[N, 3, 40, 20]``."""
        x = crops
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        logits: Tensor = self.output(self.dropout(torch.relu(self.hidden(x.flatten(1)))))
        return logits


def to_onnx(network: LightStateNet, temperature: float) -> onnx.ModelProto:
    """The network as ONNX with probabilities as output, batch norms folded. The batch is free.

    Args:
        network: In evaluation mode.
        temperature: Divides the logits: the calibration of the probabilities.
    """
    writer, last = GraphWriter(), "crops"
    for i, (weight, bias) in enumerate(_folded(network)):
        last = writer.conv(f"conv{i}", last, weight, bias, stride=2, padding=1)
        last = writer.node("Relu", f"relu{i}", [last])
    last = writer.node("Flatten", "flat", [last])
    hidden = _linear(writer, "hidden", last, _array(network.hidden.weight), _array(network.hidden.bias))
    last = writer.node("Relu", "hidden.relu", [hidden])
    weight, bias = (_array(t) / np.float32(temperature) for t in (network.output.weight, network.output.bias))
    logits = _linear(writer, "logits", last, weight, bias)
    writer.node("Softmax", "probabilities", [logits], axis=1)
    return writer.model(
        "light-states",
        inputs={"crops": ["batch", 3, *CROP_HW]},
        outputs={"probabilities": ["batch", len(STATES)]},
        metadata={"edgestill.light_states": ",".join(STATES)},
    )


def _linear(writer: GraphWriter, name: str, x: str, weight: Array, bias: Array) -> str:
    constants = [writer.constant(f"{name}.weight", weight), writer.constant(f"{name}.bias", bias)]
    return writer.node("Gemm", name, [x, *constants], transB=1)


def _folded(network: LightStateNet) -> list[tuple[Array, Array]]:
    """Weight and bias of each convolution with its batch norm folded in."""
    folded = []
    for convolution, norm in zip(network.convolutions, network.norms, strict=True):
        scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + np.float32(norm.eps))
        bias = (_array(convolution.bias) - _array(norm.running_mean)) * scale + _array(norm.bias)
        folded.append((_array(convolution.weight) * scale[:, None, None, None], bias))
    return folded


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().numpy(), np.float32)
