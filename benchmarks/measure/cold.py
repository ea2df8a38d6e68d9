"""Cold start: time to the first result, and memory, of a model in a new process.

``measure`` starts ``python -m benchmarks.measure.cold MODEL``. In the process that measures latency,
libraries are already loaded and several models share the memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measure.child_process import child_environment
from devices.linux import read_text

TIMEOUT_S = 300
RUNS = 3
KEYS = ("import_ms", "load_ms", "first_ms", "rss_mib")


def measure(
    path: Path,
    backend: str,
    threads: int | None,
    *,
    device: str | None = None,
    trust_engine: bool = False,
    input_hw: tuple[int, int] | None = None,
    tile: str = "1x1",
    tile_overlap: float = 0.0,
    throughput: bool = False,
) -> dict[str, Any]:
    """Medians over ``RUNS`` new processes: ``import_ms``, ``load_ms``, ``first_ms`` and ``rss_mib``.

    The model file is in the page cache, as in all starts but the first. All values are None if the process
    fails. ``each`` has the values of every process that did not.
    """
    tiles = ["--tile", tile, "--tile-overlap", str(tile_overlap)]
    command = [sys.executable, "-m", "benchmarks.measure.cold", str(path), "--backend", backend, *tiles]
    if device is not None:
        command += ["--device", device]
    if threads is not None:
        command += ["--threads", str(threads)]
    if trust_engine:
        command.append("--trust-engine")
    if throughput:
        command.append("--throughput")
    if input_hw is not None:
        command += ["--input-hw", *map(str, input_hw)]
    runs = [_start(command) for _ in range(RUNS)]
    each = [{key: round(value, 2) for key, value in run.items()} for run in runs if run]
    return {**{key: _median([run.get(key) for run in runs]) for key in KEYS}, "each": each}


def main() -> None:
    """Load a model, run one frame, and print times and memory as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure.cold")
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--trust-engine", action="store_true")
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--input-hw", type=int, nargs=2)
    parser.add_argument("--tile", default="1x1")
    parser.add_argument("--tile-overlap", type=float, default=0.0)
    args = parser.parse_args()
    start = perf_counter()
    from benchmarks.measure.footage import draw_street  # noqa: PLC0415 (imports are part of the measurement)
    from runtime.backend import BACKENDS, BY_SUFFIX  # noqa: PLC0415
    from runtime.detector import open_detector  # noqa: PLC0415
    from runtime.tiling import TiledDetector, Tiling  # noqa: PLC0415

    BACKENDS.load(BY_SUFFIX[args.model.suffix] if args.backend == "auto" else args.backend)
    image = draw_street(0)
    imported = perf_counter()
    detector = open_detector(
        args.model,
        backend=args.backend,
        device=args.device,
        threads=args.threads,
        trust_engine=args.trust_engine,
        throughput=args.throughput,
        input_hw=args.input_hw and tuple(args.input_hw),
    )
    tiled = TiledDetector(detector, Tiling.parse(args.tile, args.tile_overlap))
    loaded = perf_counter()
    tiled(image)
    done = perf_counter()
    print(
        json.dumps(
            {
                "import_ms": (imported - start) * 1e3,
                "load_ms": (loaded - imported) * 1e3,
                "first_ms": (done - loaded) * 1e3,
                "rss_mib": _rss_mib(),
            }
        )
    )


def _start(command: list[str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True, env=child_environment()
        )
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _median(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(statistics.median(known), 2) if known else None


def _rss_mib() -> float | None:
    """Resident memory of this process, including libraries; None if it cannot be read."""
    for line in (read_text(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


if __name__ == "__main__":
    main()
