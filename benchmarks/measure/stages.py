"""All stages of a frame, from its encoded form to an encoded picture with its boxes.

A stage that was not measured is null with the reason. Copies to a GPU and back are parts of the backend's
call, which is timed as ``inference``: their sum with the time of the network is at most that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.measure.gpu_time import TRANSFERS
from runtime.backend import Backend

LATER = ("tracking", "drawing", "encoding")
ORDER = ("decode", "letterbox", "host_to_device", "inference", "device_to_host", "postprocess", *LATER)
#: Stages that are parts of another one.
WITHIN = {"inference": TRANSFERS}
DECODED_BEFORE = "frames are decoded before the measurement"
NOT_ASKED = "only measured by --scenario single --stages all"


def complete(figures: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """The stages of a model's result, and its two times: of the network alone, and end to end.

    Args:
        figures: The figures of a scenario: ``stages_ms``, ``stages_reason`` for what it tried and could not
            measure, samples or percentiles, and GPU times.
        backend: What ran the network.
    """
    measured, known = figures["stages_ms"], figures.get("stages_reason", {})
    reasons = {"decode": DECODED_BEFORE, **dict.fromkeys(LATER, NOT_ASKED), **known}
    reasons |= dict.fromkeys(TRANSFERS, _no_transfers(backend))
    return {
        "stages_ms": {stage: measured.get(stage) for stage in ORDER},
        "stages_reason": {stage: reasons[stage] for stage in ORDER if measured.get(stage) is None},
        "stages_within": {stage: list(parts) for stage, parts in WITHIN.items()},
        **_pure_inference(figures, backend),
        **_end_to_end(figures),
    }


def _no_transfers(backend: Backend) -> str:
    """Why copies to a GPU and back have no time."""
    if backend.transfers_ms is not None:
        return "only measured frame by frame: --scenario single"
    if backend.name == "trt":
        return "the GPU reads and writes the memory of the host in place, without copies"
    if _is_on_gpu(backend):
        return f"the backend {backend.name} makes the copies within its call, which is timed as inference"
    return "there are no copies: the network runs on the CPU"


def _is_on_gpu(backend: Backend) -> bool:
    device = backend.device.lower()
    return "cuda" in device or "gpu" in device


def _pure_inference(figures: Mapping[str, Any], backend: Backend) -> dict[str, Any]:
    """Time of the network alone, a median, or a mean where only that is known."""
    gpu = figures.get("gpu_compute_ms")
    if gpu is not None:
        value, covers = gpu.get("p50") or gpu["mean"], "the network on the GPU, by CUDA events"
    else:
        copies = ", with copies to the GPU and back" if _is_on_gpu(backend) else ""
        value, covers = figures["stages_ms"]["inference"], f"the call of the backend {backend.name}{copies}"
    return {"pure_inference_ms": value, "pure_inference_covers": covers}


def _end_to_end(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Median time of all stages of a frame that were measured; null with the reason."""
    measured = [stage for stage in ORDER if figures["stages_ms"].get(stage) is not None]
    samples = {**figures.get("samples_ms", {}), **figures.get("samples_other_ms", {})}
    frames = len(samples.get("inference", ()))
    # A stage that failed during the run has fewer samples than frames.
    whole = [s for s in measured if s not in TRANSFERS and len(samples.get(s, ())) in {0, frames}]
    covers = " + ".join(whole)
    if figures.get("p50_ms") is None:
        return {
            "end_to_end_ms": None,
            "end_to_end_covers": covers,
            "end_to_end_reason": figures["p50_reason"],
        }
    if not samples:
        return {"end_to_end_ms": figures["p50_ms"], "end_to_end_covers": covers}
    total_ms = np.sum([samples[stage] for stage in whole], axis=0)
    return {"end_to_end_ms": round(float(np.median(total_ms)), 3), "end_to_end_covers": covers}
