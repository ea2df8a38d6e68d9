"""The light-state classifier as ONNX."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from export.graph.writer import GraphWriter
from runtime.light_states.classifier import SPEC

Weights = Mapping[str, NDArray[np.float32]]


def build_light_states(weights: Weights) -> onnx.ModelProto:
    """The classifier with probabilities as output, for any batch.

    Args:
        weights: Of the layers ``conv0``, ``conv1``, ... with stride 2, ``hidden`` and ``logits``, each
            ``.weight`` and ``.bias``.

    Returns:
        A graph with the input ``crops``, float32 ``[batch, 3, 40, 20]``, and the output ``probabilities``,
        float32 ``[batch, 5]``.
    """
    writer, last, layer = GraphWriter(), "crops", 0
    while f"conv{layer}.weight" in weights:
        name = f"conv{layer}"
        last = writer.conv(
            name, last, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2, padding=1
        )
        last, layer = writer.node("Relu", f"{name}.relu", [last]), layer + 1
    last = _linear(writer, "hidden", writer.node("Flatten", "flat", [last]), weights)
    last = _linear(writer, "logits", writer.node("Relu", "hidden.relu", [last]), weights)
    writer.node("Softmax", "probabilities", [last], axis=1)
    return writer.model(
        "light-states",
        inputs={"crops": ["batch", 3, *SPEC.input_hw]},
        outputs={"probabilities": ["batch", len(SPEC.classes)]},
        metadata=SPEC.to_metadata(),
    )


def _linear(writer: GraphWriter, name: str, x: str, weights: Weights) -> str:
    constants = [writer.constant(f"{name}.{kind}", weights[f"{name}.{kind}"]) for kind in ("weight", "bias")]
    return writer.node("Gemm", name, [x, *constants], transB=1)
