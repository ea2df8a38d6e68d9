"""Cache of tensor statistics, so that a second export of a checkpoint needs no pass over the images.

An entry is used only if everything that it depends on is the same: the graph, the observed tensors, the
content of each image, the pre-processing, the parameters of the histograms, the versions of the libraries.
All of these are stored in the entry and compared in full, so that a renamed entry or a hash collision is
detected. The range method is not among them: ranges are computed from the statistics at each export.

An entry begins with the SHA-256 of the rest. A damaged one is reported and replaced.
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
KEPT = 32  # entries, each of 1 MiB plus the size of the weights; the oldest are removed first
DIGEST = 64  # hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedTensors:
    """The tensors to observe in a graph; the fields are arguments of ``observer.observe``.

    Attributes:
        histograms: Names of the tensors to count.
        means: Names of the tensors whose channels are averaged.
        convolutions: Names of the convolutions whose weights are quantised by GPTQ.
        weight_limit: Limits on the magnitude of these weights.
    """

    histograms: Sequence[str]
    means: Sequence[str] = ()
    convolutions: Sequence[str] = ()
    weight_limit: WeightRange = FULL_RANGE

    @classmethod
    def for_int8(cls, graph: DetectorGraph, weight_limit: WeightRange) -> ObservedTensors:
        """The tensors that post-training quantisation to INT8 needs."""
        return cls(
            histograms=graph.observed_tensors(),
            means=graph.convolution_inputs(),
            convolutions=tuple(graph.body),
            weight_limit=weight_limit,
        )


def observe_cached(
    model: onnx.ModelProto, observed: ObservedTensors, calibration: Calibration, folder: Path | None
) -> TensorStatistics:
    """``observer.observe``, or its result in an earlier export.

    Args:
        model: An ONNX model with one input.
        observed: The tensors to observe.
        calibration: The images.
        folder: Folder of the cache; None for no cache.
    """
    if folder is None:
        return _observe(model, observed, calibration)
    depends = depends_on(model, observed, calibration)
    entry = folder / f"{hashlib.sha256(_text(depends)).hexdigest()[:24]}{SUFFIX}"
    found = read_entry(entry, depends)
    if found is not None:
        say("same graph, images and pre-processing as in an earlier export: using its tensor statistics")
        return found
    statistics = _observe(model, observed, calibration)
    try:
        write_bytes(entry, _packed(statistics, depends))
        _keep_newest(folder)
    except OSError as error:
        say(f"tensor statistics are not cached, {entry} cannot be written: {error.strerror}")
    return statistics


def depends_on(model: onnx.ModelProto, observed: ObservedTensors, calibration: Calibration) -> dict[str, Any]:
    """Everything that tensor statistics depend on, as plain JSON data."""
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
        "first_input": calibration.probe(),  # changes with the code of the letterbox, which is in no setting
        "counting": {"bins": BINS, "start_width": START_WIDTH, "sample": SAMPLE},
        "rounding": {"positions": POSITIONS, "damping": DAMPING, "largest": LARGEST, "enough": ENOUGH},
        "tools": record.tools,
    }


def read_entry(path: Path, depends: dict[str, Any]) -> TensorStatistics | None:
    """The statistics of an entry; None if it is missing, damaged, or of other dependencies.

    Args:
        path: The entry.
        depends: From ``depends_on``.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"{path} cannot be read, observing the images again: {error.strerror}")
        return None
    body = data[DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != data[:DIGEST]:
        say(f"{path} is damaged, observing the images again")
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


def _packed(statistics: TensorStatistics, depends: dict[str, Any]) -> bytes:
    histograms = statistics.histograms.values()
    arrays: dict[str, Any] = {
        "depends": np.frombuffer(_text(depends), np.uint8),
        "images": np.int64(statistics.images),
        "names": np.array(list(statistics.histograms), np.str_),
        "extents": np.array([(h.low, h.high, h.width) for h in histograms], np.float64),
        "counts": np.array([h.counts for h in histograms], np.int64),
        "mean_names": np.array(list(statistics.channel_means), np.str_),
    }
    arrays |= {f"mean_{i}": values for i, values in enumerate(statistics.channel_means.values())}
    arrays["weight_names"] = np.array(list(statistics.weights), np.str_)
    arrays |= {f"weight_{i}": values for i, values in enumerate(statistics.weights.values())}
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
