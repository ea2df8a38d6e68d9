"""The builder's process: ``python -m export.tensorrt.worker REQUEST.json``, started by ``child``.

Standard output is for the parent, one JSON array a line: phase, parent phase, steps, steps done. TensorRT's
own output goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgestill.errors import ToolchainError
from export.tensorrt.builder import ReportProgress, build
from export.tensorrt.options import NO_LIMIT, EngineOptions
from export.tensorrt.profile import Profile
from runtime.tensorrt.cuda_driver import on_device
from runtime.tensorrt.library import load_library

WORST_OOM_SCORE = 1000


def main() -> None:
    """Build the engine of a request; the results are written beside it."""
    request = Path(sys.argv[1])
    wanted = json.loads(request.read_text("utf-8"))
    report = _channel()
    warning = _limit(wanted["memory_mib"])
    folder = request.parent
    try:
        answer = _build(folder, wanted, report)
    except ToolchainError as error:
        answer = {"error": [type(error).__name__, error.what, error.hint]}
    (folder / "answer.json").write_text(json.dumps({**answer, "warning": warning}), "utf-8")


def _build(folder: Path, wanted: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
    cache = folder / "timing.cache"
    library, options = load_library(wanted["target"]), EngineOptions.from_json(wanted["options"])
    with on_device(options.device):
        built = build(
            library,
            Path(wanted["onnx"]).read_bytes(),
            wanted["precision"],
            options,
            profile=Profile.from_json(wanted["profile"]),
            timing_cache=cache.read_bytes() if cache.exists() else b"",
            report=report,
        )
    (folder / "plan").write_bytes(built.plan)
    cache.write_bytes(built.timing_cache)
    return {
        "inspected": built.inspected,
        "listed": built.listed,
        "fallbacks": built.fallbacks,
        "strongly_typed": built.strongly_typed,
    }


def _channel() -> ReportProgress:
    """A channel to the parent that TensorRT's own output cannot reach."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def report(phase: str, parent: str | None, steps: int, done: int) -> None:
        stream.write(json.dumps([phase, parent, steps, done]) + "\n")

    return report


def _limit(memory_mib: int) -> str | None:
    """Limit the memory of this process, so that the machine does not run out of it.

    The limit is on allocated memory, not on the address space (``RLIMIT_AS``), of which CUDA reserves more
    than any machine has memory. The OOM score makes the kernel kill this process first.

    Returns:
        Why there is no limit although one was asked for, as a sentence; None otherwise.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(WORST_OOM_SCORE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_mib == NO_LIMIT:
        return None
    allowed = memory_mib << 20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
    except (OSError, ValueError, OverflowError) as error:
        return f"the TensorRT builder runs without its memory limit of {memory_mib} MiB: {error}"
    return None


if __name__ == "__main__":
    main()
