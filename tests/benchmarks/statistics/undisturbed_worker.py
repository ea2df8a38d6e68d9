"""``benchmarks.arms.worker`` that keeps only the frames during which the kernel left it its core.

A frame during which another process got the core is run again (``ru_nivcsw`` of getrusage counts these
switches), so that a busy machine gives nearly the samples of a quiet one. A turn is one frame: caches and
memory are still shared, and their load changes from second to second.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence

from benchmarks.arms import worker
from benchmarks.measure.samples import Samples
from runtime.detector import TimedDetector
from runtime.frames import Frame

MOST_TRIES = 400  # of a frame; about one in eight is undisturbed where ten processes want a core


def switches() -> int:
    """How often the core was taken from this thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def take_turn(detector: TimedDetector, frames: Sequence[Frame], samples: Samples, round_number: int) -> None:
    """As ``benchmarks.measure.collect.take_turn``, with one frame, undisturbed."""
    detector.timed(frames[0].image_bgr)
    for frame in frames[:1]:
        for _ in range(MOST_TRIES):
            before = switches()
            found, stages_ms = detector.timed(frame.image_bgr)
            if switches() == before:
                break
        else:
            raise RuntimeError(f"no frame of {MOST_TRIES} was undisturbed")
        samples.add(frame, stages_ms, round_number, len(found))


if __name__ == "__main__":
    worker.take_turn = take_turn
    worker.main()
