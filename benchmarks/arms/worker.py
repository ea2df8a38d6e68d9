"""One arm of a comparison, in a process of its own: loads a model and runs a turn when it is told to.

``benchmarks.arms.processes`` starts ``python -m benchmarks.arms.worker OPTIONS``, with ``WorkerOptions`` as
JSON. Each line on stdin asks for a turn; each answer is a line of JSON on stdout, the first of them after the
warm-up. The process ends with its stdin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks.measure.collect import TURN, WARMUP_RUNS, take_turn, warm_up
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import Samples
from edgestill.errors import ToolchainError
from runtime.detector import open_detector
from runtime.tiling import TiledDetector, Tiling


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a process loads and runs.

    Attributes:
        model: The model file.
        source: An image, a folder or a video; None for the drawn street.
        warmup_s: Warm-up, seconds.
        tile: Tiles of a frame, as ``Tiling.parse`` reads them.
        tile_overlap: Their overlap, as a fraction of a tile's side.
        detector: Keyword arguments of ``open_detector``.
    """

    model: str
    source: str | None
    warmup_s: float
    tile: str
    tile_overlap: float
    detector: dict[str, Any]


def answers(options: WorkerOptions, orders: TextIO) -> Iterator[dict[str, Any]]:
    """Load the model, warm up, and answer each order with the samples of a turn."""
    hw = options.detector.get("input_hw")
    given = {**options.detector, "input_hw": tuple(hw) if hw else None}
    footage = Footage(options.source)
    with closing(open_detector(Path(options.model), **given)) as loaded:
        detector = TiledDetector(loaded, Tiling.parse(options.tile, options.tile_overlap))
        yield {"warmup_ms": warm_up(detector, footage.take(WARMUP_RUNS), options.warmup_s)}
        footage.restart()
        for _ in orders:
            samples = Samples()
            take_turn(detector, footage.take(TURN), samples, 0)
            names = ("stages_ms", "other_ms", "gpu_ms", "found")
            yield {name: getattr(samples, name) for name in names}


def main() -> None:
    """Serve the options that the command line holds."""
    try:
        for answer in answers(WorkerOptions(**json.loads(sys.argv[1])), sys.stdin):
            print(json.dumps(answer), flush=True)
    except ToolchainError as error:
        sys.exit(error.what)


if __name__ == "__main__":
    main()
