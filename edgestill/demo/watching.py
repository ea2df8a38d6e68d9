"""What ``edgestill.watch`` opens: a model, sources, and a tracker for each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from edgestill import open_detector
from edgestill.demo.pipeline import assemble, stream
from edgestill.errors import UsageError
from runtime.frames import open_source
from runtime.light_states.classifier import STATES, open_light_states
from runtime.light_states.lights_of_detector import LightClassifier
from runtime.streams.source_names import source_names
from runtime.streams.watcher import Watcher
from runtime.tiling import Tiling

TILE_OVERLAP = 0.2  # of their sides, as on the command line


def open_watcher(
    sources: Sequence[str | Path],
    *,
    model: str | Path,
    track: bool,
    lights: bool,
    tile: str,
    backend: str,
    device: str | None,
    conf: float,
    iou: float,
    threads: int | None,
    trust_engine: bool,
    input_hw: tuple[int, int] | None,
) -> Watcher:
    """Open a model and sources; see ``edgestill.watch``."""
    if not sources:
        raise UsageError("there is no source to watch", hint='edgestill.watch("csi://0")')
    tiling = Tiling.parse(tile, TILE_OVERLAP)
    texts = [str(source) for source in sources]
    with ExitStack() as opening:
        detector = open_detector(
            model,
            backend=backend,
            device=device,
            conf=conf,
            iou=iou,
            threads=threads,
            trust_engine=trust_engine,
            input_hw=input_hw,
        )
        opening.enter_context(closing(detector))
        classifier = None
        if lights:
            states = opening.enter_context(closing(open_light_states(threads=threads)))
            classifier = LightClassifier(states)
        pipeline = assemble(detector, title="", sinks=(), tiling=tiling, lights=classifier)
        classes = STATES if lights else detector.spec.classes
        streams = []
        for text, name in zip(texts, source_names(texts), strict=True):
            source = opening.enter_context(closing(open_source(text)))
            streams.append(stream(source, name, classes=classes, track=track))
        return Watcher(pipeline, classes, streams, opening.pop_all())
