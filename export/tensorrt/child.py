"""Run the builder in a process of its own: where it crashes or takes too much, an error is what is left."""

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
from edgestill.progress import progress
from edgestill.spec import Precision
from edgestill.target import EngineTarget
from export.tensorrt.options import EngineOptions
from export.tensorrt.profile import Profile

SHARE = 0.8  # of what is free now
FALLBACK_MIB = 4096  # where the system does not say what is free
TOLD_BYTES = 400  # of what the builder said last
#: Steps that the bar counts: the phases of the builder differ by version and graph, only the first is known.
STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAnswer:
    """What the builder's process left, see ``export.tensorrt.builder.Built``."""

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
        target: Which TensorRT.
        onnx: The graph.
        precision: What it was made for.
        options: How to build.
        folder: An empty folder, or one with the ``timing.cache`` of an earlier build; the answer's files.
        profile: Sizes to build for, where the graph leaves some free.

    Raises:
        ArtifactError: The graph does not parse.
        DeviceError: The library is missing, the builder failed, crashed, or took more memory than it may.
    """
    allowed = options.memory_mib or _spare_mib(read_memory(Path("/")))
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
    said = folder / "said.txt"
    status = _run(request, said, f"build {onnx.stem} for {target}")
    answered = folder / "answer.json"
    if not answered.exists():
        raise _crash(status, said, allowed)
    answer = json.loads(answered.read_text("utf-8"))
    if "error" in answer:
        raise _told(*answer["error"])
    return BuildAnswer(
        plan=folder / "plan",
        timing_cache=folder / "timing.cache",
        **{**answer, "fallbacks": tuple(answer["fallbacks"])},
    )


def _run(request: Path, said: Path, label: str) -> int:
    """The process's exit status; its progress is shown."""
    home = str(Path(edgestill.__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "export.tensorrt.worker", str(request)]
    with (
        said.open("wb") as stream,
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
            process.kill()  # Ctrl-C: a builder that goes on holds the GPU for minutes
            raise
    return process.returncode


def _show(lines: Iterable[str], label: str) -> None:
    """A bar over the outermost phase, with the innermost one's name beside it."""
    with progress(label, STEPS) as advance:
        shown = 0
        for line in lines:
            phase, parent, steps, done = json.loads(line)
            now = int(STEPS * done / steps) if parent is None and steps else shown
            advance(max(now - shown, 0), note=phase)
            shown = max(now, shown)


def _spare_mib(memory: Memory) -> int:
    known = [n for n in (memory.available_mib, memory.limit_mib) if n]
    return int(min(known, default=FALLBACK_MIB) * SHARE)


def _crash(status: int, said: Path, allowed: int) -> DeviceError:
    """The process died without an answer."""
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    last = said.read_text("utf-8", errors="replace").strip()[-TOLD_BYTES:]
    hint = f"it may take {allowed} MiB: --build-memory-mib gives it more, a smaller --imgsz needs less"
    return DeviceError(f"the TensorRT builder {how}{f': {last}' if last else ''}", hint=hint)


def _told(kind: str, what: str, hint: str) -> ToolchainError:
    """The error that the process met."""
    made: Any = getattr(errors, kind)
    error: ToolchainError = made(what, hint=hint)
    return error
