"""FP16: weights and activations in half the bytes, the decode in FP32, since boxes need more than 11 bits."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.detector_graph import DetectorGraph

#: A layer stays FP32 if its values come closer than this factor to FP16's end: other images go further.
HEADROOM = 4.0
LARGEST = float(np.finfo(np.float16).max) / HEADROOM


@dataclass(frozen=True, slots=True, eq=False)
class HalfModel:
    """The result of ``to_half``.

    Attributes:
        model: The converted model; its input and output are FP32.
        kept: Why a node of the body stayed FP32, by name.
    """

    model: onnx.ModelProto
    kept: Mapping[str, str]


def to_half(
    graph: DetectorGraph, largest: Mapping[str, float], *, moved: Set[str] = frozenset()
) -> HalfModel:
    """Convert the body and the detection outputs; what is behind them stays FP32.

    Args:
        graph: The FP32 model's.
        largest: By tensor name, the largest magnitude that was seen on real images; empty if none were run.
        moved: Nodes that stay FP32 whatever they hold, see ``export.quantize.blocks``.
    """
    half_nodes = {n.name for n in graph.nodes if n.output[0] not in graph.decode_tensors}
    half_nodes |= set(graph.outputs)
    return halve(graph.model, half_nodes - moved, largest)


def halve(model: onnx.ModelProto, names: Set[str], largest: Mapping[str, float]) -> HalfModel:
    """Convert the named nodes, but for those whose values come close to FP16's end.

    Args:
        model: Any model with FP32 inputs and outputs.
        names: Nodes to convert; casts stand where the type changes.
        largest: By tensor name, the largest magnitude that was seen on real images; empty if none were run.
    """
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kept: dict[str, str] = {}
    for node in model.graph.node:
        if node.name not in names:
            continue
        weights = [
            np.abs(stored[i]).max() for i in node.input if i in stored and stored[i].dtype == np.float32
        ]
        peak = max([largest.get(t, 0.0) for t in (*node.input, *node.output)] + [float(w) for w in weights])
        if peak > LARGEST:
            kept[node.name] = f"values up to {peak:.0f}"
    return HalfModel(_rewrite(model, set(names) - set(kept)), kept)


def _rewrite(model: onnx.ModelProto, half_nodes: set[str]) -> onnx.ModelProto:
    """A copy where the named nodes compute in FP16, with casts on the edges where the type changes."""
    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    stored = {t.name: t for t in graph.initializer}
    is_half: dict[str, bool] = {i.name: False for i in graph.input}
    casts: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        want = node.name in half_nodes
        for i, name in enumerate(node.input):
            if name in is_half and is_half[name] != want:
                target = f"{name}.{'half' if want else 'single'}"
                if target not in casts:
                    kind = TensorProto.FLOAT16 if want else TensorProto.FLOAT
                    nodes.append(helper.make_node("Cast", [name], [target], name=target, to=kind))
                    casts.add(target)
                node.input[i] = target
            elif (
                want
                and name in stored
                and stored[name].data_type == TensorProto.FLOAT
                and _is_weight(node, i)
            ):
                half = numpy_helper.to_array(stored[name]).astype(np.float16)
                stored[name] = numpy_helper.from_array(half, name)
        nodes.append(node)
        is_half |= dict.fromkeys(node.output, want)
    kept = list(stored.values())
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(new)
    return onnx.shape_inference.infer_shapes(new, strict_mode=True, data_prop=True)


def _is_weight(node: onnx.NodeProto, place: int) -> bool:
    """Whether an input carries values; the scales of a Resize are always FP32."""
    return node.op_type == "Conv" and place > 0
