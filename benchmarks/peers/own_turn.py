"""One turn of the runtime in a process of its own: a file on decoded frames, one at a time, for some seconds.

``python -m benchmarks.peers.own_turn FILE FOLDER --threads 1 --seconds 2``
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from benchmarks.measure.footage import Footage
from edgestill.errors import ToolchainError
from runtime.detector import open_detector

WARMUP_FRAMES = 5


def measure(model: Path, source: str, *, backend: str, threads: int | None, seconds: float) -> dict[str, Any]:
    """Medians over the frames, and the CPU time of one.

    Args:
        model: The file.
        source: A folder of images; they are decoded before anything is timed.
        backend: See ``runtime.detector.open_detector``.
        threads: CPU threads; None leaves the choice to the backend.
        seconds: Smallest measured time; each image is run at least once.

    Returns:
        ``time_ms``: of the network alone. ``frame_ms``: with letterbox and postprocess. ``gpu_ms``: on the
        GPU by its own events; None without one. ``cpu_ms``: CPU time of all threads for a frame.
    """
    footage = Footage(source)
    images = [frame.image_bgr for frame in footage.take(int(footage.describe()["of"]))]
    network_ms: list[float] = []
    frame_ms: list[float] = []
    with closing(open_detector(model, backend=backend, threads=threads)) as detector:
        for k in range(WARMUP_FRAMES):
            detector(images[k % len(images)])
        gpu_before, cpu_before_s, start_s = detector.gpu_ms, process_time(), perf_counter()
        while perf_counter() - start_s < seconds or len(frame_ms) < len(images):
            _, stages_ms = detector.timed(images[len(frame_ms) % len(images)])
            network_ms.append(stages_ms["inference"])
            frame_ms.append(sum(stages_ms.values()))
        cpu_s, gpu_after = process_time() - cpu_before_s, detector.gpu_ms
    gpu_ms = None if gpu_before is None or gpu_after is None else gpu_after - gpu_before
    return {
        "time_ms": median(network_ms),
        "frame_ms": median(frame_ms),
        "gpu_ms": None if gpu_ms is None else gpu_ms / len(frame_ms),
        "cpu_ms": cpu_s * 1e3 / len(frame_ms),
        "frames": len(frame_ms),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.own_turn", description=__doc__)
    parser.add_argument("model", type=Path, metavar="FILE")
    parser.add_argument("source", metavar="FOLDER")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args(argv)
    try:
        found = measure(
            args.model, args.source, backend=args.backend, threads=args.threads, seconds=args.seconds
        )
    except ToolchainError as error:
        print(f"benchmarks.peers.own_turn: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
