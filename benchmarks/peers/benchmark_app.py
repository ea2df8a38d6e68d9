"""An OpenVINO file in the runtime and in OpenVINO's own benchmark_app, in turns.

``python -m benchmarks.peers.benchmark_app FILE.xml --source CLIP``

Latency: median of one decoded frame to boxes (letterbox, inference, postprocess) over the median that
``benchmark_app -hint latency`` gives. Throughput: frames per second, decoded frames to boxes, over that of
``benchmark_app -hint throughput``. benchmark_app runs the network alone, on random input; it is told to take
float32 input and to compute in FP32, as the runtime does. Each round runs all four for the same time.

Source: https://docs.openvino.ai/2025/get-started/learn-openvino/openvino-samples/benchmark-tool.html
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measure.footage import Footage
from benchmarks.scenarios.offline import HELD, Rates
from edgestill.errors import DeviceError, ToolchainError
from runtime.detector import ModelDetector, open_detector

MEDIAN = re.compile(r"Median:\s+([0-9.]+) ms")
RATE = re.compile(r"Throughput:\s+([0-9.]+) FPS")


def against_benchmark_app(
    model: Path, source: str | None, *, seconds: float, rounds: int, threads: int | None, app: str
) -> dict[str, Any]:
    """Measure a file both ways.

    Args:
        model: An OpenVINO ``.xml``.
        source: An image, a folder or a video; None for a drawn street.
        seconds: Time of each of the four measurements of a round.
        rounds: Rounds; one more before is not counted.
        threads: CPU threads of all; None leaves the choice to OpenVINO.
        app: The program benchmark_app.

    Returns:
        The figures of each round, their medians, and the medians of the ratios of a round. ``share`` is the
        time of letterbox and postprocess over that of inference, one frame at a time.
    """
    program = _App(program=app, model=model, seconds=seconds, threads=threads)
    footage = Footage(source)
    frames = footage.take(HELD)
    taken = []
    with ExitStack() as stack:
        opened = [
            stack.enter_context(closing(open_detector(model, backend="ov", threads=threads, throughput=many)))
            for many in (False, True)
        ]
        calls = opened[1].backend.concurrency
        rates = Rates(opened[1], stack.enter_context(ThreadPoolExecutor(calls)), calls)
        frame_ms = rates.turn(frames, calls)
        for _ in range(rounds + 1):
            latency = _latency(opened[0], [frame.image_bgr for frame in frames], seconds)
            app_ms = program.figure("latency", MEDIAN)
            frame_ms = rates.turn(frames, max(ceil(seconds * 1e3 / frame_ms), calls))
            app_fps = program.figure("throughput", RATE)
            taken.append({**latency, "app_ms": app_ms, "fps": 1e3 / frame_ms, "app_fps": app_fps})
    counted = [
        {
            **one,
            "latency_ratio": one["frame_ms"] / one["app_ms"],
            "throughput_ratio": one["fps"] / one["app_fps"],
        }
        for one in taken[1:]
    ]
    return {
        "model": str(model),
        "footage": footage.describe(),
        "concurrency": calls,
        "median": {key: round(median(one[key] for one in counted), 3) for key in counted[0]},
        "rounds": [{key: round(value, 3) for key, value in one.items()} for one in counted],
    }


def app_command(program: str, model: Path, *, hint: str, seconds: float, threads: int | None) -> list[str]:
    """The command line of benchmark_app for a model on the CPU, in FP32 where a layer is not INT8.

    It refuses a number of threads beside a hint: the setting that the hint stands for is written out then.

    Args:
        program: The program.
        model: An OpenVINO ``.xml``.
        hint: ``latency``, one request at a time, or ``throughput``.
        seconds: Measured time; it takes whole ones.
        threads: CPU threads; None leaves the choice to OpenVINO.
    """
    command = [program, "-m", str(model), "-d", "CPU", "-t", str(max(1, round(seconds)))]
    command += ["-ip", "f32", "-infer_precision", "f32"]
    if threads is None:
        return [*command, "-hint", hint]
    one_request = ["-nstreams", "1", "-api", "sync"] if hint == "latency" else []
    return [*command, "-hint", "none", "-nthreads", str(threads), *one_request]


def _latency(detector: ModelDetector, images: Sequence[Any], seconds: float) -> dict[str, float]:
    """Medians of one frame at a time: whole, its inference, and the share of the rest."""
    whole_ms, inference_ms, others_ms = [], [], []
    start_s = perf_counter()
    while perf_counter() - start_s < seconds:
        for image in images:
            _, stages_ms = detector.timed(image)
            whole_ms.append(sum(stages_ms.values()))
            inference_ms.append(stages_ms["inference"])
            others_ms.append(whole_ms[-1] - inference_ms[-1])
    inference = median(inference_ms)
    return {"frame_ms": median(whole_ms), "inference_ms": inference, "share": median(others_ms) / inference}


@dataclass(frozen=True, slots=True, kw_only=True)
class _App:
    """benchmark_app on a file."""

    program: str
    model: Path
    seconds: float
    threads: int | None

    def figure(self, hint: str, wanted: re.Pattern[str]) -> float:
        """Run it with a performance hint; the figure that it prints."""
        command = app_command(self.program, self.model, hint=hint, seconds=self.seconds, threads=self.threads)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = wanted.search(done.stdout)
        if found is None:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            raise DeviceError(f"benchmark_app gave no figure: {''.join(last)}", hint=" ".join(command))
        return float(found[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.benchmark_app", description=__doc__)
    parser.add_argument("model", type=Path, metavar="FILE.xml")
    parser.add_argument("--source", help="image, folder or video (default: a drawn street)")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each measurement of a round (default 5)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    beside = Path(sys.executable).with_name("benchmark_app")
    parser.add_argument("--benchmark-app", default=str(beside) if beside.exists() else "benchmark_app")
    args = parser.parse_args(argv)
    try:
        if shutil.which(args.benchmark_app) is None:
            raise DeviceError(
                "there is no benchmark_app", hint="pip install openvino has it; --benchmark-app PATH"
            )
        found = against_benchmark_app(
            args.model,
            args.source,
            seconds=args.seconds,
            rounds=args.rounds,
            threads=args.threads,
            app=args.benchmark_app,
        )
    except ToolchainError as error:
        print(f"benchmarks.peers.benchmark_app: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
