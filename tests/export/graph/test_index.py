"""The index of a graph: producers, readers, constants, shapes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.graph.index import GraphIndex


def sketch() -> onnx.ModelProto:
    """``y = (x + stored) * itself``, then ``z = y * held`` with a Constant node."""
    held = numpy_helper.from_array(np.float32(3), "held")
    nodes = [
        helper.make_node("Add", ["x", "stored"], ["sum"], name="add"),
        helper.make_node("Mul", ["sum", "sum"], ["y"], name="square"),
        helper.make_node("Constant", [], ["held"], name="constant", value=held),
        helper.make_node("Mul", ["y", "held"], ["z"], name="scale"),
    ]
    x, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "z"))
    stored = numpy_helper.from_array(np.ones((1, 2), np.float32), "stored")
    graph = helper.make_graph(nodes, "sketch", [x], [z], [stored])
    return onnx.shape_inference.infer_shapes(helper.make_model(graph))


def test_a_tensor_has_its_producer_and_each_reader_once() -> None:
    index = GraphIndex(sketch())
    assert {tensor: node.name for tensor, node in index.producer.items()} == {
        "sum": "add",
        "y": "square",
        "held": "constant",
        "z": "scale",
    }
    assert [node.name for node in index.readers["sum"]] == ["square"]
    assert [node.name for node in index.readers["x"]] == ["add"]
    assert "z" not in index.readers


def test_constants_are_initializers_and_the_values_of_constant_nodes() -> None:
    index = GraphIndex(sketch())
    assert index.initializers.keys() == {"stored"}
    assert index.constants.keys() == {"stored", "held"}
    assert numpy_helper.to_array(index.constants["held"]) == 3


def test_shapes_are_those_of_shape_inference() -> None:
    assert GraphIndex(sketch()).shapes["y"] == [1, 2]
