"""The figures of a run for Prometheus: https://prometheus.io/docs/practices/naming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgestill.demo.lights import UNKNOWN
from edgestill.demo.web.run_controls import RunControls
from edgestill.demo.web.run_state import RunFacts, RunState
from runtime.pipeline import FrameResult

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # bounds of the histograms


class RunMetrics:
    """Counters, gauges and histograms of a run, by source.

    Args:
        state: The state of the run; most figures are read from it when they are asked for.
        controls: Threshold and pause.
        version: Of this program.
    """

    def __init__(self, state: RunState, controls: RunControls, *, version: str) -> None:
        self._state = state
        self._registry = CollectorRegistry()
        self._age = self._histogram(
            "frame_age", "Time from the capture of a frame of a live source to its result.", ["source"]
        )
        self._stage = self._histogram("stage", "Time of a stage for one frame.", ["source", "stage"])
        self._found = Counter[tuple[str, int]]()
        self._declare(state.facts, controls, version)
        self._registry.register(_StateCollector(state, controls, self._found))
        ProcessCollector(registry=self._registry)

    def record(self, result: FrameResult) -> None:
        """Take the next result of the pipeline."""
        source = self._state.name_of(result.source)
        if result.is_live:
            self._age.labels(source).observe(result.age_ms / 1e3)
        for stage, ms in result.stages_ms.items():
            self._stage.labels(source, stage).observe(ms / 1e3)
        self._found.update((source, class_id) for class_id in result.detections.class_id.tolist())

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, about: str, labels: list[str]) -> Histogram:
        return Histogram(f"edgestill_{name}_seconds", about, labels, registry=self._registry, buckets=SECONDS)

    def _declare(self, facts: RunFacts, controls: RunControls, version: str) -> None:
        about = {"version": version, "model": facts.model, "backend": facts.backend, "device": facts.device}
        Info("edgestill_run", "What runs.", registry=self._registry).info(about)
        threshold = Gauge(
            "edgestill_confidence_threshold", "Lowest score of a detection.", registry=self._registry
        )
        threshold.set_function(lambda: controls.conf)
        paused = Gauge("edgestill_paused", "1 while the run is paused.", registry=self._registry)
        paused.set_function(lambda: float(controls.paused))


class _StateCollector(Collector):
    """The figures that are read from the state when they are asked for."""

    def __init__(self, state: RunState, controls: RunControls, found: Mapping[tuple[str, int], int]) -> None:
        self._state, self._controls, self._found = state, controls, found

    def collect(self) -> Iterator[Metric]:
        frames = CounterMetricFamily("edgestill_frames", "Frames that were processed.", labels=["source"])
        drops = CounterMetricFamily(
            "edgestill_frames_dropped", "Frames of a live source by cause.", labels=["source", "cause"]
        )
        silent = GaugeMetricFamily(
            "edgestill_seconds_since_frame", "Time since the last frame came.", labels=["source"]
        )
        fresh = GaugeMetricFamily(
            "edgestill_source_up", "0 while no frame has come for too long.", labels=["source"]
        )
        lights = GaugeMetricFamily("edgestill_lights", "Tracked lights by state.", labels=["source", "state"])
        for one in self._state.snapshot(self._controls)["sources"]:
            name = one["name"]
            frames.add_metric([name], one["frames"])
            for cause, count in one["drops"].items():
                drops.add_metric([name, cause], count)
            if one["silent_s"] is not None:
                silent.add_metric([name], one["silent_s"])
            fresh.add_metric([name], float(one["health"] not in {"stale", "starting"}))
            if one["has_states"]:
                states = Counter(light["state"] for light in one["objects"])
                for state in dict.fromkeys((*self._state.facts.classes, UNKNOWN)):
                    lights.add_metric([name, state], states[state])
        yield from (frames, drops, silent, fresh, lights, self._detections())

    def _detections(self) -> Metric:
        found = CounterMetricFamily(
            "edgestill_detections", "Detections by class, in all frames.", labels=["source", "class"]
        )
        classes = self._state.facts.classes
        for (source, class_id), count in sorted(dict(self._found).items()):
            found.add_metric([source, classes[class_id]], count)
        return found
