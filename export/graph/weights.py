"""Trained tensors of a checkpoint: checked, with batch norm folded, and written as convolutions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.errors import ArtifactError
from export.graph.writer import GraphWriter

Array = NDArray[np.float32]


class Weights:
    """A state dict that tracks which tensors are used.

    Args:
        weights: Tensors by name.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.generic]]) -> None:
        self._weights = weights
        # PyTorch counts batches for its own use.
        self._left = {n for n in weights if not n.endswith("num_batches_tracked")}

    def take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """One tensor, float64 so that folding rounds only once.

        Raises:
            ArtifactError: It is missing or has another shape.
        """
        if name not in self._weights:
            raise ArtifactError(f"the checkpoint has no {name}", hint="its spec names another architecture")
        value = self._weights[name]
        if value.shape != shape:
            raise ArtifactError(
                f"{name} has shape {value.shape}, the spec asks for {shape}",
                hint="the number of classes or the size in spec.json is not the checkpoint's",
            )
        self._left.discard(name)
        return value.astype(np.float64)

    def plain(self, name: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Weight and bias of a convolution without batch norm."""
        weight, bias = self.take(f"{name}.weight", shape), self.take(f"{name}.bias", shape[:1])
        return weight.astype(np.float32), bias.astype(np.float32)

    def folded(self, name: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Weight and bias of ``name.conv`` with ``name.bn`` folded in."""
        gamma, beta, mean, variance = (
            self.take(f"{name}.bn.{part}", shape[:1])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + architecture.BN_EPS)
        weight = self.take(f"{name}.conv.weight", shape) * factor[:, None, None, None]
        return weight.astype(np.float32), (beta - mean * factor).astype(np.float32)

    def finish(self) -> None:
        """Raise ArtifactError if a tensor was not used: the graph would not be the trained network."""
        if self._left:
            some = ", ".join(sorted(self._left)[:3])
            raise ArtifactError(
                f"{len(self._left)} tensors of the checkpoint are not used, e.g. {some}",
                hint="its spec names another architecture",
            )


def conv_silu(
    writer: GraphWriter,
    weights: Weights,
    name: str,
    x: str,
    *,
    channels: tuple[int, int],
    kernel: int = 1,
    stride: int = 1,
    padding: int = 0,
    trained: str | None = None,
) -> str:
    """Convolution, batch norm and SiLU.

    Args:
        writer: Collects the nodes.
        weights: Has the tensors.
        name: Prefix of the nodes.
        x: The input.
        channels: Numbers of input and output channels.
        kernel: Side of the kernel.
        stride: Stride.
        padding: Zero padding of each side.
        trained: Prefix of the tensors where it is not ``name``: several nodes may share tensors.

    Returns:
        The output of SiLU.
    """
    weight, bias = weights.folded(trained or name, (channels[1], channels[0], kernel, kernel))
    y = writer.conv(f"{name}.conv", x, weight, bias, stride=stride, padding=padding)
    return writer.silu(f"{name}.act", y)


def conv_only(
    writer: GraphWriter,
    weights: Weights,
    name: str,
    x: str,
    *,
    channels: tuple[int, int],
    trained: str | None = None,
) -> str:
    """A 1x1 convolution with bias, without activation; arguments as those of ``conv_silu``."""
    weight, bias = weights.plain(trained or name, (channels[1], channels[0], 1, 1))
    return writer.conv(name, x, weight, bias)
