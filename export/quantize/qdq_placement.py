"""Which tensors and convolutions of a graph go to INT8, for each family of engines.

Read from the structure: a convolution followed by SiLU is part of the body and may be quantised. The others
are the detection outputs; they and everything behind them stay float.
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

#: Below it SiLU is zero to within 0.03, so bytes of ONNX Runtime need not reach further down, and steps are
#: finer for it. At -4 a layer's silent values all move by 0.07 the same way, and boxes with them; at -8 steps
#: are so much wider that boxes of the COCO YOLOv5n are off by a tenth more.
PRE_ACTIVATION_FLOOR = -5.0
FRONT = f"its map has a stride of {FRONT_STRIDE} or less"


@dataclass(frozen=True, slots=True, kw_only=True)
class QdqPlan:
    """Where the bytes are.

    Attributes:
        activations: Tensors that are rounded to a byte behind the node that makes them, and their ranges.
        convolutions: Nodes that multiply bytes.
        int8_inputs: For each such node, the range of its input.
        float_readers: Nodes that read the tensor as it was before rounding.
        integer_bias: Whether the bias is an int32 at the accumulator's scale, or stays float.
        signed: Whether a byte is signed, and zero stands for zero. A range that is not ``ranges.symmetric``
            is then that of the tensor before it is shifted: see ``for_tensorrt``.
        left_float: Why a tensor or convolution of the body was left out.
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
    """Bytes between layers, nothing inside one.

    OpenVINO fuses convolution, SiLU and rounding into one kernel that keeps full precision inside, so a pair
    stands behind SiLU only; none on the branch that a residual addition consumes from the same kernel. A
    detection output reads what its layer computed, before rounding: better boxes, and a kernel that writes
    float costs less than turning bytes back.
    """
    branches = graph.fused_branches()
    wanted = [t for t in graph.block_outputs() if t not in branches and _is_needed(graph, t)]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted)
    return _plan(graph, ranges, left, convolutions=graph.body, integer_bias=False)


def for_onnxruntime(
    graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning = ONNXRUNTIME
) -> QdqPlan:
    """Bytes everywhere: ONNX Runtime multiplies bytes only where the result becomes a byte at once.

    So the sum in front of SiLU is rounded as well, and the sigmoid, which makes it a table of 256. Layers
    that this rounding would ruin are left float, and so are those whose result a detection output reads,
    where they are cheap: with towers they are a sixth of all multiplications, and boxes hardly lose by it.

    Where one of the finest maps is left float, so is all in front of it: its convolutions have few channels,
    so that bytes win little there, and in one piece the front changes type once.
    """
    wanted = [t for t in graph.block_outputs() if _is_needed(graph, t)]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted)
    seen = {name: statistics.histograms[node.output[0]] for name, node in graph.body.items()}
    before = {name: _before_silu(tuning.range_of(histogram)) for name, histogram in seen.items()}
    left |= _unfit(graph, statistics, tuning, before)
    left = _whole_front(graph, left) | left
    convolutions = {name: node for name, node in graph.body.items() if name not in left}
    plan = _plan(graph, ranges, left, convolutions=convolutions, integer_bias=True)
    inner: dict[str, Range] = {}
    for name in plan.convolutions:
        node = graph.body[name]
        inner |= {node.output[0]: before[name], graph.sigmoid(node): Range(0.0, 1.0)}
    moved = _moved(graph, plan.activations)
    rounded = read_rounded({**plan.activations, **inner, **moved}, graph, plan.float_readers)
    pooled = _float_pools(graph, plan)
    return replace(plan, activations={t: used for t, used in rounded.items() if t not in pooled})


def for_tensorrt(graph: DetectorGraph, statistics: TensorStatistics, tuning: Tuning = TENSORRT) -> QdqPlan:
    """Signed bytes in front of every convolution of the body, nothing inside a layer; zero stands for zero.

    TensorRT fuses convolution, bias, SiLU and the next rounding, and a residual addition with the convolution
    that it follows: so a pair stands on the shortcut's side only, as in ``for_openvino``. It multiplies bytes
    only where the pair is the convolution's own input, hence one more behind whatever moves bytes about, at
    the same scale.

    A signed byte spends half of its values on numbers that hardly a SiLU has. So a tensor is shifted to the
    middle of its range before it is rounded: one more operation on what is in a register, in the kernel of
    SiLU and rounding. The convolution that reads it adds the shift times the sum of its weights to its bias.
    One with a border of zeros cannot, for the border lacks no shift: what 3 x 3 convolutions read stays.

    All in front of the first map of stride 8 is float: what is lost on the finest maps moves boxes most, see
    docs/calibration.md. These layers have 16 and 32 channels, where bytes win least, and in one piece they
    cost one change of format.
    """
    front = graph.front(FRONT_STRIDE)
    branches = graph.fused_branches()
    read = [t for t in graph.block_outputs() if t not in branches and _is_needed(graph, t)]
    wanted = [t for t in read if any(r.name not in front for r in graph.readers[t])]
    ranges, left = tensor_ranges(graph, statistics, tuning, wanted, unsigned=_borderless(graph, wanted))
    del ranges[graph.source]
    left |= dict.fromkeys([t for t in read if t not in wanted] + sorted(front & graph.body.keys()), FRONT)
    left |= {name: "it reads the image" for name, n in graph.body.items() if n.input[0] == graph.source}
    convolutions = {name: node for name, node in graph.body.items() if name not in front}
    plan = _plan(graph, ranges, left, convolutions=convolutions, integer_bias=False)
    moved = _moved(graph, plan.activations)
    return replace(
        plan,
        activations={**plan.activations, **moved},
        float_readers=plan.float_readers | front,
        signed=True,
    )


def _borderless(graph: DetectorGraph, tensors: Iterable[str]) -> list[str]:
    """The tensors that no convolution with a border of zeros reads, nor any that shares their scale."""
    groups = groups_of(graph)
    bordered = {groups.get(t, t) for t in tensors if any(map(_has_border, graph.convolutions_reading(t)))}
    return [t for t in tensors if groups.get(t, t) not in bordered]


def _has_border(conv: onnx.NodeProto) -> bool:
    return any(any(a.ints) for a in conv.attribute if a.name == "pads")


def _whole_front(graph: DetectorGraph, left: Mapping[str, str]) -> dict[str, str]:
    """The convolutions in front of the finest maps that stay float, and why they do too."""
    front = graph.front(FRONT_STRIDE)
    made = {name: graph.activation(graph.body[name]) if name in graph.body else name for name in left}
    fine = {name: tensor for name, tensor in made.items() if graph.producer[tensor].name in front}
    return {
        conv: f"{name} behind it is float" for name in fine for conv in graph.convolutions_before(fine[name])
    }


def _float_pools(graph: DetectorGraph, plan: QdqPlan) -> set[str]:
    """What pools of the body read and make where the layer in front of them is float.

    ONNX Runtime pools bytes fast where they lie channels last, which only a convolution in bytes makes them
    do. Elsewhere one pool of the SPPF takes as long as ten of floats, so the rounding waits for the concat.
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
    """The convolutions whose result must not be rounded in front of SiLU, and why."""
    last = [n for n, node in graph.body.items() if graph.activation_readers(node) & set(graph.outputs)]
    spared = (
        last if graph.share(last) <= tuning.float_share else []
    )  # the ends of a head's towers do too much
    left = dict.fromkeys(spared, "a detection output reads it")
    noisy = {
        name: noise_db(statistics.histograms[graph.body[name].output[0]], used, silu)
        for name, used in before.items()
        if name not in left
    }
    budget = FloatBudget(graph, tuning)
    ruined = {
        name: f"a byte in front of its SiLU leaves {db:.1f} dB"
        for name, db in sorted(noisy.items(), key=lambda item: item[1])
        if budget.grants(db, {name}, {name})
    }
    return left | ruined


def _is_needed(graph: DetectorGraph, tensor: str) -> bool:
    """Whether anything but detection outputs reads a tensor."""
    return any(r.name not in graph.outputs for r in graph.readers.get(tensor, []))


def read_rounded(
    ranges: Mapping[str, Range], graph: DetectorGraph, floats: Collection[str]
) -> dict[str, Range]:
    """The ranges of tensors that a node reads rounded."""
    return {
        tensor: used
        for tensor, used in ranges.items()
        if any(reader.name not in floats for reader in graph.readers[tensor])
    }


def _moved(graph: DetectorGraph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges of what nodes make that only move bytes about."""
    made = {node.output[0]: _byte_range(graph, ranges, node.output[0]) for node in graph.same_scale_nodes()}
    return {tensor: used for tensor, used in made.items() if used is not None}


def _byte_range(graph: DetectorGraph, ranges: Mapping[str, Range], tensor: str) -> Range | None:
    """The range of a tensor that is bytes where it is read, directly or moved about; else None."""
    if tensor in ranges:
        return ranges[tensor]
    node = graph.producer.get(tensor)
    if node is None or node.op_type not in SAME_SCALE:
        return None
    found = [_byte_range(graph, ranges, t) for t in passed_on(node)]
    return found[0] if all(r is not None for r in found) else None


def _plan(
    graph: DetectorGraph,
    ranges: Mapping[str, Range],
    left: dict[str, str],
    *,
    convolutions: Mapping[str, onnx.NodeProto],
    integer_bias: bool,
) -> QdqPlan:
    """Keep the convolutions whose input is bytes."""
    inputs = {name: _byte_range(graph, ranges, node.input[0]) for name, node in convolutions.items()}
    left |= {name: "its input is float" for name, used in inputs.items() if used is None}
    int8_inputs = {name: used for name, used in inputs.items() if used is not None}
    floats = {n for n in (*graph.body, *graph.outputs) if n not in int8_inputs}
    return QdqPlan(
        activations=read_rounded(ranges, graph, floats),
        convolutions=frozenset(int8_inputs),
        int8_inputs=int8_inputs,
        float_readers=frozenset(floats),
        integer_bias=integer_bias,
        left_float=left,
    )
