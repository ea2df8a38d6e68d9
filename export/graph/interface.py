"""The interface of a file: its input and output tensors, and its opset. It is applied last.

A network is written and quantised for one float32 image of one size and its raw output. The pre-processing
and the decode that are added here are FP32 arithmetic that no quantisation step sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgestill.errors import UsageError
from edgestill.spec import ModelSpec, Pixels
from edgestill.target import FilePrecision
from export.graph.cells import SMALLEST, CellGrid
from export.graph.topk import write_compact_rows
from export.graph.writer import IR_VERSIONS, OPSET, GraphWriter
from export.graph.yolov5 import HEADS

Output = Literal["raw", "compact"]
#: Pairs of box and class in a compact output. On street images 400 to 900 pairs, at most 1700, are above the
#: evaluation's threshold of 0.001. With 300 rows mAP50-95 drops by at most 0.013 points, with 500 by 0.007,
#: with 1000 by none.
ROWS = 1000
MAX_ROWS = 3840  # limit of TensorRT's TopK
FREE_BATCH, FREE_HW = "batch", ("height", "width")  # names of free dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The input and output of a file.

    Attributes:
        output: ``raw``: all boxes; ``compact``: the best ones, see ``edgestill.spec.Layout``.
        pixels: Type of the input, see ``edgestill.spec.Pixels``.
        batch: Images in a batch; None leaves it free.
        free_hw: Whether height and width are free, in steps of the largest stride; the spec's are then the
            default.
        rows: Rows of a compact output, at most; fewer if the network has fewer pairs of box and class.
        least_hw: Smallest height and width of a free size; if it has ``rows`` pairs, the number of rows is
            fixed.
        opset: Version of ONNX's operators, one of ``IR_VERSIONS``.
    """

    output: Output = "raw"
    pixels: Pixels = "float32"
    batch: int | None = 1
    free_hw: bool = False
    rows: int = ROWS
    least_hw: tuple[int, int] = SMALLEST
    opset: int = OPSET

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} is empty", hint="--batch 1 or more")
        if not 1 <= self.rows <= MAX_ROWS:
            raise UsageError(f"{self.rows} output rows", hint=f"1 to {MAX_ROWS}, the limit of TensorRT")

    @property
    def is_free(self) -> bool:
        """Whether the batch or the size is free."""
        return self.batch is None or self.free_hw

    def check(self, target: str, precision: FilePrecision) -> None:
        """Raise UsageError if a target is known to fail with free dimensions, or with the opset."""
        if self.opset != OPSET:
            self._check_for_8_2(target, precision)
        if self.is_free and target == "openvino" and precision == "int8":
            raise UsageError(
                "INT8 with a free batch or size crashes OpenVINO on some CPUs",
                hint="leave --dynamic out, or --precision fp16; see openvino issue 37577",
            )

    def _check_for_8_2(self, target: str, precision: FilePrecision) -> None:
        """Raise UsageError if TensorRT 8.2, for which an old opset is, cannot use the file.

        Source of what later versions added: https://github.com/onnx/onnx-tensorrt/blob/main/docs/Changelog.md
        """
        flag = f"--opset {self.opset}"
        if target != "onnx":
            raise UsageError(f"{flag} is for ONNX files", hint=f"--to onnx; {target} reads opset {OPSET}")
        if precision != "fp32":
            raise UsageError(
                f"TensorRT 8.2, which {flag} is for, reads no {precision.upper()} weights of a file, and the "
                "devices that have it no INT8",
                hint="--precision fp32; `trtexec --fp16` on the device builds FP16 from it",
            )
        if self.pixels == "uint8":
            raise UsageError(
                f"TensorRT 8.2, which {flag} is for, has no uint8 inputs: 8.5 was the first",
                hint="--input float",
            )
        if self.free_hw and self.output == "compact":
            raise UsageError(
                f"TensorRT 8.2, which {flag} is for, needs a fixed number of rows: 8.6 was the first without",
                hint="--output raw, or a fixed size",
            )

    def spec(self, spec: ModelSpec) -> ModelSpec:
        """The spec of a network with this interface."""
        return replace(
            spec, pixels=self.pixels, layout="compact" if self.output == "compact" else spec.layout
        )

    def metadata(self, spec: ModelSpec) -> dict[str, str]:
        """The metadata of a file with this interface; Ultralytics' tools need a number for the batch."""
        return self.spec(spec).to_metadata(self.batch or 1)


def apply_interface(model: onnx.ModelProto, spec: ModelSpec, interface: Interface) -> onnx.ModelProto:
    """A copy of a model with another interface.

    Args:
        model: A model of ``export.graph.yolov5`` at any precision, with FP32 input and output.
        spec: Of the model.
        interface: The interface.
    """
    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    if interface.pixels == "uint8":
        _read_uint8(graph, spec)
    if interface.output == "compact" or interface.free_hw:
        _decode(graph, spec, interface)
    for value in (graph.input[0], graph.output[0]):
        _set_side(value, 0, FREE_BATCH if interface.batch is None else interface.batch)
    if interface.free_hw:
        first = 1 if interface.pixels == "uint8" else 2
        for i, name in enumerate(FREE_HW):
            _set_side(graph.input[0], first + i, name)
    helper.set_model_props(new, interface.metadata(spec))
    if interface.opset != OPSET:  # the operators that edgestill writes mean the same in both, see the tests
        new.opset_import[0].version, new.ir_version = interface.opset, IR_VERSIONS[interface.opset]
    del graph.value_info[:]
    onnx.checker.check_model(new)
    return onnx.shape_inference.infer_shapes(new, strict_mode=True, data_prop=True)


def _read_uint8(graph: onnx.GraphProto, spec: ModelSpec) -> None:
    """Insert cast, transpose and scale behind a uint8 input ``[B, H, W, 3]``."""
    source = graph.input[0].name
    writer = GraphWriter()
    x = writer.node("Cast", f"{source}.cast", [source], to=TensorProto.FLOAT)
    x = writer.node("Transpose", f"{source}.planes", [x], perm=[0, 3, 1, 2])
    scale = writer.constant(f"{source}.scaled.by", np.asarray(spec.scale, np.float32))
    x = writer.node("Mul", f"{source}.scaled", [x, scale])
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == source:
                node.input[i] = x
    _insert(graph, writer, front=True)
    uint8_input = helper.make_tensor_value_info(source, TensorProto.UINT8, [1, *spec.input_hw, 3])
    graph.input[0].CopyFrom(uint8_input)


def _decode(graph: onnx.GraphProto, spec: ModelSpec, interface: Interface) -> None:
    """Replace the decode behind the head's maps."""
    head, output = HEADS.load(spec.head), graph.output[0].name
    _cut(graph, head.maps(spec))
    writer = GraphWriter()
    image = graph.input[0].name if interface.free_hw else None
    grid = CellGrid(writer, interface.spec(spec), image, interface.least_hw)
    if interface.output == "compact":
        best = head.write_best_boxes(writer, spec, grid, interface.rows)
        write_compact_rows(
            writer, spec.nc, best, grid.at_most(f"{output}.count", interface.rows, spec.nc), output
        )
        pairs = (spec.resized(interface.least_hw) if interface.free_hw else spec).cells * spec.nc
        rows = interface.rows if pairs >= interface.rows else None if interface.free_hw else pairs
        graph.output[0].CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, rows, 6]))
    else:
        head.write_all_boxes(writer, spec, grid, output)
        _set_side(graph.output[0], 1 if spec.layout == "yolov5" else 2, "boxes")
    _insert(graph, writer, front=False)


def _cut(graph: onnx.GraphProto, ends: Sequence[str]) -> None:
    """Remove all nodes and initializers that some tensors do not depend on."""
    needed, kept = set(ends), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(node)
    stored = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(stored)


def _insert(graph: onnx.GraphProto, writer: GraphWriter, *, front: bool) -> None:
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*writer.nodes, *nodes] if front else [*nodes, *writer.nodes])
    graph.initializer.extend(writer.used_constants())


def _set_side(value: onnx.ValueInfoProto, axis: int, size: int | str) -> None:
    side = value.type.tensor_type.shape.dim[axis]
    if isinstance(size, str):
        side.dim_param = size
    else:
        side.dim_value = size
