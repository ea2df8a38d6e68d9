"""Write a YOLOv5 as ONNX directly from its state dict, without torch or tracing, with readable names.

Batch norm is folded into the convolutions. This module follows the architecture; ``export.graph.writer``
writes nodes, ``export.graph.heads`` the detection heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from edgestill import architecture
from edgestill.architecture import Layer
from edgestill.registry import Registry
from edgestill.spec import ModelSpec
from export.graph.cells import CellGrid
from export.graph.weights import Weights, conv_silu
from export.graph.writer import GraphWriter

INPUT = "images"  # the names that Ultralytics' tools expect
OUTPUT = "output0"
HEADS = Registry("export.graph.heads", "head")


def build_onnx(spec: ModelSpec, weights: Mapping[str, NDArray[np.generic]]) -> onnx.ModelProto:
    """Write the model in FP32, from images ``[1, 3, H, W]`` to boxes and probabilities in the spec's layout.

    Args:
        spec: Defines architecture, input size, classes and head.
        weights: Tensors by their names in the original state dict.

    Returns:
        A model with static shapes; the same arguments give the same bytes.

    Raises:
        ArtifactError: A weight is missing, left over, or of another shape than the spec asks for.
        UsageError: The spec names an unknown head.
    """
    head = HEADS.load(spec.head)
    reader, writer = Weights(weights), GraphWriter()
    outputs: dict[int, str] = {architecture.IMAGE: INPUT}
    for layer in architecture.layers(architecture.size_of(spec.name)):
        sources = [outputs[s] for s in layer.sources]
        outputs[layer.index] = _LAYER_WRITERS[layer.kind](writer, reader, layer, sources)
    head.write_head(writer, reader, spec, [outputs[i] for i in architecture.TAPS.values()])
    head.write_all_boxes(writer, spec, CellGrid(writer, spec), OUTPUT)
    reader.finish()
    by_row = spec.layout == "yolov5"
    return writer.model(
        spec.name,
        inputs={INPUT: (1, 3, *spec.input_hw)},
        outputs={OUTPUT: (1, spec.cells, 5 + spec.nc) if by_row else (1, 4 + spec.nc, spec.cells)},
        metadata=spec.to_metadata(),
    )


def _conv(writer: GraphWriter, weights: Weights, layer: Layer, sources: list[str]) -> str:
    return conv_silu(
        writer,
        weights,
        f"model.{layer.index}",
        sources[0],
        channels=(layer.in_channels, layer.out_channels),
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
    )


def _c3(writer: GraphWriter, weights: Weights, layer: Layer, sources: list[str]) -> str:
    name, half = f"model.{layer.index}", layer.out_channels // 2
    entry = (layer.in_channels, half)
    x = conv_silu(writer, weights, f"{name}.cv1", sources[0], channels=entry)
    for k in range(layer.repeats):
        block = f"{name}.m.{k}"
        y = conv_silu(writer, weights, f"{block}.cv1", x, channels=(half, half))
        y = conv_silu(writer, weights, f"{block}.cv2", y, channels=(half, half), kernel=3, padding=1)
        x = writer.node("Add", f"{block}.add", [x, y]) if layer.shortcut else y
    side = conv_silu(writer, weights, f"{name}.cv2", sources[0], channels=entry)
    joined = writer.node("Concat", f"{name}.cat", [x, side], axis=1)
    return conv_silu(writer, weights, f"{name}.cv3", joined, channels=(2 * half, layer.out_channels))


def _sppf(writer: GraphWriter, weights: Weights, layer: Layer, sources: list[str]) -> str:
    name, half = f"model.{layer.index}", layer.in_channels // 2
    maps = [conv_silu(writer, weights, f"{name}.cv1", sources[0], channels=(layer.in_channels, half))]
    for k in range(3):
        maps.append(writer.max_pool(f"{name}.pool.{k}", maps[-1], layer.kernel))
    joined = writer.node("Concat", f"{name}.cat", maps, axis=1)
    return conv_silu(writer, weights, f"{name}.cv2", joined, channels=(4 * half, layer.out_channels))


def _upsample(writer: GraphWriter, _: Weights, layer: Layer, sources: list[str]) -> str:
    return writer.upsample(f"model.{layer.index}", sources[0], 2)


def _concat(writer: GraphWriter, _: Weights, layer: Layer, sources: list[str]) -> str:
    return writer.node("Concat", f"model.{layer.index}", sources, axis=1)


_LAYER_WRITERS: Mapping[str, Callable[[GraphWriter, Weights, Layer, list[str]], str]] = {
    "conv": _conv,
    "c3": _c3,
    "sppf": _sppf,
    "upsample": _upsample,
    "concat": _concat,
}
