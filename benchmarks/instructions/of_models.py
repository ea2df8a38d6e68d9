"""Instruction counts of the stages of the models of a result of ``bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.instructions.counting import FIXED, NO_TOOL, Counter, count_stages, find_counter
from benchmarks.instructions.workload import StageInputs
from benchmarks.measure.footage import Footage
from edgestill.errors import DeviceError
from runtime.detector import ModelDetector, open_detector
from runtime.frames import Frame
from runtime.letterbox import InputBuffer

FRAMES = 4
TILED = "the model runs on tiles, and only whole frames are counted: leave --tile out"


def add_counts(
    models: Sequence[dict[str, Any]],
    *,
    source: str | None,
    options: Mapping[str, Any],
    counter: Counter | None = None,
) -> None:
    """Add ``instructions`` to models: those of a frame by stage, or None and ``instructions_reason``.

    Args:
        models: Entries of ``models``; changed.
        source: The frames that were measured, of which the first are counted; None for the drawn street.
        options: Keyword arguments of ``open_detector``.
        counter: What counts; None for what this machine has.

    Raises:
        ArtifactError: A file was removed or changed since.
    """
    counter = counter or find_counter()
    frames = Footage(source).take(FRAMES)
    for model in models:
        reason = NO_TOOL if counter is None else None if model["tile"] == "1x1" else TILED
        counts = None
        if counter is not None and reason is None:
            try:
                counts = _counts(Path(model["file"]), frames, options, counter)
            except DeviceError as error:
                reason = error.what
        model["instructions"] = counts
        if reason:
            model["instructions_reason"] = reason


def stage_inputs(detector: ModelDetector, frames: Sequence[Frame]) -> StageInputs:
    """The inputs of the stages on some frames: the network runs once on each."""
    taken, found = detector.backend.inputs[0], detector.backend.outputs[0]
    buffer = InputBuffer(detector.spec, taken.dtype)
    outputs = []
    for frame in frames:
        tensor, _ = buffer.fill([frame.image_bgr], taken.shape[0] or 1)
        outputs.append(detector.backend.infer({taken.name: tensor})[found.name][:1].copy())
    return StageInputs(
        spec=detector.spec,
        dtype=taken.dtype,
        conf=detector.conf,
        iou=detector.iou,
        frames=[frame.image_bgr for frame in frames],
        outputs=outputs,
    )


def in_words(model: Mapping[str, Any]) -> str | None:
    """The counts of a model as a line of text; None if they were not asked for."""
    if "instructions" not in model:
        return None
    counts = model["instructions"]
    if counts is None:
        return f"{model['name']}: no instruction counts, {model['instructions_reason']}"
    stages = ", ".join(f"{stage} {count / 1e6:.2f} million" for stage, count in counts["per_frame"].items())
    return f"{model['name']}: instructions a frame: {stages} ({counts['tool']})"


def _counts(
    path: Path, frames: Sequence[Frame], options: Mapping[str, Any], counter: Counter
) -> dict[str, Any]:
    with closing(open_detector(path, **options)) as detector:
        inputs = stage_inputs(detector, frames)
    return {
        "per_frame": count_stages(inputs, counter),
        "frames": len(frames),
        "tool": counter.name,
        "version": counter.version,
        "environment": FIXED,
    }
