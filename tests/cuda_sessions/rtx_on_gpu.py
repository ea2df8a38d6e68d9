"""Engines of TensorRT-RTX on a real GPU: built for it, run by our backend, compared with ONNX Runtime.

    python -m tests.cuda_sessions.rtx_on_gpu GRAPH.rtx.onnx... --out report.json

The graphs are those that ``edgestill export CKPT --to tensorrt-rtx`` writes beside its engines. They are
built for the GPU that is here, also if TensorRT-RTX does not list it; what it then says is in the report.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import traceback
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime

from runtime.backends.trt import TrtBackend
from runtime.tensorrt.cuda_bindings import open_session
from runtime.tensorrt.cuda_ctypes import CtypesSession
from runtime.tensorrt.cuda_driver import open_driver
from runtime.tensorrt.library import load_library

RUNS, WARMUP, INPUTS = 200, 30, 5


def main() -> None:
    """Build, compare and time each graph; print the report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.cuda_sessions.rtx_on_gpu")
    parser.add_argument("graphs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, metavar="FILE")
    args = parser.parse_args()
    driver = open_driver()
    library = load_library("tensorrt-rtx")
    report: dict[str, Any] = {"gpu": str(driver.facts()), "tensorrt_rtx": library.version}
    for graph in args.graphs:
        for kind in ("bindings in use", "ctypes"):
            session = CtypesSession(driver) if kind == "ctypes" else open_session(driver)
            report[f"{graph.name}, {kind}"] = _tried(library, graph, session)
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", "utf-8")
    sys.exit(any("failed" in part for part in report.values() if isinstance(part, dict)))


def _tried(library: Any, graph: Path, session: Any) -> dict[str, Any]:
    try:
        return _measure(library, graph, session)
    except Exception:
        return {"failed": traceback.format_exc(limit=-4)}


def _measure(library: Any, graph: Path, session: Any) -> dict[str, Any]:
    started = perf_counter()
    with session.current():
        engine, built_for = _engine(library.module, graph)
        backend = TrtBackend(library, engine, session, {})
    del engine
    built_s = perf_counter() - started
    reference = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (spec,) = backend.inputs
    outputs: dict[str, dict[str, float]] = {}
    random = np.random.default_rng(0)
    for _ in range(INPUTS):
        feed = {spec.name: random.random(spec.shape, np.float32).astype(spec.dtype)}
        wanted = dict(zip((o.name for o in reference.get_outputs()), reference.run(None, feed), strict=True))
        for name, made in backend.infer(feed).items():
            difference = np.abs(made.astype(np.float64) - wanted[name].astype(np.float64))
            worst = outputs.setdefault(name, {"max_difference": 0.0, "mean_difference": 0.0})
            worst["max_difference"] = max(worst["max_difference"], float(difference.max()))
            worst["mean_difference"] = max(worst["mean_difference"], float(difference.mean()))
            worst["largest_value"] = float(np.abs(wanted[name]).max())
    first = backend.infer(feed)
    same = all(np.array_equal(first[name], value) for name, value in backend.infer(feed).items())
    wall, gpu = [], []
    for run in range(WARMUP + RUNS):
        before, began = backend.gpu_ms or 0.0, perf_counter()
        backend.infer(feed)
        if run >= WARMUP:
            wall.append((perf_counter() - began) * 1e3)
            gpu.append((backend.gpu_ms or 0.0) - before)
    report = {
        "built_for": built_for,
        "build_and_load_s": round(built_s, 2),
        "outputs": outputs,
        "same_for_the_same_input": same,
        "conditions": backend.conditions,
        "layers": backend.layers_by_dtype(),
        "wall_ms": _percentiles(wall),
        "gpu_ms": _percentiles(gpu),
    }
    backend.close()
    return report


def _engine(trt: Any, graph: Path) -> tuple[Any, str]:
    """Build for the current GPU or, if that is refused, for compute capability 8.0; and load."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(graph.read_bytes()), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 1
    runtime, said = trt.Runtime(logger), []
    for name in ("CURRENT", "SM80"):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)
        plan = builder.build_serialized_network(network, config)
        engine = plan and runtime.deserialize_cuda_engine(plan)
        if engine:
            return engine, name
        said.append(f"{name}: {'built, but not loaded' if plan else 'not built'}")
    raise AssertionError("; ".join(said))


def _percentiles(times: list[float]) -> dict[str, float]:
    return {
        "p50": round(statistics.median(times), 4),
        "p99": round(sorted(times)[int(0.99 * len(times))], 4),
        "min": round(min(times), 4),
    }


if __name__ == "__main__":
    main()
