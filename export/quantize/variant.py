"""Graphs of one network at the requested precision, with some blocks excluded from it."""

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

RANGE_CHECK = "largest magnitude of each tensor, with headroom, against the largest number of FP16"


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A graph at one precision.

    Attributes:
        model: The graph.
        calibration: The record of calibration for the manifest; None without.
    """

    model: onnx.ModelProto
    calibration: dict[str, Any] | None = None

    @property
    def excluded_convolutions(self) -> frozenset[str]:
        """The convolutions at a higher precision, each with its reason in the record."""
        named = (self.calibration or {}).get("left_float", {})
        return frozenset(n.name for n in self.model.graph.node if n.op_type == "Conv" and n.name in named)


class Variants(Protocol):
    """Makes the variants of one network at one precision.

    Attributes:
        blocks: The blocks that can be excluded; empty where the graph does not express the precision.
        calibration: The images for ranges or range checks; None without.
    """

    @property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """The blocks that can be excluded, in the order of the network."""

    @property
    def calibration(self) -> Calibration | None:
        """The images for ranges or range checks; None without."""

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """The network with some blocks at a higher precision."""

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """The network in FP32 with one block at the precision."""


class Fp32Variants:
    """The FP32 graph for every precision that the file format, not the graph, expresses."""

    blocks: tuple[PrecisionBlock, ...] = ()
    calibration: Calibration | None = None

    def __init__(self, source: onnx.ModelProto) -> None:
        self._source = source

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """The graph itself."""
        return Variant(self._source)

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """The graph itself."""
        return self._source


class Int8Variants:
    """Quantised copies of an FP32 graph.

    Args:
        graph: The graph.
        statistics: Of its tensors.
        settings: The target's.
        calibration: The images that the statistics come from.
        chosen: How the range method was chosen, for the record.
    """

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
        self._graph, self._statistics, self._settings = graph, statistics, settings
        self._record = {**asdict(calibration.record), **chosen}

    @cached_property
    def blocks(self) -> tuple[PrecisionBlock, ...]:
        """The blocks with a quantised convolution."""
        return blocks_of(self._graph, self._plan.convolutions)

    @cached_property
    def _plan(self) -> QdqPlan:
        return self._settings.placement(self._graph, self._statistics, self._settings.tuning)

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """Quantise all blocks but the excluded ones."""
        return Variant(*self._quantised(self._settings, excluded))

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """Quantise one block; the others are FP32 for every target."""
        settings = replace(self._settings, float_is_fp16=False)
        return self._quantised(settings, others(self.blocks, block))[0]

    def _quantised(
        self, settings: Int8Settings, excluded: Sequence[PrecisionBlock]
    ) -> tuple[onnx.ModelProto, dict[str, Any]]:
        plan = keep_float(self._plan, self._graph, nodes_of(excluded))
        made, record = make_int8(self._graph, self._statistics, settings, plan=plan)
        return made, {**self._record, **record}


class Fp16Variants:
    """Copies of an FP32 graph in FP16.

    Args:
        graph: The graph.
        statistics: Of its tensors, for the range check; None without images.
        calibration: The images that the statistics come from.
    """

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
        """All blocks of the body, and the detection outputs."""
        return blocks_of(self._graph, {*self._graph.body, *self._graph.outputs})

    def make(self, excluded: Sequence[PrecisionBlock] = ()) -> Variant:
        """Convert all blocks but the excluded ones."""
        converted = to_fp16(self._graph, self._largest, excluded=nodes_of(excluded))
        if self.calibration is None:
            return Variant(converted.model)
        record = asdict(self.calibration.record)
        float_layers = {name: TOO_SENSITIVE for block in excluded for name in block.convolutions} | dict(
            converted.kept
        )
        return Variant(converted.model, {**record, "method": RANGE_CHECK, "left_float": float_layers})

    def only(self, block: PrecisionBlock) -> onnx.ModelProto:
        """Convert one block."""
        return self.make(others(self.blocks, block)).model


def others(blocks: Sequence[PrecisionBlock], block: PrecisionBlock) -> list[PrecisionBlock]:
    """All blocks but one."""
    return [other for other in blocks if other is not block]
