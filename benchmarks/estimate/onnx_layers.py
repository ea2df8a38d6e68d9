"""The layers of an ONNX graph as the kernels that TensorRT makes of it.

What is fused: batch norm, pointwise operators and the addition of a shortcut into the convolution or matrix
product before them; a chain of other pointwise operators and transpositions into one kernel; 1x1 convolutions
of the same input into one; Q/DQ pairs into the layer that they belong to. Reshapes, slices, splits and
concatenations cost nothing. Shapes are computed before the first image, and so are values of constants alone.

Source: the layer fusions of the TensorRT developer guide,
https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from benchmarks.estimate.layer_work import Kind, LayerWork, ModelWork
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import Precision
from runtime.onnx_guard.model import open_onnx

DENSE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
POINTWISE = frozenset(
    {
        *(
            "Abs",
            "Add",
            "And",
            "Ceil",
            "Clip",
            "Div",
            "Elu",
            "Equal",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "Greater",
        ),
        *(
            "GreaterOrEqual",
            "HardSigmoid",
            "HardSwish",
            "LeakyRelu",
            "Less",
            "LessOrEqual",
            "Log",
            "Max",
            "Min",
        ),
        *("Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu"),
        *("Sigmoid", "Sign", "Softplus", "Sqrt", "Sub", "Sum", "Swish", "Tanh", "Where"),
    }
)
MOVES = frozenset(
    {
        *("ArgMax", "AveragePool", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND"),
        *("GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization"),
        *("LayerNormalization", "LogSoftmax", "MaxPool", "Pad", "ReduceMax", "ReduceMean", "ReduceMin"),
        *("ReduceSum", "Resize", "ScatterND", "Softmax", "SpaceToDepth", "Tile", "TopK", "Upsample"),
    }
)
#: Belong to the kernel of their input.
KEPT = frozenset({"BatchNormalization", "Cast", "DequantizeLinear", "Dropout", "Identity", "QuantizeLinear"})
VIEWS = frozenset({"Concat", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"})
SHAPES = frozenset({"Constant", "ConstantOfShape", "Range", "Shape", "Size"})
KNOWN = DENSE | POINTWISE | MOVES | KEPT | VIEWS | SHAPES | {"Transpose"}
QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})
FEW_CHANNELS = 8  # of a group: tensor cores need at least as many


@dataclass(slots=True, eq=False)
class _Kernel:
    """A kernel that may still grow by fusion.

    Attributes:
        kind: See ``LayerWork``.
        fuses: Whether pointwise operators can join it.
        flops, read, written, weights, outputs, reduction: See ``LayerWork``; of the whole batch of the file.
    """

    kind: Kind
    fuses: bool
    flops: float = 0.0
    read: float = 0.0
    written: float = 0.0
    weights: float = 0.0
    outputs: int = 0
    reduction: int = 0


def read_layers(path: Path, precision: Precision, input_hw: tuple[int, int] | None = None) -> ModelWork:
    """The layers of an ONNX file, for one image.

    Args:
        path: The file.
        precision: That will be estimated.
        input_hw: Input height and width, pixels, for a file with free sizes; None for the file's own.

    Raises:
        ArtifactError: The file is no ONNX file of one image input, or an operator is not known.
        UsageError: The size is free and was not given, or is fixed and another one was given; or the file is
            quantised and another precision is asked for.
        DeviceError: The ``onnx`` package is not installed.
    """
    model = open_onnx(path)
    _refuse_unknown(path, model.graph.node)
    if precision != "int8" and any(node.op_type in QUANTIZED for node in model.graph.node):
        raise UsageError(
            f"{path} is quantised: it cannot be estimated in {precision}",
            hint="add --precision int8, or give the file that it was made from",
        )
    batch, hw = _fix_input(path, model, input_hw)
    try:
        kernels = _Fusion(path, _inferred(path, model)).kernels()
    except (ArithmeticError, LookupError) as error:
        raise ArtifactError(
            f"no estimate for {path}: the shapes of a node do not fit its operator: {error!r}",
            hint="export the model again",
        ) from error
    layers = tuple(
        LayerWork(
            kind=k.kind,
            flops=k.flops / batch,
            read=k.read / batch,
            written=k.written / batch,
            weights=k.weights,
            outputs=k.outputs,
            reduction=k.reduction,
        )
        for k in kernels
    )
    return ModelWork(name=str(path), input_hw=hw, layers=layers)


def _refuse_unknown(path: Path, nodes: Iterable[Any]) -> None:
    odd = sorted({node.op_type for node in nodes} - KNOWN)
    if odd:
        raise ArtifactError(
            f"no estimate for {path}: the latency of its operators {', '.join(odd[:5])} is not known",
            hint="export it without NMS and without control flow, or measure it: edgestill bench",
        )


def _fix_input(path: Path, model: Any, wanted: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """Give the image input a fixed size; returns its batch, height and width."""
    stored = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in stored]
    dims = list(inputs[0].type.tensor_type.shape.dim) if len(inputs) == 1 else []
    if len(dims) != 4:
        raise ArtifactError(
            f"no estimate for {path}: it does not have one input of four dimensions",
            hint="give a model of images, [batch, channels, height, width]",
        )
    last = dims[3].dim_value in {1, 3} and dims[1].dim_value not in {1, 3}  # channels last
    sides = dims[1:3] if last else dims[2:4]
    own = tuple(d.dim_value for d in sides)
    if wanted is None and not all(own):
        raise UsageError(f"{path} has a free input size", hint="give --imgsz HxW")
    if wanted is not None and all(own) and own != wanted:
        raise UsageError(
            f"{path} has the fixed input size {own[0]}x{own[1]}, not {wanted[0]}x{wanted[1]}",
            hint="leave --imgsz out, or export the model at that size",
        )
    height, width = wanted or own
    for dim, side in zip(sides, (height, width), strict=True):
        dim.dim_value = side
    dims[0].dim_value = max(dims[0].dim_value, 1)
    return dims[0].dim_value, (height, width)


def _inferred(path: Path, model: Any) -> Any:
    """The model with the shapes of its tensors; those that an export stored may be of another size."""
    from onnx import shape_inference  # noqa: PLC0415 (an extra; slow to import)

    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # onnx's InferenceError has no typed import
        raise ArtifactError(
            f"no estimate for {path}: the shapes of its tensors cannot be inferred: {error}",
            hint="export the model again, at a fixed size",
        ) from error


class _Fusion:
    """Assigns the nodes of a graph with known shapes to kernels, in order.

    Attributes:
        shapes: By tensor; 0 for an unknown side.
        constants: Tensors that do not depend on the image's values.
        made_by: By tensor, the kernel that writes it, or None where that is not fused with what follows.
    """

    def __init__(self, path: Path, model: Any) -> None:
        graph = model.graph
        self._path, self._nodes = path, graph.node
        self._kernels: list[_Kernel] = []
        values = (*graph.input, *graph.value_info, *graph.output)
        self.shapes: dict[str, tuple[int, ...]] = {
            v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values
        } | {t.name: tuple(t.dims) for t in graph.initializer}
        self.constants = {t.name for t in graph.initializer} | {""}
        self.made_by: dict[str, _Kernel | None] = {}
        self._readers: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node.op_type)
        self._pointwise_convs: dict[tuple[str, ...], _Kernel] = {}

    def kernels(self) -> list[_Kernel]:
        """The kernels of the whole graph."""
        for node in self._nodes:
            if node.op_type in SHAPES or all(name in self.constants for name in node.input):
                self.constants.update(node.output)
            else:
                kernel = self._kernel(node)
                self.made_by.update(dict.fromkeys(node.output, kernel))
        return self._kernels

    def _kernel(self, node: Any) -> _Kernel | None:
        """The kernel that a node belongs to; None for a node that makes a view."""
        if node.op_type in DENSE:
            return self._dense(node)
        if node.op_type in KEPT:
            return self.made_by.get(node.input[0])
        if node.op_type in VIEWS:
            return self._moving(node)
        if node.op_type == "Transpose" and set(self._readers.get(node.output[0], ())) == {"MatMul"}:
            return None
        if node.op_type in MOVES:
            return self._new(node, fuses=False)
        return self._join(node)

    def _moving(self, node: Any) -> _Kernel | None:
        """The pointwise kernel in whose chain a view stands, if it has one input that is such."""
        made = {id(k): k for name in node.input if (k := self.made_by.get(name)) is not None}
        first = next(iter(made.values()), None)
        return first if len(made) == 1 and first and first.kind == "memory" and first.fuses else None

    def _join(self, node: Any) -> _Kernel:
        """Fuse a pointwise operator or a transposition with what was made last, or begin a kernel with it."""
        order = {id(kernel): k for k, kernel in enumerate(self._kernels)}
        made = [(n, k) for n in node.input if (k := self.made_by.get(n)) is not None]
        name, kernel = max(made, key=lambda pair: order[id(pair[1])], default=("", None))
        moves = node.op_type == "Transpose"
        if kernel is None or not kernel.fuses or (moves and kernel.kind != "memory"):
            return self._new(node, fuses=True)
        others = {n for n in node.input if n not in self.constants and self.made_by.get(n) is not kernel}
        kernel.read += sum(map(self._elements, others))
        kernel.written += self._elements(node.output[0]) - self._elements(name)
        return kernel

    def _new(self, node: Any, *, fuses: bool) -> _Kernel:
        inputs = {name for name in node.input if name not in self.constants}
        kernel = _Kernel(
            kind="memory",
            fuses=fuses,
            read=sum(map(self._elements, inputs)),
            written=sum(self._elements(name) for name in node.output if name),
        )
        self._kernels.append(kernel)
        return kernel

    def _dense(self, node: Any) -> _Kernel:
        x, weights = self._shape(node.input[0]), self._shape(node.input[1])
        out = self._shape(node.output[0])
        stored = node.input[1] in self.constants
        if node.op_type in {"Conv", "ConvTranspose"}:
            outputs, groups = out[1], x[1] // weights[1 if node.op_type == "Conv" else 0] or 1
        else:
            outputs, groups = out[-1], 1
        # Each weight is used once for each output position, or for each input position if transposed.
        positions = prod(x) / x[1] if node.op_type == "ConvTranspose" else prod(out) / outputs
        reduction = prod(weights) // outputs if node.op_type != "MatMul" else weights[-2]
        shared = (node.input[0], *_layout(node))
        before = self._pointwise_convs.get(shared)
        kernel = before or _Kernel(kind="dense", fuses=True, read=prod(x) + (0 if stored else prod(weights)))
        kernel.flops += 2.0 * positions * outputs * reduction
        kernel.written += prod(out)
        kernel.weights += prod(weights) if stored else 0
        kernel.outputs += outputs
        kernel.reduction = reduction
        if before is None:
            self._kernels.append(kernel)
        if groups > 1 and x[1] // groups < FEW_CHANNELS:
            kernel.kind = "depthwise"
        if node.op_type == "Conv" and groups == 1 and set(weights[2:]) == {1}:
            self._pointwise_convs[shared] = kernel  # others that read the same tensor join it
        return kernel

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = self.shapes.get(name, ())
        if not shape or not all(shape):
            raise ArtifactError(
                f"no estimate for {self._path}: the shape of {name!r} is not known",
                hint="export the model again, at a fixed size",
            )
        return shape

    def _elements(self, name: str) -> int:
        return prod(self._shape(name)) if self.shapes.get(name) != () else 1


def _layout(node: Any) -> Sequence[str]:
    """Kernel, strides and padding, as text."""
    names = {"dilations", "kernel_shape", "pads", "strides"}
    return [f"{a.name} {list(a.ints)}" for a in node.attribute if a.name in names]
