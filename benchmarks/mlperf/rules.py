"""The rules of MLPerf's SingleStream, MultiStream and Offline scenarios, and what a run lacks of them.

Source: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc (scenarios) and
https://github.com/mlcommons/inference/blob/master/loadgen/mlperf.conf (figures), both read in 2026-08.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.statistics.percentiles import least_samples

NOTE = (
    "follows MLPerf's rules for this scenario, and is no MLPerf result: it was not run by LoadGen on a "
    "benchmark of MLPerf, and nobody has reviewed it"
)
LEAST_S = 600.0
#: Frames in memory, of which queries draw with replacement: ``performance_sample_count`` of MLPerf's
#: detector, RetinaNet.
LIBRARY = 64
SEED = 14771362308971278857  # sample_index_rng_seed
#: Share of samples beyond what the time needs, as the rate is only estimated. LoadGen does the same.
OFFLINE_MARGIN = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One scenario.

    Attributes:
        title: Its name in MLPerf's rules.
        samples_per_query: Frames of a query; None for all frames in one query.
        fraction: The percentile of the latency of a query that is the result; None for throughput.
        least_queries: Smallest number of queries; of samples, where all are in one query.
    """

    title: str
    samples_per_query: int | None
    fraction: float | None
    least_queries: int

    @property
    def metric(self) -> str:
        """What the result is, with its unit."""
        return "samples per second" if self.fraction is None else f"p{100 * self.fraction:g} of a query, ms"

    def lacks(self, *, seconds: float, queries: int) -> Iterator[str]:
        """What a run of that length lacks, one sentence for each."""
        if seconds < LEAST_S:
            yield f"MLPerf's {self.title} takes {LEAST_S:g} s or more; this run took {seconds:.1f} s"
        if queries < self.least_queries:
            what = "samples" if self.samples_per_query is None else "queries"
            yield f"MLPerf's {self.title} takes {self.least_queries} {what} or more; this run had {queries}"


#: By the name of the preset. The smallest number of queries of SingleStream is that of early stopping.
RULES: Mapping[str, Rule] = {
    "mlperf-single-stream": Rule(
        title="SingleStream", samples_per_query=1, fraction=0.9, least_queries=least_samples(0.9, 2)
    ),
    "mlperf-multi-stream": Rule(
        title="MultiStream", samples_per_query=8, fraction=0.99, least_queries=least_samples(0.99, 2)
    ),
    "mlperf-offline": Rule(title="Offline", samples_per_query=None, fraction=None, least_queries=24576),
}
