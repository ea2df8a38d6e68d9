"""The measurements of a device in results of ``edgestill bench``, for its calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.estimate.calibration import Point
from benchmarks.estimate.estimate import Case, estimate
from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.onnx_layers import read_layers
from benchmarks.estimate.yolo_models import is_published, published_model
from benchmarks.report.result_kind import HINT, kind_of, refuse_incomplete
from devices.profile import load_profile
from edgestill.errors import DataError, ToolchainError, UsageError
from edgestill.files import read_json
from edgestill.spec import PRECISIONS

BACKEND = "trt"
WHOLE = "1x1"  # the tiling of a frame that is run on at once


def read_points(paths: Sequence[Path], device: str) -> tuple[list[Point], list[str]]:
    """The usable measurements of results, and why others are not usable.

    Args:
        paths: Results of ``edgestill bench``.
        device: Key of the profile; results of other machines are refused.

    Raises:
        DataError: A file is no such result.
        UsageError: A result was measured on another device.
    """
    points: list[Point] = []
    reasons: list[str] = []
    for path in paths:
        result = read_json(path, hint=HINT)
        if kind_of(result, str(path)) != "bench":
            raise DataError(f"{path} is not a result of edgestill bench", hint=HINT)
        refuse_incomplete(result, str(path))
        for entry in _entries(path, result):
            found = _point(path, entry, device)
            if isinstance(found, Point):
                points.append(found)
            else:
                reasons.append(found)
    return points, reasons


def _entries(path: Path, result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    models = result["models"]
    if not isinstance(models, list) or not all(isinstance(model, Mapping) for model in models):
        raise DataError(f"{path} is not a whole result of bench: models is no list of objects", hint=HINT)
    yield from models


def _point(path: Path, entry: Mapping[str, Any], device: str) -> Point | str:
    try:
        machine = entry["environment"]["machine"]["key"]
        name, precision = str(entry["name"]), entry["precision"]
        measured, started = float(entry["stages_ms"]["inference"]), str(entry["environment"]["started"])
        height, width = map(int, entry["input_hw"])
        backend, tile = entry["backend"], entry["tile"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a whole result of bench: {error!r}", hint=HINT) from error
    if machine != device:
        raise UsageError(
            f"{path} was measured on {machine or 'a machine without a profile'}, not on {device}",
            hint=f"give --device {machine}" if machine else "measure on the device that is to be estimated",
        )
    is_alone = "arrival" not in entry["environment"]  # cameras decode beside the model
    is_whole = is_alone and tile == WHOLE and 0 < measured < float("inf")
    if backend != BACKEND or not is_whole or precision not in PRECISIONS:
        return f"{path}: {name} is no whole-frame latency of TensorRT in a known precision"
    try:
        work = _work(entry, (height, width))
        # edgestill's FP32 engines do not use TF32.
        found = estimate(work, load_profile(device), Case(precision=precision, tf32=False))
    except ToolchainError as error:
        return f"{path}: {name}: {error.what}"
    return Point(model=name, precision=precision, gpu_ms=found.gpu_ms, measured_ms=measured, started=started)


def _work(entry: Mapping[str, Any], input_hw: tuple[int, int]) -> ModelWork:
    """The layers of a measured engine: of the ONNX file beside it, or of the network that its spec names."""
    engine = Path(str(entry.get("file")))
    onnx = engine.parent / f"{engine.stem}.onnx"
    if onnx.is_file():
        return replace(read_layers(onnx, entry["precision"]), name=str(entry["name"]))
    name = str(entry.get("model"))
    if not is_published(name):
        raise UsageError(f"the layers of {name!r} are not known", hint=f"put its ONNX file at {onnx}")
    return published_model(name, input_hw)
