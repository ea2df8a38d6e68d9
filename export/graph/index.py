"""The index of an ONNX graph: which node makes a tensor, which nodes read it, what the file stores.

It is built once for each graph and passed on. ``export.graph.detector_graph`` adds what a placement of Q/DQ
pairs asks of an FP32 network, ``export.lint.qdq_graph`` what lint rules ask of a quantised file.
"""

from __future__ import annotations

from functools import cached_property

import onnx

#: Pass values on unchanged, so that an INT8 output has the scale of the inputs.
SAME_SCALE = frozenset({"Concat", "MaxPool", "Resize"})


class GraphIndex:
    """A graph with its nodes by tensor.

    The nodes are those of the model, not copies.

    Attributes:
        model: The model.
        nodes: Its nodes, in order.
        producer: By tensor, the node that makes it; graph inputs and initializers have none.
        readers: By tensor, the nodes that read it, each once, in order.
        initializers: By name, the stored tensors.
        constants: The initializers and the values of ``Constant`` nodes, by tensor.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.producer = {name: n for n in self.nodes for name in n.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)
        self.initializers = {t.name: t for t in model.graph.initializer}
        self.constants = self.initializers | {
            n.output[0]: a.t
            for n in self.nodes
            for a in n.attribute
            if n.op_type == "Constant" and a.name == "value"
        }

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """By intermediate tensor, its shape as shape inference found it; 0 for a free side."""
        return {
            value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
            for value in self.model.graph.value_info
        }


def passed_on(node: onnx.NodeProto) -> list[str]:
    """The inputs whose values a node of ``SAME_SCALE`` passes on; the others are parameters."""
    return list(node.input) if node.op_type == "Concat" else [node.input[0]]
