"""The programs that run a file, each in a process of its own: one turn gives one figure.

What a figure covers differs by program, see ``COVERS``. None decodes images within the time it reports.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.benchmark_app import MEDIAN, app_command
from benchmarks.peers.environments import program_of
from benchmarks.peers.process import run_captured
from benchmarks.peers.yolo_predict import OFFLINE
from edgestill.errors import DeviceError

COVERS: Mapping[str, str] = {
    "edgestill": "network, of an engine with copies to and from the GPU, median; real images. frame: with "
    "letterbox, boxes and NMS",
    "benchmark_app": "network, median; random input, FP32 where a layer is not INT8",
    "yolo predict": "network, mean by its own clock, float layers as OpenVINO chooses; real images. frame: "
    "with its letterbox, boxes and NMS",
    "trtexec": "network and copies to and from the GPU, median; random input",
}
#: Source: the summary that the package prints after `predict`.
YOLO_SPEED = re.compile(
    r"Speed: ([0-9.]+)ms preprocess, ([0-9.]+)ms inference, ([0-9.]+)ms postprocess per image"
)
#: Source: "Performance summary" of trtexec 8.6 and 10; H2D and D2H latencies are other lines.
TRTEXEC_LATENCY = re.compile(r"(?<!H2D )(?<!D2H )(?<!Host )Latency: min = .*?median = ([0-9.]+) ms")
TRTEXEC_COMPUTE = re.compile(r"GPU Compute Time: min = .*?median = ([0-9.]+) ms")
TRTEXEC_VERSION = re.compile(r"\[TensorRT v(\d+)\]")
#: From 11 on trtexec leaves copies out and uses a CUDA graph, unless it is told.
#: Source: NVIDIA/TensorRT samples/common/sampleOptions.cpp, 11.0.
TRTEXEC_AS_BEFORE = ("--includeDataTransfers", "--noCudaGraph", "--noSpinWait")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a turn needs to know.

    Attributes:
        model: The file.
        backend: ``ort``, ``ov`` or ``trt``.
        images: Folder of the images that are run.
        seconds: Measured time, for the programs that take one.
        threads: CPU threads; None leaves the choice to the programs.
        cpus: Numbers of the CPUs that the process may use; None for those of this one.
        peers: Where the environments are.
    """

    model: Path
    backend: str
    images: Path
    seconds: float
    threads: int | None
    cpus: frozenset[int] | None
    peers: Path


def take(program: str, turn: Turn) -> dict[str, Any]:
    """One turn of a program.

    Args:
        program: Of ``COVERS``.
        turn: The file and the conditions.

    Returns:
        ``time_ms``; ``frame_ms``, ``gpu_ms`` and ``cpu_ms`` where the program gives them, see
        ``benchmarks.peers.own_turn``; ``process_cpu_s``: CPU time of the whole process, from its start.

    Raises:
        DeviceError: The program is missing, failed, or gave no figure.
    """
    return _PROGRAMS[program](turn)


def _edgestill(turn: Turn) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peers.own_turn", str(turn.model), str(turn.images)]
    command += ["--backend", turn.backend, "--seconds", str(turn.seconds), *_threads(turn, "--threads")]
    done = run_captured(command, cpus=turn.cpus)
    return {**json.loads(done.stdout), "process_cpu_s": done.cpu_s}


def _benchmark_app(turn: Turn) -> dict[str, Any]:
    app = str(program_of("openvino", "benchmark_app", turn.peers))
    command = app_command(app, turn.model, hint="latency", seconds=turn.seconds, threads=turn.threads)
    done = run_captured(command, cpus=turn.cpus)
    return {"time_ms": _figure(MEDIAN, done.stdout, command), "process_cpu_s": done.cpu_s}


def _yolo(turn: Turn) -> dict[str, Any]:
    yolo = str(program_of("ultralytics", "yolo", turn.peers))
    with TemporaryDirectory() as folder:
        command = [yolo, "predict", f"model={turn.model.parent}", f"source={turn.images}", "device=cpu"]
        command += ["conf=0.25", "iou=0.45", "save=False", f"project={folder}"]
        environment = {**OFFLINE, "YOLO_CONFIG_DIR": folder, **_openmp(turn)}
        done = run_captured(command, cpus=turn.cpus, environment=environment)
    stages = YOLO_SPEED.search(ANSI.sub("", done.stdout))
    if stages is None:
        raise _no_figure(command, done.stdout)
    before_ms, network_ms, after_ms = map(float, stages.groups())
    return {
        "time_ms": network_ms,
        "frame_ms": before_ms + network_ms + after_ms,
        "process_cpu_s": done.cpu_s,
    }


def _trtexec(turn: Turn) -> dict[str, Any]:
    trtexec = shutil.which("trtexec")
    if trtexec is None:
        raise DeviceError(
            "trtexec is not on PATH", hint="it comes with TensorRT: /usr/src/tensorrt/bin on a Jetson"
        )
    command = [
        trtexec,
        f"--loadEngine={turn.model}",
        f"--duration={max(1, round(turn.seconds))}",
        "--warmUp=500",
    ]
    banner = run_captured([trtexec, "--help"], good=(0, 1)).stdout
    version = TRTEXEC_VERSION.search(banner)
    if version is not None and int(version[1]) >= 110000:  # 8.6.1 is v8601, 10.7.0 is v100700
        command += TRTEXEC_AS_BEFORE
    done = run_captured(command)
    return {
        "time_ms": _figure(TRTEXEC_LATENCY, done.stdout, command),
        "gpu_ms": _figure(TRTEXEC_COMPUTE, done.stdout, command),
        "process_cpu_s": done.cpu_s,
    }


_PROGRAMS: Mapping[str, Callable[[Turn], dict[str, Any]]] = {
    "edgestill": _edgestill,
    "benchmark_app": _benchmark_app,
    "yolo predict": _yolo,
    "trtexec": _trtexec,
}


def _threads(turn: Turn, flag: str) -> list[str]:
    return [] if turn.threads is None else [flag, str(turn.threads)]


def _openmp(turn: Turn) -> dict[str, str]:
    """Torch's own threads, for a program without such a flag."""
    return {} if turn.threads is None else {"OMP_NUM_THREADS": str(turn.threads)}


def _figure(wanted: re.Pattern[str], stdout: str, command: list[str]) -> float:
    found = wanted.search(stdout)
    if found is None:
        raise _no_figure(command, stdout)
    return float(found[1])


def _no_figure(command: list[str], stdout: str) -> DeviceError:
    last = "".join(ANSI.sub("", stdout).strip().splitlines()[-1:])
    return DeviceError(f"{Path(command[0]).name} gave no figure: {last}", hint=" ".join(command))
