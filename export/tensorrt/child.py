"""Run the engine builder in a separate process, so that a crash or lack of memory becomes an error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgestill
from devices.linux import Memory, read_memory
from edgestill import errors
from edgestill.errors import DeviceError, ToolchainError
from edgestill.progress import progress, say
from edgestill.spec import Precision
from edgestill.target import EngineTarget
from export.tensorrt.options import NO_LIMIT, EngineOptions
from export.tensorrt.profile import Profile

SHARE = 0.8  # of the free memory
FALLBACK_MIB = 4096  # memory limit where the free memory is unknown
MESSAGE_BYTES = 400  # of the end of the builder's output, for an error message
#: Steps of the progress bar. The phases of the builder differ by version and graph; the outermost one is
#: shown.
STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAnswer:
    """The results of the builder's process, see ``export.tensorrt.builder.Built``."""

    plan: Path
    timing_cache: Path
    inspected: str | None
    listed: str | None
    fallbacks: tuple[str, ...]
    strongly_typed: bool


def build_in_child(
    target: EngineTarget,
    onnx: Path,
    precision: Precision,
    options: EngineOptions,
    folder: Path,
    *,
    profile: Profile | None = None,
) -> BuildAnswer:
    """Build an engine.

    Args:
        target: The TensorRT library.
        onnx: Path of the graph.
        precision: Precision of the graph.
        options: How to build.
        folder: Folder for the results: empty, or with the ``timing.cache`` of an earlier build.
        profile: Optimisation profile, for a graph with free dimensions.

    Raises:
        ArtifactError: The graph cannot be parsed.
        DeviceError: The library is missing, or the builder failed, crashed, or exceeded its memory limit.
    """
    allowed = options.memory_mib
    if allowed is None:
        allowed = _default_limit_mib(read_memory(Path("/")))
    request = folder / "request.json"
    request.write_text(
        json.dumps(
            {
                "target": target,
                "onnx": str(onnx),
                "precision": precision,
                "options": options.to_json(),
                "profile": profile and profile.to_json(),
                "memory_mib": allowed,
            }
        ),
        "utf-8",
    )
    log = folder / "log.txt"
    status = _run(request, log, f"build {onnx.stem} for {target}")
    answered = folder / "answer.json"
    if not answered.exists():
        raise _crash(status, log, allowed)
    answer = json.loads(answered.read_text("utf-8"))
    if warning := answer.pop("warning"):
        say(warning)
    if "error" in answer:
        raise _child_error(*answer["error"], allowed=allowed)
    return BuildAnswer(
        plan=folder / "plan",
        timing_cache=folder / "timing.cache",
        **{**answer, "fallbacks": tuple(answer["fallbacks"])},
    )


def _run(request: Path, log: Path, label: str) -> int:
    """Run the process and show its progress; returns its exit status."""
    home = str(Path(edgestill.__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "export.tensorrt.worker", str(request)]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        ) as process,
    ):
        try:
            _show(process.stdout or (), label)
        except BaseException:
            process.kill()  # on Ctrl-C the builder would occupy the GPU for minutes
            raise
    return process.returncode


def _show(lines: Iterable[str], label: str) -> None:
    """Show a progress bar of the outermost phase with the name of the current one."""
    with progress(label, STEPS) as advance:
        shown = 0
        for line in lines:
            phase, parent, steps, done = json.loads(line)
            now = int(STEPS * done / steps) if parent is None and steps else shown
            advance(max(now - shown, 0), note=phase)
            shown = max(now, shown)


def _default_limit_mib(memory: Memory) -> int:
    known = [n for n in (memory.available_mib, memory.limit_mib) if n]
    return int(min(known, default=FALLBACK_MIB) * SHARE)


def _crash(status: int, log: Path, allowed: int) -> DeviceError:
    """The error of a process that ended without results."""
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    last = log.read_text("utf-8", errors="replace").strip()[-MESSAGE_BYTES:]
    limit = f"its memory limit is {allowed} MiB: raise --build-memory-mib (none: no limit), or"
    hint = f"{limit if allowed != NO_LIMIT else 'the machine may be out of memory:'} use a smaller --imgsz"
    return DeviceError(f"the TensorRT builder {how}{f': {last}' if last else ''}", hint=hint)


def _child_error(kind: str, what: str, hint: str, *, allowed: int) -> ToolchainError:
    """The error that the process reported."""
    made: Any = getattr(errors, kind)
    if made is DeviceError and allowed != NO_LIMIT:
        hint = f"{hint}; or --build-memory-mib none, if the memory limit of {allowed} MiB is too small"
    error: ToolchainError = made(what, hint=hint)
    return error
