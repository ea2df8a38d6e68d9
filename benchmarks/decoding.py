"""CPU time of decoding a video, by decoder: ``python -m benchmarks.decoding drive.mp4``.

The decoders take turns, so that other programs on the machine slow each of them as much. The time is that of
the whole process, all threads; a child process of GStreamer is not in it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from edgestill.errors import ToolchainError
from runtime.frames import open_source

DECODERS = ("opencv", "pyav")


def compare_decoders(path: Path, decoders: Sequence[str], *, frames: int, rounds: int) -> dict[str, Any]:
    """CPU time of decoding to BGR.

    Args:
        path: A video file.
        decoders: Names of ``runtime.decoders.path_choice.DECODERS``; the first is the reference.
        frames: Frames of each round, from the start of the file.
        rounds: Times that each decoder reads them; one more round before is not counted.

    Returns:
        By decoder the least and the median milliseconds of a frame, and the median ratio to the reference in
        the same round.
    """
    taken_ms: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds + 1):
        for name in decoders:
            taken_ms[name].append(_frame_ms(path, name, frames))
    counted = {name: values[1:] for name, values in taken_ms.items()}
    return {
        name: {
            "least_ms": round(min(values), 3),
            "median_ms": round(median(values), 3),
            "ratio": round(median(a / b for a, b in zip(values, counted[decoders[0]], strict=True)), 3),
        }
        for name, values in counted.items()
    }


def _frame_ms(path: Path, decoder: str, frames: int) -> float:
    start_s = process_time()
    with closing(open_source(path, decoder=decoder)) as source:
        count = sum(1 for _ in islice(source.frames(), frames))
    return (process_time() - start_s) * 1e3 / count


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--decoders", nargs="+", default=DECODERS, help="the first is the reference")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(argv)
    try:
        found = compare_decoders(args.video, args.decoders, frames=args.frames, rounds=args.rounds)
    except ToolchainError as error:
        print(f"benchmarks.decoding: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
