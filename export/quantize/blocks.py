"""The blocks of a network that move between precisions as a whole, and a plan without some of them.

A block is a stage of the body (a convolution, a C3, the SPPF) or one tower of the head at one level: inside,
nothing changes type, so that moving one leaves roundings at its borders only. A single convolution of a C3 in
float would put a reformat on each side of it, and beside bytes those have cost more than the layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from math import prod

import onnx

from edgestill import architecture
from export.graph.detector_graph import DetectorGraph
from export.quantize.qdq_placement import Plan, read_rounded

MOVED = "repair: its block is too sensitive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Nodes that are moved together.

    Attributes:
        name: Their common prefix, e.g. ``model.4``; of the head ``model.24.cv2.0``.
        nodes: All of them, by name.
        convolutions: Those that multiply.
        work: Of the body's multiplications, the share that these do.
        elements: Weights in them.
    """

    name: str
    nodes: frozenset[str]
    convolutions: tuple[str, ...]
    work: float
    elements: int


def blocks_of(graph: DetectorGraph, convolutions: Collection[str]) -> tuple[Block, ...]:
    """The blocks with at least one of the named convolutions, in the order of the network.

    Args:
        graph: The FP32 model's.
        convolutions: Those that can be moved.
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
        Block(
            name=name,
            nodes=frozenset(n.name for n in members[name]),
            convolutions=tuple(n.name for n in inside),
            work=graph.share(n.name for n in inside),
            elements=sum(prod(graph.initializers[n.input[1]].dims) for n in inside),
        )
        for name, inside in found.items()
    )


def nodes_in(blocks: Iterable[Block]) -> frozenset[str]:
    """The nodes of several blocks."""
    return frozenset(name for block in blocks for name in block.nodes)


def spare(plan: Plan, graph: DetectorGraph, nodes: Collection[str]) -> Plan:
    """A plan that leaves some nodes float.

    They read what is there before rounding. What moves bytes about for them alone moves numbers instead, and
    a rounding that nobody reads any more is gone, so that none is left without a purpose.

    Args:
        plan: Of that graph.
        graph: The FP32 model's.
        nodes: Whole blocks.
    """
    if not nodes:
        return plan
    floats = {*plan.float_readers, *nodes}
    for node in reversed(list(graph.same_scale_nodes())):
        readers = {reader.name for reader in graph.readers.get(node.output[0], [])}
        if readers and readers <= floats:
            floats.add(node.name)
    moved = sorted(plan.convolutions & set(nodes))
    return replace(
        plan,
        activations=read_rounded(plan.activations, graph, floats),
        convolutions=plan.convolutions - set(nodes),
        byte_inputs={name: used for name, used in plan.byte_inputs.items() if name not in nodes},
        float_readers=frozenset(floats),
        left_float={**plan.left_float, **dict.fromkeys(moved, MOVED)},
    )


def _prefix(name: str) -> str:
    """``model.4.cv1.conv`` -> ``model.4``; of the head, ``model.24.cv2.0.1.conv`` -> ``model.24.cv2.0``."""
    parts = name.split(".")
    in_head = len(parts) > 1 and parts[1] == str(architecture.HEAD_INDEX)
    return ".".join(parts[: 4 if in_head else 2])
