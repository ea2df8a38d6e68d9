"""Statistics of earlier exports, so that a second export of the same checkpoint looks at no image again.

An entry is used only where all that it depends on is the same: the graph, the tensors that are looked at,
the content of each image, pre-processing, the way of counting, the versions of the tools. All of it is in the
entry and compared in full, so that a renamed entry, or one of a name that collides, is none. How ranges are
*chosen* from the statistics is no part: ``max``, ``entropy`` and the others are computed anew at each export
from the same counts.

An entry begins with the SHA-256 of the rest: a damaged one is told, not used, and replaced.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import onnx

from edgestill.files import write_bytes
from edgestill.progress import say
from edgestill.quantization import FULL_RANGE, WeightRange
from export.graph.detector_graph import DetectorGraph
from export.quantize.calibration.images import Calibration
from export.quantize.calibration.observer import (
    BINS,
    SAMPLE,
    START_WIDTH,
    Histogram,
    TensorStatistics,
    observe,
)
from export.quantize.gptq import DAMPING, ENOUGH, LARGEST, POSITIONS

SCHEMA = 3
SUFFIX = ".statistics"
KEPT = 32  # entries, of 1 MiB and the bytes of the weights each; the oldest go first
DIGEST = 64  # hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTensors:
    """What to look at in a graph.

    Attributes:
        histograms: Tensors whose values are counted.
        means: Those whose channels are averaged.
        convolutions: Those whose weights are rounded by what they read.
        weight_limit: How large the bytes of such weights may be.
    """

    histograms: Sequence[str]
    means: Sequence[str] = ()
    convolutions: Sequence[str] = ()
    weight_limit: WeightRange = FULL_RANGE

    @classmethod
    def for_int8(cls, graph: DetectorGraph, weight_limit: WeightRange) -> ObservedTensors:
        """All that an INT8 graph needs to know of an FP32 one."""
        return cls(
            histograms=graph.observed_tensors(),
            means=graph.convolution_inputs(),
            convolutions=tuple(graph.body),
            weight_limit=weight_limit,
        )


def observe_cached(
    model: onnx.ModelProto, observed: ObservedTensors, calibration: Calibration, folder: Path | None
) -> TensorStatistics:
    """``statistics.gather``, or what it found in an earlier export.

    Args:
        model: An ONNX model with one input.
        observed: What to look at.
        calibration: The images.
        folder: Where entries are kept; None keeps none.
    """
    if folder is None:
        return _observe(model, observed, calibration)
    depends = depends_on(model, observed, calibration)
    entry = folder / f"{hashlib.sha256(_text(depends)).hexdigest()[:24]}{SUFFIX}"
    found = read_entry(entry, depends)
    if found is not None:
        say("same graph, images and pre-processing as in an earlier export: its statistics are used")
        return found
    seen = _observe(model, observed, calibration)
    try:
        write_bytes(entry, _packed(seen, depends))
        _keep_newest(folder)
    except OSError as error:
        say(f"statistics are not kept for the next export, {entry} cannot be written: {error.strerror}")
    return seen


def depends_on(model: onnx.ModelProto, observed: ObservedTensors, calibration: Calibration) -> dict[str, Any]:
    """All that statistics depend on, as plain JSON data."""
    record = calibration.record
    return {
        "schema": SCHEMA,
        "graph": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        "histograms": sorted(observed.histograms),
        "means": sorted(observed.means),
        "convolutions": sorted(observed.convolutions),
        "weight_limit": asdict(observed.weight_limit),
        "images": list(record.images.values()),
        "preprocessing": record.preprocessing,
        "first_input": calibration.probe(),  # a letterbox that was changed in code is in no setting
        "counting": {"bins": BINS, "start_width": START_WIDTH, "sample": SAMPLE},
        "rounding": {"positions": POSITIONS, "damping": DAMPING, "largest": LARGEST, "enough": ENOUGH},
        "tools": record.tools,
    }


def read_entry(path: Path, depends: dict[str, Any]) -> TensorStatistics | None:
    """What an entry holds; None if there is none, it is damaged, or it depends on anything else."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"{path} cannot be read, images are looked at again: {error.strerror}")
        return None
    body = data[DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != data[:DIGEST]:
        say(f"{path} is damaged, images are looked at again")
        return None
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return _unpacked(arrays) if arrays["depends"].tobytes() == _text(depends) else None
    except (BadZipFile, EOFError, KeyError, ValueError):  # written by another version
        return None


def _observe(model: onnx.ModelProto, observed: ObservedTensors, calibration: Calibration) -> TensorStatistics:
    return observe(
        model,
        calibration.tensors(),
        histograms=observed.histograms,
        means=observed.means,
        convolutions=observed.convolutions,
        weight_limit=observed.weight_limit,
    )


def _text(depends: dict[str, Any]) -> bytes:
    return json.dumps(depends, sort_keys=True).encode()


def _packed(seen: TensorStatistics, depends: dict[str, Any]) -> bytes:
    histograms = seen.histograms.values()
    arrays: dict[str, Any] = {
        "depends": np.frombuffer(_text(depends), np.uint8),
        "images": np.int64(seen.images),
        "names": np.array(list(seen.histograms), np.str_),
        "extents": np.array([(h.low, h.high, h.width) for h in histograms], np.float64),
        "counts": np.array([h.counts for h in histograms], np.int64),
        "mean_names": np.array(list(seen.channel_means), np.str_),
    }
    arrays |= {f"mean_{i}": values for i, values in enumerate(seen.channel_means.values())}
    arrays["weight_names"] = np.array(list(seen.weights), np.str_)
    arrays |= {f"weight_{i}": values for i, values in enumerate(seen.weights.values())}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    body = stream.getvalue()
    return hashlib.sha256(body).hexdigest().encode() + body


def _unpacked(arrays: Any) -> TensorStatistics:
    histograms = {}
    counts = arrays["counts"]
    extents = arrays["extents"].tolist()
    for i, name in enumerate(arrays["names"].tolist()):
        histogram = Histogram()
        histogram.low, histogram.high, histogram.width = extents[i]
        histogram.counts = counts[i]
        histograms[name] = histogram
    means = {name: arrays[f"mean_{i}"] for i, name in enumerate(arrays["mean_names"].tolist())}
    weights = {name: arrays[f"weight_{i}"] for i, name in enumerate(arrays["weight_names"].tolist())}
    return TensorStatistics(
        histograms=histograms, channel_means=means, images=int(arrays["images"]), weights=weights
    )


def _keep_newest(folder: Path) -> None:
    entries = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)
    for old in entries[:-KEPT]:
        old.unlink(missing_ok=True)
