"""The network of the light-state classifier."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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


def folded_weights(network: LightStateNet, temperature: float) -> dict[str, Array]:
    """The weights for inference: batch norms folded, the last layer divided by the temperature.

    Args:
        network: In evaluation mode.
        temperature: Divides the logits: the calibration of the probabilities.

    Returns:
        float32 arrays by layer: ``conv0`` to ``conv2``, ``hidden`` and ``logits``, each ``.weight`` and
        ``.bias``, as ``export.graph.light_states`` takes them.
    """
    weights: dict[str, Array] = {}
    state = {name: _array(tensor) for name, tensor in network.state_dict().items()}
    for i, norm in enumerate(network.norms):
        assert isinstance(norm, nn.BatchNorm2d)
        scale = state[f"norms.{i}.weight"] / np.sqrt(state[f"norms.{i}.running_var"] + np.float32(norm.eps))
        weights[f"conv{i}.weight"] = state[f"convolutions.{i}.weight"] * scale[:, None, None, None]
        shifted = state[f"convolutions.{i}.bias"] - state[f"norms.{i}.running_mean"]
        weights[f"conv{i}.bias"] = shifted * scale + state[f"norms.{i}.bias"]
    for kind in ("weight", "bias"):
        weights[f"hidden.{kind}"] = state[f"hidden.{kind}"]
        weights[f"logits.{kind}"] = state[f"output.{kind}"] / np.float32(temperature)
    return weights


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().numpy(), np.float32)
