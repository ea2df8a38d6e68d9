"""The web view as a receiver of results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.demo.web.light_board import boxes_json
from edgestill.demo.web.picture_feed import PictureFeed
from edgestill.demo.web.run_state import RunState
from edgestill.demo.web.web_metrics import RunMetrics
from edgestill.files import to_json_text
from runtime.pipeline import FrameResult

MOST_BOXES = 100  # that are drawn on one picture


class WebSink:
    """Gives each result to the state, the metrics and, while somebody looks, the pictures.

    See ``runtime.pipeline.Sink``. The picture goes without drawings: the page draws them in the resolution
    of its screen.
    """

    needs_overlay = False

    def __init__(self, state: RunState, metrics: RunMetrics, feed: PictureFeed) -> None:
        self._state, self._metrics, self._feed = state, metrics, feed

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Take one result; the run goes on."""
        self._state.record(result)
        self._metrics.record(result)
        source = self._state.name_of(result.source)
        if self._feed.wants(source):
            self._feed.offer(source, result.frame.image_bgr, self._about(result, source))
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """The run is at its end; no files."""
        self._state.ended = True
        return ()

    def _about(self, result: FrameResult, source: str) -> str:
        height, width = result.frame.image_bgr.shape[:2]
        about = {
            "source": source,
            "frame": result.frame.index,
            "width": width,
            "height": height,
            "boxes": boxes_json(result, self._state.facts.classes, MOST_BOXES),
        }
        return to_json_text(about, indent=None)
