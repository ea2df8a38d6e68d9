"""Ranges of the tensors that a placement quantises, and the tensors that stay float for their noise."""

from __future__ import annotations

from collections.abc import Iterable

from export.graph.detector_graph import DetectorGraph
from export.graph.index import passed_on
from export.quantize.calibration.observer import TensorStatistics
from export.quantize.calibration.range_methods import Tuning
from export.quantize.ranges import Range, covering, noise_db

FRONT_STRIDE = 4  # feature maps of this stride or less are the front of the network


def tensor_ranges(
    graph: DetectorGraph,
    statistics: TensorStatistics,
    tuning: Tuning,
    tensors: Iterable[str],
    unsigned: Iterable[str] = (),
) -> tuple[dict[str, Range], dict[str, str]]:
    """Compute a range for each tensor; the inputs of a concat share one.

    Args:
        graph: The graph of the FP32 model.
        statistics: Of its tensors.
        tuning: How ranges are computed.
        tensors: Names of the tensors to quantise.
        unsigned: Names of those that have a zero point even if the target quantises symmetrically.

    Returns:
        The ranges by tensor, with that of the input; and by tensor that stays float, the reason.
    """
    shifted = set(unsigned)
    by = {True: tuning.unsigned(), False: tuning}
    own = {t: by[t in shifted].range_of(statistics.histograms[t]) for t in tensors}
    groups = groups_of(graph)
    shared: dict[str, list[str]] = {}
    for tensor in own:
        shared.setdefault(groups.get(tensor, tensor), []).append(tensor)
    ranges: dict[str, Range] = {graph.source: graph.source_range}
    noisy: list[tuple[float, str, list[str]]] = []
    budget = FloatBudget(graph, tuning)
    for members in shared.values():
        common = covering([own[t] for t in members])
        ranges |= dict.fromkeys(members, common)
        noisy.append((*min((noise_db(statistics.histograms[t], common), t) for t in members), members))
    left: dict[str, str] = {}
    for db, worst, members in sorted(noisy):
        makers = {graph.producer[t].name for t in members}
        if budget.grants(db, makers, graph.convolutions_reading_any(members)):
            left |= dict.fromkeys(members, f"in INT8 {worst} has {db:.1f} dB")
    return {tensor: used for tensor, used in ranges.items() if tensor not in left}, left


def groups_of(graph: DetectorGraph) -> dict[str, str]:
    """By input and output of a node that passes values on, the name of its group, which has one scale."""
    parent: dict[str, str] = {}

    def root(tensor: str) -> str:
        while parent.setdefault(tensor, tensor) != tensor:
            tensor = parent[tensor]
        return tensor

    for node in graph.same_scale_nodes():
        for tensor in passed_on(node):
            parent[root(tensor)] = root(node.output[0])
    return {tensor: root(tensor) for tensor in list(parent)}


class FloatBudget:
    """The share of multiplications that may stay float for noise; the front has a share of its own."""

    def __init__(self, graph: DetectorGraph, tuning: Tuning) -> None:
        self._graph, self._tuning = graph, tuning
        self._front = graph.front(FRONT_STRIDE)
        self._spent: dict[bool, set[str]] = {True: set(), False: set()}

    def grants(self, db: float, makers: set[str], work: set[str]) -> bool:
        """Whether tensors stay float; if so, their convolutions are charged to the budget.

        Args:
            db: Signal-to-noise ratio of the tensors in INT8.
            makers: Names of the nodes that make them.
            work: Names of the convolutions that would be float.
        """
        tuning, is_front = self._tuning, makers <= self._front
        least = tuning.front_signal_db if is_front else tuning.min_signal_db
        share = tuning.front_share if is_front else tuning.float_share
        spent = self._spent[is_front] | work
        if db >= least or self._graph.share(spent) > share:
            return False
        self._spent[is_front] = spent
        return True
