"""Blocks: the parts of a network that keep one precision, and a plan with some of them in float.

A block is a stage of the body (a convolution, a C3, the SPPF) or one tower of the head at one level. Types
change at its borders only. A single float convolution within a C3 would need a reformat on each side, and
these have cost more time than the layer saved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from math import prod

import onnx

from edgestill import architecture
from export.graph.detector_graph import DetectorGraph
from export.quantize.qdq_placement import QdqPlan, read_quantised

TOO_SENSITIVE = "repair: its block is too sensitive"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionBlock:
    """Nodes that change precision together.

    Attributes:
        name: Their common prefix, e.g. ``model.4``; of the head ``model.24.cv2.0``.
        nodes: Their names.
        convolutions: The names of the convolutions among them.
        work: Share of the body's multiplications.
        elements: Number of weights.
    """

    name: str
    nodes: frozenset[str]
    convolutions: tuple[str, ...]
    work: float
    elements: int


def blocks_of(graph: DetectorGraph, convolutions: Collection[str]) -> tuple[PrecisionBlock, ...]:
    """The blocks with at least one of some convolutions, in the order of the network.

    Args:
        graph: The graph of the FP32 model.
        convolutions: Names of the convolutions.
    """
    members: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.output[0] not in graph.decode_tensors or node.name in graph.outputs:
            members.setdefault(_prefix(node.name), []).append(node)
    named = set(convolutions)
    found = {
        name: inside
        for name, nodes in members.items()
        if (inside := [n for n in nodes if n.op_type == "Conv" and n.name in named])
    }
    return tuple(
        PrecisionBlock(
            name=name,
            nodes=frozenset(n.name for n in members[name]),
            convolutions=tuple(n.name for n in inside),
            work=graph.share(n.name for n in inside),
            elements=sum(prod(graph.initializers[n.input[1]].dims) for n in inside),
        )
        for name, inside in found.items()
    )


def nodes_of(blocks: Iterable[PrecisionBlock]) -> frozenset[str]:
    """The names of the nodes of several blocks."""
    return frozenset(name for block in blocks for name in block.nodes)


def keep_float(plan: QdqPlan, graph: DetectorGraph, nodes: Collection[str]) -> QdqPlan:
    """A plan with some nodes in float.

    They read their inputs before quantisation. A node that only passes values on to them becomes float too,
    and a Q/DQ pair without readers is removed.

    Args:
        plan: A plan for the graph.
        graph: The graph of the FP32 model.
        nodes: Names of the nodes, of whole blocks.
    """
    if not nodes:
        return plan
    floats = {*plan.float_readers, *nodes}
    for node in reversed(list(graph.same_scale_nodes())):
        readers = {reader.name for reader in graph.readers.get(node.output[0], [])}
        if readers and readers <= floats:
            floats.add(node.name)
    convolutions = sorted(plan.convolutions & set(nodes))
    return replace(
        plan,
        activations=read_quantised(plan.activations, graph, floats),
        convolutions=plan.convolutions - set(nodes),
        int8_inputs={name: used for name, used in plan.int8_inputs.items() if name not in nodes},
        float_readers=frozenset(floats),
        left_float={**plan.left_float, **dict.fromkeys(convolutions, TOO_SENSITIVE)},
    )


def _prefix(name: str) -> str:
    """``model.4.cv1.conv`` -> ``model.4``; of the head, ``model.24.cv2.0.1.conv`` -> ``model.24.cv2.0``."""
    parts = name.split(".")
    in_head = len(parts) > 1 and parts[1] == str(architecture.HEAD_INDEX)
    return ".".join(parts[: 4 if in_head else 2])
