"""The YOLOv5 graph as ONNX, straight from the state dict: no tracer, no torch, names that a person can read.

Batch norm is folded into the convolutions. Walking the architecture (here) knows nothing of node syntax
(``export.emit``), and the head is one function, so that another head is another function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.architecture import Layer
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from export.emit import GraphWriter

INPUT = "images"  # the names that Ultralytics' tools expect
OUTPUT = "output0"
PER_BOX = 5  # cx, cy, w, h, objectness, before the classes

Array = NDArray[np.float32]


def build_onnx(spec: ModelSpec, weights: Mapping[str, NDArray[np.generic]]) -> onnx.ModelProto:
    """Write the model in FP32: images ``[1, 3, H, W]`` in, decoded rows ``[1, A, 5 + nc]`` out.

    Args:
        spec: Names the architecture, the input size, the classes and the head.
        weights: Tensors by the original YOLOv5 state-dict name.

    Returns:
        A model with static shapes, the same bytes for the same arguments.

    Raises:
        ArtifactError: A weight is missing, left over, or of another shape than the spec asks for.
    """
    reader, writer = _Weights(weights), GraphWriter()
    size = architecture.size_of(spec.name)
    outputs: dict[int, str] = {architecture.IMAGE: INPUT}
    for layer in architecture.layers(size):
        sources = [outputs[s] for s in layer.sources]
        outputs[layer.index] = _EMIT[layer.kind](writer, reader, layer, sources)
    _HEADS[spec.head](writer, reader, spec, [outputs[i] for i in architecture.TAPS.values()])
    reader.finish()
    return writer.model(
        spec.name,
        inputs={INPUT: (1, 3, *spec.input_hw)},
        outputs={OUTPUT: (1, spec.cells, PER_BOX + spec.nc)},
        metadata=spec.to_metadata(),
    )


class _Weights:
    """The state dict, which notices what nobody asked for."""

    def __init__(self, weights: Mapping[str, NDArray[np.generic]]) -> None:
        self._weights = weights
        # PyTorch counts batches for its own use.
        self._left = {n for n in weights if not n.endswith("num_batches_tracked")}

    def take(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """One tensor, in double precision so that folding rounds once.

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

    def folded(self, prefix: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Weight and bias of ``prefix.conv`` with ``prefix.bn`` folded in."""
        out = (shape[0],)
        gamma, beta, mean, variance = (
            self.take(f"{prefix}.bn.{part}", out)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + architecture.BN_EPS)
        weight = self.take(f"{prefix}.conv.weight", shape) * factor[:, None, None, None]
        return weight.astype(np.float32), (beta - mean * factor).astype(np.float32)

    def finish(self) -> None:
        """Raise ArtifactError if a tensor was never used: the graph would not be the trained network."""
        if self._left:
            some = ", ".join(sorted(self._left)[:3])
            raise ArtifactError(
                f"{len(self._left)} tensors of the checkpoint fit nowhere, e.g. {some}",
                hint="its spec names another architecture",
            )


def _conv_silu(
    writer: GraphWriter,
    weights: _Weights,
    name: str,
    x: str,
    *,
    channels: tuple[int, int],
    kernel: int = 1,
    stride: int = 1,
    padding: int = 0,
) -> str:
    """Convolution, batch norm and SiLU; channels are (in, out)."""
    weight, bias = weights.folded(name, (channels[1], channels[0], kernel, kernel))
    y = writer.conv(f"{name}.conv", x, weight, bias, stride=stride, padding=padding)
    return writer.silu(f"{name}.act", y)


def _conv(writer: GraphWriter, weights: _Weights, layer: Layer, sources: list[str]) -> str:
    return _conv_silu(
        writer,
        weights,
        f"model.{layer.index}",
        sources[0],
        channels=(layer.in_channels, layer.out_channels),
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
    )


def _c3(writer: GraphWriter, weights: _Weights, layer: Layer, sources: list[str]) -> str:
    name, half = f"model.{layer.index}", layer.out_channels // 2
    entry = (layer.in_channels, half)
    x = _conv_silu(writer, weights, f"{name}.cv1", sources[0], channels=entry)
    for k in range(layer.repeats):
        block = f"{name}.m.{k}"
        y = _conv_silu(writer, weights, f"{block}.cv1", x, channels=(half, half))
        y = _conv_silu(writer, weights, f"{block}.cv2", y, channels=(half, half), kernel=3, padding=1)
        x = writer.node("Add", f"{block}.add", [x, y]) if layer.shortcut else y
    side = _conv_silu(writer, weights, f"{name}.cv2", sources[0], channels=entry)
    joined = writer.node("Concat", f"{name}.cat", [x, side], axis=1)
    return _conv_silu(writer, weights, f"{name}.cv3", joined, channels=(2 * half, layer.out_channels))


def _sppf(writer: GraphWriter, weights: _Weights, layer: Layer, sources: list[str]) -> str:
    name, half = f"model.{layer.index}", layer.in_channels // 2
    maps = [_conv_silu(writer, weights, f"{name}.cv1", sources[0], channels=(layer.in_channels, half))]
    for k in range(3):
        maps.append(writer.max_pool(f"{name}.pool.{k}", maps[-1], layer.kernel))
    joined = writer.node("Concat", f"{name}.cat", maps, axis=1)
    return _conv_silu(writer, weights, f"{name}.cv2", joined, channels=(4 * half, layer.out_channels))


def _upsample(writer: GraphWriter, _: _Weights, layer: Layer, sources: list[str]) -> str:
    return writer.upsample(f"model.{layer.index}", sources[0], 2)


def _concat(writer: GraphWriter, _: _Weights, layer: Layer, sources: list[str]) -> str:
    return writer.node("Concat", f"model.{layer.index}", sources, axis=1)


_EMIT: Mapping[str, Callable[[GraphWriter, _Weights, Layer, list[str]], str]] = {
    "conv": _conv,
    "c3": _c3,
    "sppf": _sppf,
    "upsample": _upsample,
    "concat": _concat,
}


def _coupled(writer: GraphWriter, weights: _Weights, spec: ModelSpec, levels: list[str]) -> str:
    """The original anchor head: one 1x1 convolution a level, then the decode.

    With s = sigmoid(map): centre = (2 s - 0.5 + cell) * stride, size = (2 s)^2 * anchor, and s itself for
    objectness and classes. The rows are ordered level, anchor, y, x.
    """
    name, size = f"model.{architecture.HEAD_INDEX}", architecture.size_of(spec.name)
    per_level, columns = len(spec.anchors_px[0]), PER_BOX + spec.nc
    _check_anchors(weights, spec, f"{name}.anchors")
    rows = []
    channels = architecture.level_channels(size).values()
    for i, (x, width) in enumerate(zip(levels, channels, strict=True)):
        out = per_level * columns
        weight = weights.take(f"{name}.m.{i}.weight", (out, width, 1, 1)).astype(np.float32)
        bias = weights.take(f"{name}.m.{i}.bias", (out,)).astype(np.float32)
        y = writer.conv(f"{name}.m.{i}", x, weight, bias)
        rows.append(_decode_level(writer, f"{name}.decode.{i}", y, spec, i))
    return writer.node("Concat", OUTPUT, rows, axis=1)


def _decode_level(writer: GraphWriter, name: str, x: str, spec: ModelSpec, level: int) -> str:
    """One level's map ``[1, anchors * (5 + nc), h, w]`` as rows ``[1, anchors * h * w, 5 + nc]``.

    Every column is s * (m + k * s) + cell, with m and k by column: one pass for an engine that fuses, and no
    split and join of narrow pieces. The arithmetic is done with the channels last, which is how a CPU engine
    holds the map, so that the first transpose costs nothing there.
    """
    anchors, stride = np.asarray(spec.anchors_px[level], np.float32), spec.strides[level]
    height, width = (side // stride for side in spec.input_hw)
    n, columns = len(anchors), PER_BOX + spec.nc
    linear = np.ones((1, 1, 1, columns), np.float32)
    linear[..., :4] = (2 * stride, 2 * stride, 0, 0)
    square = np.zeros((1, 1, n, columns), np.float32)
    square[..., 2:4] = 4 * anchors
    cell_x = np.zeros((1, width, 1, columns), np.float32)
    cell_x[0, :, 0, 0] = (np.arange(width) - 0.5) * stride
    cell_y = np.zeros((height, 1, 1, columns), np.float32)
    cell_y[:, 0, 0, 1] = (np.arange(height) - 0.5) * stride

    def step(kind: str, label: str, a: str, value: NDArray[np.float32]) -> str:
        return writer.node(kind, f"{name}.{label}", [a, writer.constant(f"{name}.{label}.by", value)])

    s = writer.node("Sigmoid", f"{name}.sigmoid", [x])
    s = writer.node("Transpose", f"{name}.last", [s], perm=[0, 2, 3, 1])
    s = writer.reshape(f"{name}.grid", s, (height, width, n, columns))
    gain = step("Add", "gain", step("Mul", "square", s, square), linear)
    boxes = writer.node("Mul", f"{name}.scaled", [s, gain])
    boxes = step("Add", "cell_y", step("Add", "cell_x", boxes, cell_x), cell_y)
    boxes = writer.reshape(f"{name}.flat", boxes, (1, height * width, n, columns))
    boxes = writer.node("Transpose", f"{name}.by_anchor", [boxes], perm=[0, 2, 1, 3])
    return writer.reshape(f"{name}.rows", boxes, (1, n * height * width, columns))


def _check_anchors(weights: _Weights, spec: ModelSpec, name: str) -> None:
    """The anchors that the network was trained with must be those that the spec decodes with."""
    wanted = np.asarray(spec.anchors_px)
    trained = weights.take(name, wanted.shape) * np.asarray(spec.strides)[:, None, None]
    if not np.allclose(trained, wanted, rtol=2e-3):  # FP16 storage rounds by 5e-4
        raise ArtifactError(
            f"the checkpoint was trained with anchors {trained.round(1).tolist()}, its spec says others",
            hint="write the checkpoint again with the anchors of the model",
        )


_HEADS: Mapping[str, Callable[[GraphWriter, _Weights, ModelSpec, list[str]], str]] = {"coupled": _coupled}
