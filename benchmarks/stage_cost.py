"""CPU time of the stages of detection, by model file.

``python -m benchmarks.stage_cost A.xml B.xml --image street.png``

The files take turns, so that other programs on the machine slow each of them as much. The time is that of the
whole process, with one thread for the network.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.dataset import read_image
from edgestill.errors import ToolchainError
from runtime.decode import decode
from runtime.detector import ModelDetector, open_detector
from runtime.letterbox import InputBuffer

STAGES = ("letterbox", "network", "postprocess")


def compare_files(
    paths: Sequence[Path], image_bgr: NDArray[np.uint8], *, frames: int, rounds: int
) -> dict[str, dict[str, dict[str, float]]]:
    """CPU time of each stage.

    Args:
        paths: Model files.
        image_bgr: What is detected in, uint8 ``[H, W, 3]``.
        frames: Frames of each round.
        rounds: Rounds; one more before is not counted.

    Returns:
        By file and stage the least and the median milliseconds of a frame.
    """
    with ExitStack() as opened:
        detectors = [opened.enter_context(closing(open_detector(path, threads=1))) for path in paths]
        calls = {
            str(path): _calls(detector, image_bgr) for path, detector in zip(paths, detectors, strict=True)
        }
        taken_ms: dict[str, dict[str, list[float]]] = {
            name: {stage: [] for stage in STAGES} for name in calls
        }
        for _ in range(rounds + 1):
            for name, stages in calls.items():
                for stage, call in stages.items():
                    taken_ms[name][stage].append(_frame_ms(call, frames))
    return {
        name: {
            stage: {"least_ms": round(min(ms[1:]), 3), "median_ms": round(median(ms[1:]), 3)}
            for stage, ms in stages.items()
        }
        for name, stages in taken_ms.items()
    }


def _calls(detector: ModelDetector, image_bgr: NDArray[np.uint8]) -> dict[str, Callable[[], Any]]:
    """One call for each of ``STAGES``, on the same image."""
    taken, given = detector.backend.inputs[0], detector.backend.outputs[0]
    buffer, rows = InputBuffer(detector.spec, taken.dtype), taken.shape[0] or 1
    tensor, fits = buffer.fill([image_bgr], rows)
    output = detector.backend.infer({taken.name: tensor})[given.name]
    size = (image_bgr.shape[0], image_bgr.shape[1])
    return {
        "letterbox": lambda: buffer.fill([image_bgr], rows),
        "network": lambda: detector.backend.infer({taken.name: tensor}),
        "postprocess": lambda: decode(
            output[:1], detector.spec, fits[0], size, conf=detector.conf, iou=detector.iou
        ),
    }


def _frame_ms(call: Callable[[], Any], frames: int) -> float:
    start_s = process_time()
    for _ in range(frames):
        call()
    return (process_time() - start_s) * 1e3 / frames


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage_cost", description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--image", required=True, type=Path)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=14)
    args = parser.parse_args(argv)
    try:
        image = read_image(args.image)
        cv2.setNumThreads(1)
        found = compare_files(args.models, image, frames=args.frames, rounds=args.rounds)
    except ToolchainError as error:
        print(f"benchmarks.stage_cost: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
