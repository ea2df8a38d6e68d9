"""The ratio of the inference times of two model files, measured alternately."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from benchmarks.measure.collect import Settings, collect
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import Samples
from benchmarks.statistics.compare import compare_models
from runtime.detector import open_detector

KEPT = ("measure", "a_ms", "b_ms", "ratio", "low", "high", "confidence", "verdict", "reason")


def pace(a: Path, b: Path, source: str | None, *, duration_s: float = 2.0) -> dict[str, Any]:
    """Inference time of ``b`` relative to ``a``, measured alternately on the same frames.

    Args:
        a: The reference model file.
        b: The model file that is compared with it.
        source: An image, a folder or a video; None for the drawn street.
        duration_s: Smallest measured time of each model, seconds.

    Returns:
        Medians in milliseconds, their ratio with its interval, and the verdict, see
        ``benchmarks.statistics.compare``.
    """
    settings = Settings(source=source, duration_s=duration_s, interleave=True)
    with ExitStack() as stack:
        detectors = [stack.enter_context(closing(open_detector(path))) for path in (a, b)]
        first, second = collect(detectors, Footage(source), settings, lambda: None)
    compared = compare_models(_as_result(a, first), _as_result(b, second), paired=True)
    found = next(c for c in compared if c["measure"] == "inference")
    return {"samples": len(first), **{name: found[name] for name in KEPT}}


def _as_result(path: Path, taken: Samples) -> dict[str, Any]:
    return {"name": path.name, "samples_ms": taken.stages_ms, "rounds": taken.rounds}
