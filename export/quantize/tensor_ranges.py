"""Ranges of the tensors that a placement rounds, and what may stay float because a byte would ruin it."""

from __future__ import annotations

from collections.abc import Iterable

from export.graph.detector_graph import DetectorGraph
from export.graph.index import passed_on
from export.quantize.calibration.observer import Statistics
from export.quantize.calibration.range_methods import Tuning
from export.quantize.ranges import Range, covering, noise_db

FRONT_STRIDE = 4  # maps of this many input pixels a cell, and finer ones, are the front


def tensor_ranges(
    graph: DetectorGraph,
    statistics: Statistics,
    tuning: Tuning,
    tensors: Iterable[str],
    unsigned: Iterable[str] = (),
) -> tuple[dict[str, Range], dict[str, str]]:
    """A range for each tensor, one for all that meet in a concat, without those that 8 bits would ruin.

    Args:
        graph: The FP32 model's.
        statistics: What its tensors hold.
        tuning: How ranges are found.
        tensors: That are to be rounded.
        unsigned: Those of them that have a zero point, whatever the family has.
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
    allowance = Allowance(graph, tuning)
    for members in shared.values():
        common = covering([own[t] for t in members])
        ranges |= dict.fromkeys(members, common)
        noisy.append((*min((noise_db(statistics.histograms[t], common), t) for t in members), members))
    left: dict[str, str] = {}
    for db, worst, members in sorted(noisy):
        makers = {graph.producer[t].name for t in members}
        if allowance.spares(db, makers, graph.convolutions_reading_any(members)):
            left |= dict.fromkeys(members, f"8 bits leave {worst} with {db:.1f} dB")
    return {tensor: used for tensor, used in ranges.items() if tensor not in left}, left


def groups_of(graph: DetectorGraph) -> dict[str, str]:
    """For each tensor that is moved about, the name of its group: all of a group need one scale."""
    parent: dict[str, str] = {}

    def root(tensor: str) -> str:
        while parent.setdefault(tensor, tensor) != tensor:
            tensor = parent[tensor]
        return tensor

    for node in graph.same_scale_nodes():
        for tensor in passed_on(node):
            parent[root(tensor)] = root(node.output[0])
    return {tensor: root(tensor) for tensor in list(parent)}


class Allowance:
    """What may stay float for its noise: a share of the multiplications, one apart for the finest maps."""

    def __init__(self, graph: DetectorGraph, tuning: Tuning) -> None:
        self._graph, self._tuning = graph, tuning
        self._front = graph.front(FRONT_STRIDE)
        self._spent: dict[bool, set[str]] = {True: set(), False: set()}

    def spares(self, db: float, makers: set[str], work: set[str]) -> bool:
        """Whether something stays float: what bytes leave of it, its nodes, and whose work is float then."""
        tuning, is_front = self._tuning, makers <= self._front
        least = tuning.front_signal_db if is_front else tuning.min_signal_db
        share = tuning.front_share if is_front else tuning.float_share
        spent = self._spent[is_front] | work
        if db >= least or self._graph.share(spent) > share:
            return False
        self._spent[is_front] = spent
        return True
