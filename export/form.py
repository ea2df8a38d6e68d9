"""How a file takes images and gives boxes: the last step of an export, behind all that is done for precision.

The network is written, quantised and halved for one float image and its raw output. What is put around it
here is plain arithmetic in FP32 that no precision step sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgestill.errors import UsageError
from edgestill.spec import ModelSpec, Pixels, Precision
from export.emit import BATCH, GraphWriter

Output = Literal["raw", "compact"]
#: Pairs of box and class in a compact output. On street images 400 to 900 pairs are above the evaluation's
#: threshold of 0.001, at most 1700. Of points of mAP50-95, 300 rows lose 0.013 at most, 500 0.007, 1000 none.
ROWS = 1000
MAX_ROWS = 3840  # that TensorRT's TopK can give
FREE = "batch"  # the name of a free batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a file looks like from outside.

    Attributes:
        output: Every box that the network decodes, or the best ones only, see ``edgestill.spec.Layout``.
        pixels: See ``edgestill.spec.Pixels``.
        batch: Images at once; None leaves it free.
        rows: Of a compact output, at most; a network with fewer pairs of box and class has as many as those.
    """

    output: Output = "raw"
    pixels: Pixels = "float32"
    batch: int | None = 1
    rows: int = ROWS

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} holds no image", hint="--batch 1 or more")
        if not 1 <= self.rows <= MAX_ROWS:
            raise UsageError(f"{self.rows} rows", hint=f"1 to {MAX_ROWS}, which is TensorRT's limit")

    def check(self, target: str, precision: Precision) -> None:
        """Raise UsageError where the batch is free and cannot be, or was seen to go wrong."""
        if self.batch is not None:
            return
        if target.startswith("tensorrt"):
            raise UsageError(
                "an engine is built for fixed sizes",
                hint="--batch N builds one for N images at once, one file for each N",
            )
        if target == "openvino" and precision == "int8":
            raise UsageError(
                "INT8 with a free batch crashes OpenVINO on some CPUs",
                hint="--batch N for a fixed one, or --precision fp16; see openvino issue 37577",
            )

    def spec(self, spec: ModelSpec) -> ModelSpec:
        """The contract of a network in this form."""
        return replace(
            spec, pixels=self.pixels, layout="compact" if self.output == "compact" else spec.layout
        )

    def metadata(self, spec: ModelSpec) -> dict[str, str]:
        """What a file in this form says of itself; Ultralytics' tools want a number for the batch."""
        return {**self.spec(spec).to_metadata(), "batch": str(self.batch or 1)}


def reform(model: onnx.ModelProto, spec: ModelSpec, form: Form) -> onnx.ModelProto:
    """A copy of a model in another form.

    Args:
        model: A model of ``export.graph``, at any precision; its input and output are FP32.
        spec: Its contract.
        form: What is wanted.
    """
    new = onnx.ModelProto()
    new.CopyFrom(model)
    graph = new.graph
    if form.pixels == "uint8":
        _take_bytes(graph, spec)
    if form.output == "compact":
        _give_rows(graph, spec, form.rows)
    for value in (graph.input[0], graph.output[0]):
        _set_batch(value, form.batch)
    helper.set_model_props(new, form.metadata(spec))
    del graph.value_info[:]
    onnx.checker.check_model(new)
    return onnx.shape_inference.infer_shapes(new, strict_mode=True, data_prop=True)


def _take_bytes(graph: onnx.GraphProto, spec: ModelSpec) -> None:
    """Put the cast, the scale and the order of the axes in front."""
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
    taken = helper.make_tensor_value_info(source, TensorProto.UINT8, [1, *spec.input_hw, 3])
    graph.input[0].CopyFrom(taken)


def _give_rows(graph: onnx.GraphProto, spec: ModelSpec, limit: int) -> None:
    """Put the choice of the best pairs of box and class behind.

    In two steps, since boxes times classes are many: the ``limit`` best boxes by their best class hold the
    ``limit`` best pairs, as each of these boxes has a pair that is better than any of the others'.
    """
    name = graph.output[0].name
    raw = f"{name}.raw"
    last = next(node for node in graph.node if name in node.output)
    last.name, last.output[0] = raw, raw
    writer = _Picker()
    few = min(limit, spec.cells)
    rows, alarm = _best_boxes(writer, raw, spec, few)
    count = min(limit, few * spec.nc)
    pairs = _best_pairs(writer, name, rows, spec, (few, count))
    writer.node("Add", name, [pairs, alarm])
    _insert(graph, writer, front=False)
    graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, 6]))


class _Picker(GraphWriter):
    """Nodes that take things apart and pick from them, in forms that all engines know."""

    def part(self, name: str, x: str, axis: int, start: int, end: int) -> str:
        """``x`` from start to end along an axis."""
        bounds = {"start": start, "end": end, "axis": axis}
        stored = [self.constant(f"{name}.{k}", np.asarray([v], np.int64)) for k, v in bounds.items()]
        return self.node("Slice", name, [x, *stored])

    def best(self, name: str, x: str, count: int) -> tuple[str, str]:
        """The largest of ``[B, N]``, largest first: values and places, ``[B, count]``."""
        stored = self.constant(f"{name}.count", np.asarray([count], np.int64))
        made = [f"{name}.value", f"{name}.place"]
        self.nodes.append(helper.make_node("TopK", [x, stored], made, name=name, axis=1, largest=1, sorted=1))
        return made[0], made[1]

    def pick(self, name: str, x: str, places: str) -> str:
        """Of ``[B, N, C]`` the rows at places ``[B, count]``."""
        column = self.reshape(f"{name}.places", places, (BATCH, -1, 1))
        return self.node("GatherND", name, [x, column], batch_dims=1)


def _best_boxes(writer: _Picker, raw: str, spec: ModelSpec, few: int) -> tuple[str, str]:
    """From the raw output its best rows ``[B, few, ...]``, columns as in ``spec.layout``; and ``_alarm``."""
    by_row = spec.layout == "yolov5"
    axis, first = (2, 5) if by_row else (1, 4)
    gate = classes = writer.part(f"{raw}.classes", raw, axis, first, first + spec.nc)
    best = writer.node("ReduceMax", f"{raw}.best", [classes], axes=[axis], keepdims=0)
    if by_row:
        gate = writer.part(f"{raw}.objectness", raw, 2, 4, 5)
        best = writer.node("Mul", f"{raw}.gate", [best, writer.reshape(f"{raw}.flat", gate, (BATCH, -1))])
    _, places = writer.best(f"{raw}.boxes", best, few)
    rows = raw if by_row else writer.node("Transpose", f"{raw}.by_row", [raw], perm=[0, 2, 1])
    return writer.pick(f"{raw}.rows", rows, places), _alarm(writer, raw, gate)


def _best_pairs(writer: _Picker, name: str, rows: str, spec: ModelSpec, counts: tuple[int, int]) -> str:
    """From rows ``[B, few, ...]`` the compact output ``[B, count, 6]``."""
    few, count = counts
    first = 5 if spec.layout == "yolov5" else 4
    scores = writer.part(f"{name}.classes", rows, 2, first, first + spec.nc)
    if spec.layout == "yolov5":
        scores = writer.node(
            "Mul", f"{name}.scores", [scores, writer.part(f"{name}.objectness", rows, 2, 4, 5)]
        )
    flat = writer.reshape(f"{name}.flat", scores, (BATCH, few * spec.nc))
    score, place = writer.best(f"{name}.pairs", flat, count)
    nc = writer.constant(f"{name}.nc", np.asarray(spec.nc, np.int64))
    box = writer.node("Div", f"{name}.box", [place, nc])
    class_id = writer.node(
        "Sub", f"{name}.class", [place, writer.node("Mul", f"{name}.box.first", [box, nc])]
    )
    class_id = writer.node("Cast", f"{name}.class.float", [class_id], to=TensorProto.FLOAT)
    boxes = writer.pick(f"{name}.boxes", writer.part(f"{name}.rows.boxes", rows, 2, 0, 4), box)
    centre = writer.part(f"{name}.centre", boxes, 2, 0, 2)
    half = writer.constant(f"{name}.half.by", np.asarray(0.5, np.float32))
    half = writer.node("Mul", f"{name}.half", [writer.part(f"{name}.size", boxes, 2, 2, 4), half])
    columns = [
        writer.node("Sub", f"{name}.low", [centre, half]),
        writer.node("Add", f"{name}.high", [centre, half]),
        writer.reshape(f"{name}.score", score, (BATCH, count, 1)),
        writer.reshape(f"{name}.id", class_id, (BATCH, count, 1)),
    ]
    return writer.node("Concat", f"{name}.rows", columns, axis=2)


def _alarm(writer: GraphWriter, raw: str, probabilities: str) -> str:
    """0, or NaN if a probability is no number: such a one is last in every order, and must not go unseen."""
    total = writer.node("ReduceMean", f"{raw}.mean", [probabilities], axes=[1, 2], keepdims=1)
    return writer.node("Sub", f"{raw}.alarm", [total, total])


def _insert(graph: onnx.GraphProto, writer: GraphWriter, *, front: bool) -> None:
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*writer.nodes, *nodes] if front else [*nodes, *writer.nodes])
    graph.initializer.extend(writer.constants.values())


def _set_batch(value: onnx.ValueInfoProto, batch: int | None) -> None:
    side = value.type.tensor_type.shape.dim[0]
    if batch is None:
        side.dim_param = FREE
    else:
        side.dim_value = batch
