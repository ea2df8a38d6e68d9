"""Write ONNX nodes and constants with chosen names, independent of any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

#: Has Q/DQ per channel, and is read by every supported ONNX Runtime and OpenVINO, and by TensorRT from 8.5
#: on.
OPSET = 17
#: IR version of a file by its opset; older runtimes refuse newer ones. Opset 13 is for TensorRT 8.2.
#: Source: https://github.com/onnx/onnx/blob/main/docs/Versioning.md
IR_VERSIONS = {13: 7, OPSET: 8}
BATCH = 0  # in the shape of a Reshape: copies the size of the input, here the batch
#: The version of edgestill that last changed the bytes of exported graphs. It is written into files instead
#: of the version of the package, so that a release that exports the same graphs gives the same bytes.
GRAPH_VERSION = "0.6.0"


class GraphWriter:
    """Collects nodes and constants. Every method returns the name of its output, which is that of the node.

    Attributes:
        nodes: In the order of execution.
        constants: By name, in the order of creation.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._folded: set[str] = set()

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant; with a name that exists already, the existing constant."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node with one output."""
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def fold(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """One node, or its result as a constant if all its inputs are constants.

        With a name that was folded already, the existing output.
        """
        if name in self._folded:
            return name
        self._folded.add(name)
        if any(i not in self.constants for i in inputs):
            return self.node(kind, name, inputs, **attributes)
        node = helper.make_node(kind, list(inputs), [name], **attributes)
        known = {i: numpy_helper.to_array(self.constants[i]) for i in inputs}
        return self.constant(name, np.asarray(ReferenceEvaluator(node).run(None, known)[0]))

    def conv(
        self,
        name: str,
        x: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        padding: int = 0,
    ) -> str:
        """A square convolution; weight float32 ``[out, in, k, k]``, bias float32 ``[out]``."""
        inputs = [x, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        kernel = list(weight.shape[2:])
        return self.node("Conv", name, inputs, kernel_shape=kernel, strides=[stride] * 2, pads=[padding] * 4)

    def silu(self, name: str, x: str) -> str:
        """``x * sigmoid(x)``: ONNX has no such operator at this opset, the engines fuse the pair."""
        return self.node("Mul", name, [x, self.node("Sigmoid", f"{name}.sigmoid", [x])])

    def reshape(self, name: str, x: str, shape: Sequence[int]) -> str:
        """``x`` in another shape, where one size may be -1 and the first may be ``BATCH``."""
        return self.fold("Reshape", name, [x, self.constant(f"{name}.shape", np.asarray(shape, np.int64))])

    def part(self, name: str, x: str, axis: int, start: int, end: int) -> str:
        """The slice of ``x`` from ``start`` to ``end`` along an axis."""
        bounds = {"start": start, "end": end, "axis": axis}
        stored = [self.constant(f"{name}.{k}", np.asarray([v], np.int64)) for k, v in bounds.items()]
        return self.fold("Slice", name, [x, *stored])

    def top(self, name: str, x: str, count: str) -> tuple[str, str]:
        """TopK of ``[B, N]``, descending: values and indices, ``[B, count]``; ``count`` is int64 ``[1]``."""
        made = [f"{name}.value", f"{name}.place"]
        self.nodes.append(helper.make_node("TopK", [x, count], made, name=name, axis=1, largest=1, sorted=1))
        return made[0], made[1]

    def pick(self, name: str, x: str, indices: str) -> str:
        """The rows of ``[B, N, C]`` at indices ``[B, count]``: ``[B, count, C]``."""
        column = self.reshape(f"{name}.places", indices, (BATCH, -1, 1))
        return self.node("GatherND", name, [x, column], batch_dims=1)

    def upsample(self, name: str, x: str, factor: int) -> str:
        """Nearest-neighbour upsampling of height and width by ``factor``."""
        scales = self.constant(f"upsample.scales.{factor}", np.asarray([1, 1, factor, factor], np.float32))
        return self.node(
            "Resize",
            name,
            [x, "", scales],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )

    def max_pool(self, name: str, x: str, kernel: int) -> str:
        """A max pool with stride 1 that keeps the size."""
        return self.node(
            "MaxPool", name, [x], kernel_shape=[kernel] * 2, strides=[1, 1], pads=[kernel // 2] * 4
        )

    def used_constants(self) -> list[onnx.TensorProto]:
        """The constants that a node reads; folding leaves others unused."""
        used = {name for node in self.nodes for name in node.input}
        return [tensor for name, tensor in self.constants.items() if name in used]

    def model(
        self,
        name: str,
        *,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, Sequence[int | str]],
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The checked model with inferred shapes.

        Args:
            name: Name of the graph.
            inputs: Shapes by name; a name in place of a size leaves it free. float32.
            outputs: The same of the outputs.
            metadata: Metadata properties.
        """
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in outputs.items()],
            self.used_constants(),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSIONS[OPSET],
            producer_name="edgestill",
            producer_version=GRAPH_VERSION,
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
