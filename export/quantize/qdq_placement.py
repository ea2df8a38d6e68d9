"""Q/DQ placement: the tensors and convolutions of a graph to quantise, for each target.

It follows from the structure: a convolution followed by SiLU belongs to the body and may be quantised. The
others are the detection outputs; they and the decode behind them stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import onnx

from export.graph.detector_graph import DetectorGraph
from export.graph.index import SAME_SCALE, passed_on
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.range_methods import ONNXRUNTIME, OPENVINO, TENSORRT, Tuning
from export.quantize.ranges import Range, noise_db, silu
from export.quantize.tensor_ranges import FRONT_STRIDE, FloatBudget, groups_of, tensor_ranges

#: Lower end of the ranges in front of SiLU for ONNX Runtime. SiLU is within 0.03 of zero below it, and a
#: narrower range has a smaller scale. At -4 all inactive values of a layer shift by 0.07, and boxes with
#: them; at -8 the scale is so much larger that the box error of the COCO YOLOv5n rises by a tenth.
PRE_ACTIVATION_FLOOR = -5.0
FRONT = f"its feature map has a stride of {FRONT_STRIDE} or less"


@dataclass(frozen=True, slots=True, kw_only=True)
class QdqPlan:
    """What to quantise.

    Attributes:
        activations: The ranges of tensors with a Q/DQ pair, by name.
        convolutions: Names of the convolutions that compute in INT8.
        int8_inputs: By such a convolution, the range of its input.
        float_readers: Names of the nodes that read their inputs before quantisation.
        integer_bias: Whether biases are INT32 at the scale of the accumulator, or float.
        signed: Whether activations are INT8 with zero point 0. A range that is not ``ranges.symmetric`` is
            then that of the tensor before it is shifted: see ``for_tensorrt``.
        left_float: By tensor or convolution of the body that stays float, the reason.
    """

    activations: Mapping[str, Range]
    convolutions: frozenset[str]
    int8_inputs: Mapping[str, Range]
    float_readers: frozenset[str]
    integer_bias: bool
    signed: bool = False
    left_float: Mapping[str, str] = field(default_factory=dict)


Placement = Callable[[DetectorGraph, TensorStatistics, Tuning], QdqPlan]


def for_openvino(graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning = OPENVINO) -> QdqPlan:
    """Quantise activations between layers, and none within a layer.

    OpenVINO fuses convolution, SiLU and quantisation into one kernel with full precision inside. A pair is
    therefore placed behind SiLU only, and not on the branch of a residual addition that is fused into the
    same kernel. Detection outputs read unquantised activations: boxes are better, and a kernel that writes
    float is faster than a dequantisation.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors.
        tuning: How ranges are computed, and how much may stay float.
    """
    branches = graph.fused_branches()
    wanted = [t for t in graph.block_outputs() if t not in branches and _is_needed(graph, t)]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted)
    return _plan(graph, ranges, left, convolutions=graph.body, integer_bias=False)


def for_onnxruntime(
    graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning = ONNXRUNTIME
) -> QdqPlan:
    """Quantise every activation: ONNX Runtime has INT8 convolutions with INT8 output only.

    The input of SiLU is quantised as well, and its sigmoid, which becomes a table of 256 entries. Layers with
    too much noise in front of SiLU stay float. So do the layers in front of detection outputs where they are
    a small share: with towers they are a sixth of all multiplications, and boxes lose little.

    Where one of the finest feature maps stays float, so does everything in front of it: these convolutions
    have few channels, so that INT8 gains little, and the type changes only once.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors.
        tuning: How ranges are computed, and how much may stay float.
    """
    wanted = [t for t in graph.block_outputs() if _is_needed(graph, t)]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted)
    histograms = {name: statistics.histograms[node.output[0]] for name, node in graph.body.items()}
    before = {name: _before_silu(tuning.range_of(histogram)) for name, histogram in histograms.items()}
    left |= _unfit(graph, statistics, tuning, before)
    left = _whole_front(graph, left) | left
    convolutions = {name: node for name, node in graph.body.items() if name not in left}
    plan = _plan(graph, ranges, left, convolutions=convolutions, integer_bias=True)
    inner: dict[str, Range] = {}
    for name in plan.convolutions:
        node = graph.body[name]
        inner |= {node.output[0]: before[name], graph.sigmoid(node): Range(0.0, 1.0)}
    passed = _passed_on_ranges(graph, plan.activations)
    quantised = read_quantised({**plan.activations, **inner, **passed}, graph, plan.float_readers)
    pooled = _float_pools(graph, plan)
    return replace(plan, activations={t: used for t, used in quantised.items() if t not in pooled})


def for_tensorrt(graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning = TENSORRT) -> QdqPlan:
    """Quantise the input of every convolution of the body to symmetric INT8, and nothing within a layer.

    TensorRT fuses convolution, bias, SiLU and the next quantisation, and a residual addition with the
    convolution in front of it: a pair is placed on the shortcut only, as in ``for_openvino``. A convolution
    is INT8 only if a pair is its direct input, hence another pair, of the same scale, behind each node that
    passes values on.

    Symmetric INT8 spends half of its values on negative numbers, which SiLU hardly has. A tensor is therefore
    shifted to the middle of its range before quantisation: one more operation in registers, in the kernel of
    SiLU. The convolution that reads it adds the shift times the sum of its weights to its bias. With zero
    padding this is impossible, since the padding is not shifted: inputs of 3 x 3 convolutions stay symmetric.

    Everything in front of the first feature map of stride 8 is float: errors on the finest maps move boxes
    most, see docs/reference/calibration.md. These layers have 16 and 32 channels, where INT8 gains least, and
    the format changes only once.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors.
        tuning: How ranges are computed, and how much may stay float.
    """
    front = graph.front(FRONT_STRIDE)
    branches = graph.fused_branches()
    read = [t for t in graph.block_outputs() if t not in branches and _is_needed(graph, t)]
    wanted = [t for t in read if any(r.name not in front for r in graph.readers[t])]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted, unsigned=_without_padding(graph, wanted))
    del ranges[graph.source]
    left |= dict.fromkeys([t for t in read if t not in wanted] + sorted(front & graph.body.keys()), FRONT)
    left |= {name: "it reads the image" for name, n in graph.body.items() if n.input[0] == graph.source}
    convolutions = {name: node for name, node in graph.body.items() if name not in front}
    plan = _plan(graph, ranges, left, convolutions=convolutions, integer_bias=False)
    passed = _passed_on_ranges(graph, plan.activations)
    return replace(
        plan,
        activations={**plan.activations, **passed},
        float_readers=plan.float_readers | front,
        signed=True,
    )


def _without_padding(graph: DetectorGraph, tensors: Iterable[str]) -> list[str]:
    """The tensors that no convolution with zero padding reads, nor a tensor of the same scale."""
    groups = groups_of(graph)
    padded = {groups.get(t, t) for t in tensors if any(map(_is_padded, graph.convolutions_reading(t)))}
    return [t for t in tensors if groups.get(t, t) not in padded]


def _is_padded(conv: onnx.NodeProto) -> bool:
    return any(any(a.ints) for a in conv.attribute if a.name == "pads")


def _whole_front(graph: DetectorGraph, left: Mapping[str, str]) -> dict[str, str]:
    """The convolutions in front of the finest feature maps that stay float, and the reason."""
    front = graph.front(FRONT_STRIDE)
    made = {name: graph.activation(graph.body[name]) if name in graph.body else name for name in left}
    fine = {name: tensor for name, tensor in made.items() if graph.producer[tensor].name in front}
    return {
        conv: f"{name} behind it is float" for name in fine for conv in graph.convolutions_before(fine[name])
    }


def _float_pools(graph: DetectorGraph, plan: QdqPlan) -> set[str]:
    """Inputs and outputs of the body's pools behind a float layer.

    ONNX Runtime pools INT8 fast only if it is laid out channels last, as an INT8 convolution leaves it. In
    the other layout one INT8 pool of the SPPF takes as long as ten float ones, so quantisation is left to the
    concat.
    """
    makers = {graph.activation(node): name for name, node in graph.body.items()}
    floats = {tensor for tensor, name in makers.items() if name not in plan.convolutions}
    found: set[str] = set()
    for node in graph.same_scale_nodes():
        if node.op_type == "MaxPool" and node.input[0] in floats | found:
            found |= {node.input[0], node.output[0]}
    return found


def _before_silu(used: Range) -> Range:
    return Range(max(used.low, PRE_ACTIVATION_FLOOR), used.high)


def _unfit(
    graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning, before: Mapping[str, Range]
) -> dict[str, str]:
    """The convolutions whose output must not be quantised in front of SiLU, and the reason."""
    last = [n for n, node in graph.body.items() if graph.activation_readers(node) & set(graph.outputs)]
    # The last layers of a decoupled head's towers are too large a share.
    kept = last if graph.share(last) <= tuning.float_share else []
    left = dict.fromkeys(kept, "a detection output reads it")
    noisy = {
        name: noise_db(statistics.histograms[graph.body[name].output[0]], used, silu)
        for name, used in before.items()
        if name not in left
    }
    budget = FloatBudget(graph, tuning)
    too_noisy = {
        name: f"in INT8 the input of its SiLU has {db:.1f} dB"
        for name, db in sorted(noisy.items(), key=lambda item: item[1])
        if budget.grants(db, {name}, {name})
    }
    return left | too_noisy


def _is_needed(graph: DetectorGraph, tensor: str) -> bool:
    """Whether a node that is not a detection output reads a tensor."""
    return any(r.name not in graph.outputs for r in graph.readers.get(tensor, []))


def read_quantised(
    ranges: Mapping[str, Range], graph: DetectorGraph, floats: Collection[str]
) -> dict[str, Range]:
    """The ranges of the tensors that at least one node reads quantised."""
    return {
        tensor: used
        for tensor, used in ranges.items()
        if any(reader.name not in floats for reader in graph.readers[tensor])
    }


def _passed_on_ranges(graph: DetectorGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of outputs of nodes that pass quantised values on."""
    found = {node.output[0]: _int8_range(graph, ranges, node.output[0]) for node in graph.same_scale_nodes()}
    return {tensor: used for tensor, used in found.items() if used is not None}


def _int8_range(graph: DetectorGraph, ranges: Mapping[str, Range], tensor: str) -> Range | None:
    """The range of a tensor that is quantised, directly or passed on; None for a float one."""
    if tensor in ranges:
        return ranges[tensor]
    node = graph.producer.get(tensor)
    if node is None or node.op_type not in SAME_SCALE:
        return None
    found = [_int8_range(graph, ranges, t) for t in passed_on(node)]
    return found[0] if all(r is not None for r in found) else None


def _plan(
    graph: DetectorGraph,
    ranges: Mapping[str, Range],
    left: dict[str, str],
    *,
    convolutions: Mapping[str, onnx.NodeProto],
    integer_bias: bool,
) -> QdqPlan:
    """A plan with those of some convolutions whose input is quantised."""
    inputs = {name: _int8_range(graph, ranges, node.input[0]) for name, node in convolutions.items()}
    left |= {name: "its input is float" for name, used in inputs.items() if used is None}
    int8_inputs = {name: used for name, used in inputs.items() if used is not None}
    floats = {n for n in (*graph.body, *graph.outputs) if n not in int8_inputs}
    return QdqPlan(
        activations=read_quantised(ranges, graph, floats),
        convolutions=frozenset(int8_inputs),
        int8_inputs=int8_inputs,
        float_readers=frozenset(floats),
        integer_bias=integer_bias,
        left_float=left,
    )
