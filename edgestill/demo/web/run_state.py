"""What the web view knows of a run: frames, ages, drops, lights and whether its sources still send."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any, Literal

from edgestill.demo.web.light_board import LightBoard
from edgestill.demo.web.run_controls import RunControls
from edgestill.demo.web.second_history import SecondHistory, age_percentiles
from runtime.frames import FrameSource
from runtime.pipeline import FrameResult

STALE_S = 5.0
STALE_PERIODS = 3.0  # a source of less than a frame per second may be silent for longer
RECENT = 1000  # frames whose ages the percentiles are of
REUSE_S = 0.2  # viewers that ask within this time get the same snapshot

Health = Literal["ok", "starting", "stale", "paused", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What does not change during a run.

    Attributes:
        model: Name of the model.
        backend: Name of the backend.
        device: What it runs on.
        classes: Class names of the model.
    """

    model: str
    backend: str
    device: str
    classes: tuple[str, ...]


class SourceState:
    """One source of a run. Times are seconds since the start of the run.

    Args:
        name: Unique short name.
        source: The frames.
        classes: Class names of the model.
    """

    def __init__(self, name: str, source: FrameSource, classes: Sequence[str]) -> None:
        self.name, self.source = name, source
        self.board = LightBoard(classes)
        self.history = SecondHistory()
        self.frames = 0
        self.heard_s: float | None = None
        self.last: FrameResult | None = None
        self._ages_ms: deque[float] = deque(maxlen=RECENT)

    def record(self, result: FrameResult, now_s: float) -> None:
        """Take the next result."""
        self.frames += 1
        self.heard_s, self.last = now_s, result
        age_ms = result.age_ms if result.is_live else None
        if age_ms is not None:
            self._ages_ms.append(age_ms)
        self.history.add(now_s, age_ms=age_ms, stages_ms=result.stages_ms, dropped=self.source.dropped)
        self.board.update(result, now_s)

    def is_stale(self, now_s: float, heard_s: float | None) -> bool:
        """Whether there was no frame for so long that the source, or what reads it, seems to hang.

        Args:
            now_s: The time.
            heard_s: Time of the last frame of this source or, of a file, which may be at its end, of any.
        """
        fps = self.source.fps
        limit_s = max(STALE_S, STALE_PERIODS / fps if fps else 0.0)
        return now_s - (heard_s or 0.0) > limit_s

    def to_json(self, now_s: float, classes: Sequence[str], discarded: int) -> dict[str, Any]:
        """The state as plain data; ``discarded`` counts the frames that came during a pause."""
        self.history.roll(now_s, self.source.dropped)
        last = self.last
        counts = Counter(last.detections.class_id.tolist()) if last is not None else Counter[int]()
        return {
            "name": self.name,
            "is_live": self.source.is_live,
            "frames": self.frames,
            "total": self.source.total,
            "fps": round(last.rate_fps, 1) if last is not None and last.rate_fps else None,
            "silent_s": None if self.heard_s is None else round(now_s - self.heard_s, 1),
            "time_s": None if last is None else round(last.frame.time_s, 2),
            "age_ms": age_percentiles(list(self._ages_ms)),
            "drops": {**drops_of(self.source), **({"paused": discarded} if discarded else {})},
            "found": {classes[key]: count for key, count in sorted(counts.items())},
            "has_tracks": last is not None and last.track_id is not None,
            "has_states": last is not None and last.states is not None,
            "objects": self.board.objects(),
            "changes": self.board.changes(),
        }


class RunState:
    """The state of a whole run: the pipeline's thread writes it, any thread reads it.

    Args:
        facts: What does not change.
        sources: The sources by name.
    """

    def __init__(self, facts: RunFacts, sources: Mapping[str, FrameSource]) -> None:
        self.facts = facts
        self.ended = False
        self._start_s = perf_counter()
        self._lock = Lock()
        self._sources = {name: SourceState(name, one, facts.classes) for name, one in sources.items()}
        self._has_files = not all(one.is_live for one in sources.values())
        self._snapshot: tuple[float, dict[str, Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(self._sources)

    def name_of(self, source: str) -> str:
        """The name of a result's source; that of the first one where the pipeline gives none."""
        return source if source in self._sources else self.names[0]

    def record(self, result: FrameResult) -> None:
        """Take the next result of the pipeline."""
        with self._lock:
            self._sources[self.name_of(result.source)].record(result, self._now_s())

    def heard(self, source: str) -> None:
        """A frame came that is not processed, because the run is paused."""
        self._sources[self.name_of(source)].heard_s = self._now_s()

    def snapshot(self, controls: RunControls) -> dict[str, Any]:
        """The state now as plain data; what is computed is up to ``REUSE_S`` old."""
        with self._lock:
            now_s = self._now_s()
            if self._snapshot is None or now_s - self._snapshot[0] >= REUSE_S:
                self._snapshot = now_s, self._make_snapshot(now_s, controls)
            computed = self._snapshot[1]
        return {**computed, "conf": controls.conf, "paused": controls.paused}

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """The last seconds of each source, see ``SecondHistory.seconds``."""
        with self._lock:
            for one in self._sources.values():
                one.history.roll(self._now_s(), one.source.dropped)
            return {name: one.history.seconds() for name, one in self._sources.items()}

    def health(self, *, paused: bool) -> dict[str, Health]:
        """The health of each source."""
        now_s = self._now_s()
        heard = {name: one.heard_s for name, one in self._sources.items()}
        latest = max((at for at in heard.values() if at is not None), default=None)
        return {
            name: self._health(one, now_s, heard[name] if one.source.is_live else latest, paused=paused)
            for name, one in self._sources.items()
        }

    def _health(self, one: SourceState, now_s: float, heard_s: float | None, *, paused: bool) -> Health:
        if self.ended:
            return "ended"
        if paused and self._has_files:
            return "paused"  # the pipeline waits: it takes no frames of cameras either
        if one.is_stale(now_s, heard_s):
            return "stale"
        if heard_s is None:
            return "starting"
        return "paused" if paused else "ok"

    def _make_snapshot(self, now_s: float, controls: RunControls) -> dict[str, Any]:
        classes = self.facts.classes
        discarded = {self.name_of(name): count for name, count in controls.discarded.items()}
        health = self.health(paused=controls.paused)
        sources = [
            {**one.to_json(now_s, classes, discarded.get(name, 0)), "health": health[name]}
            for name, one in self._sources.items()
        ]
        return {"now_s": round(now_s, 2), "sources": sources}

    def _now_s(self) -> float:
        return perf_counter() - self._start_s


def drops_of(source: FrameSource) -> Mapping[str, int]:
    """Frames that a source dropped, by cause; a camera that tells none replaces frames by newer ones."""
    if not source.is_live:
        return {}
    by_cause: Mapping[str, int] | None = getattr(source, "drops", None)
    return {"replaced": source.dropped} if by_cause is None else by_cause
