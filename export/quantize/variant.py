"""A network at the precision that was asked for, whole or with some blocks left at a higher one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import onnx

from export.graph.detector_graph import DetectorGraph
from export.quantize.blocks import TOO_SENSITIVE, PrecisionBlock, blocks_of, keep_float, nodes_of
from export.quantize.calibration.images import Calibration
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.fp16 import to_fp16
from export.quantize.int8 import Int8Settings, largest, make_int8
from export.quantize.qdq_placement import QdqPlan

RANGE_CHECK = "largest magnitude of each tensor, with headroom, against the end of FP16"


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A graph at one precision, and what its making depended on."""

    model: onnx.ModelProto
    calibration: dict[str, Any] | None = None

    @property
    def left_float(self) -> frozenset[str]:
        """The convolutions that were left out of the precision, each with its reason on record."""
        named = (self.calibration or {}).get("left_float", {})
        return frozenset(n.name for n in self.model.graph.node if n.op_type == "Conv" and n.name in named)


class Variants(Protocol):
    """Makes the variants of one network.

    Attributes:
        blocks: What can be moved out of the precision; none where it is not in the graph.
        calibration: The images that it was fitted to or checked on; None without.
    """

    @property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """What can be moved, in the order of the network."""

    @property
    def calibration(self) -> Calibration | None:
        """The images."""

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """The network with some blocks moved out of the precision."""

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """The FP32 network with one block at the precision."""


class Fp32Variants:
    """The FP32 graph, as it is."""

    blocks: tuple[PrecisionBlock, ...] = ()
    calibration: Calibration | None = None

    def __init__(self, source: onnx.ModelProto) -> None:
        self._source = source

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """The graph itself; it has no blocks to move."""
        return Variant(self._source)

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """The graph itself."""
        return self._source


class Int8Variants:
    """Quantised copies of an FP32 graph, all from one set of statistics."""

    def __init__(
        self,
        graph: DetectorGraph,
        statistics: TensorStatistics,
        settings: Int8Settings,
        *,
        calibration: Calibration,
        chosen: Mapping[str, Any],
    ) -> None:
        self.calibration: Calibration | None = calibration
        self._graph, self._seen, self._settings = graph, statistics, settings
        self._record = {**asdict(calibration.record), **chosen}

    @cached_property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """Those with a convolution in bytes."""
        return blocks_of(self._graph, self._plan.convolutions)

    @cached_property
    def _plan(self) -> QdqPlan:
        return self._settings.placement(self._graph, self._seen, self._settings.tuning)

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """Quantise all but the moved blocks."""
        return Variant(*self._quantised(self._settings, excluded))

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """Quantise one block; what is float is FP32, also for engines that get FP16 beside bytes."""
        others = [other for other in self.blocks if other is not block]
        return self._quantised(replace(self._settings, float_is_fp16=False), others)[0]

    def _quantised(
        self, settings: Int8Settings, excluded: Sequence[PrecisionBlock]
    ) -> tuple[onnx.ModelProto, dict[str, Any]]:
        plan = keep_float(self._plan, self._graph, nodes_of(excluded))
        made, record = make_int8(self._graph, self._seen, settings, plan=plan)
        return made, {**self._record, **record}


class Fp16Variants:
    """Copies of an FP32 graph in FP16."""

    def __init__(
        self,
        graph: DetectorGraph,
        statistics: TensorStatistics | None,
        calibration: Calibration | None,
    ) -> None:
        self.calibration = calibration
        self._graph = graph
        self._largest = {} if statistics is None else largest(statistics)

    @cached_property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """All of the body, and the detection outputs."""
        return blocks_of(self._graph, {*self._graph.body, *self._graph.outputs})

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """Halve all but the moved blocks."""
        made = to_fp16(self._graph, self._largest, excluded=nodes_of(excluded))
        if self.calibration is None:
            return Variant(made.model)
        record = asdict(self.calibration.record)
        left = {name: TOO_SENSITIVE for block in excluded for name in block.convolutions} | dict(made.kept)
        return Variant(made.model, {**record, "method": RANGE_CHECK, "left_float": left})

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """Halve one block."""
        return self.make([other for other in self.blocks if other is not block]).model
