"""FP16 graphs: body and detection outputs in FP16, the decode in FP32, as boxes need more than 11 bits."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.detector_graph import DetectorGraph

#: A layer stays FP32 if its largest value times this factor is beyond FP16: other images have larger values.
HEADROOM = 4.0
LARGEST = float(np.finfo(np.float16).max) / HEADROOM


@dataclass(frozen=True, slots=True, eq=False)
class Fp16Model:
    """The result of ``to_fp16``.

    Attributes:
        model: The converted model; its input and output are FP32.
        kept: By name of each node that stayed FP32 for its values, the reason.
    """

    model: onnx.ModelProto
    kept: Mapping[str, str]


def to_fp16(
    graph: DetectorGraph, largest: Mapping[str, float], *, excluded: Set[str] = frozenset()
) -> Fp16Model:
    """Convert the body and the detection outputs to FP16; the decode stays FP32.

    Args:
        graph: The graph of the FP32 model.
        largest: By tensor, the largest magnitude on calibration images; empty without images.
        excluded: Names of nodes that stay FP32 regardless of their values, see ``export.quantize.blocks``.
    """
    half_nodes = {n.name for n in graph.nodes if n.output[0] not in graph.decode_tensors}
    half_nodes |= set(graph.outputs)
    return convert_to_fp16(graph.model, half_nodes - excluded, largest)


def convert_to_fp16(model: onnx.ModelProto, names: Set[str], largest: Mapping[str, float]) -> Fp16Model:
    """Convert nodes to FP16, except those whose values come too close to its largest number.

    Args:
        model: Any model with FP32 inputs and outputs; it is not changed.
        names: Names of the nodes; a cast is inserted wherever the type changes.
        largest: By tensor, the largest magnitude on calibration images; empty without images.
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
    return Fp16Model(_rewrite(model, set(names) - set(kept)), kept)


def _rewrite(model: onnx.ModelProto, half_nodes: set[str]) -> onnx.ModelProto:
    """A copy in which some nodes compute in FP16, with casts where the type changes."""
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


def _is_weight(node: onnx.NodeProto, position: int) -> bool:
    """Whether an input is a weight or bias; other constants, such as the scales of a Resize, stay FP32."""
    return node.op_type in {"Conv", "Gemm"} and position > 0
