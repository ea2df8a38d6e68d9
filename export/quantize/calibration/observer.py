"""Observe the tensors of a network on calibration images, one image at a time.

Memory holds a histogram and channel means for each tensor, and all tensors of one image, so that it does not
grow with the number of images. The COCO YOLOv5n at 640 x 640 with two threads has its peak of 594 MiB at the
second image and at the 64th; 355 MiB of it is Python with torch, to read the ``.pt``:

    python -c "
    import resource, sys
    from pathlib import Path
    from distill.checkpoints.yolov5_pt import load_yolov5_pt
    from edgestill.dataset import read_image
    from export.graph.yolov5 import build_onnx
    from export.graph.detector_graph import DetectorGraph
    from export.quantize.calibration.observer import observe
    from runtime.letterbox import prepare
    def peak(when): print(when, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'MiB')
    def feeds():
        for i, path in enumerate(sorted(Path(sys.argv[2]).glob('*.jpg'))[:65]):
            peak(f'{i} images')
            yield prepare(read_image(path), checkpoint.spec)[0]
    checkpoint = load_legacy(Path(sys.argv[1]))
    graph = DetectorGraph(build_onnx(checkpoint.spec, checkpoint.weights), checkpoint.spec.scale)
    peak('before')
    names = {"histograms": graph.observed_tensors(), "means": graph.convolution_inputs()}
    observe(graph.model, feeds(), **names, threads=2)
    " yolov5n.pt FOLDER
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgestill.errors import ArtifactError
from edgestill.quantization import FULL_RANGE, WeightRange
from export.quantize.gptq import GptqQuantiser

BINS = 8192
START_WIDTH = 1e-6  # of a bin, in the tensor's unit; the range doubles until everything fits
SAMPLE = 1 << 15  # values of a tensor and image that are counted; minimum and maximum are exact


class Histogram:
    """A histogram whose range doubles when a value falls outside.

    Attributes:
        low: Smallest observed value.
        high: Largest observed value.
        counts: int64 ``[BINS]``; the middle edge is zero.
        width: Of one bin, in the tensor's unit.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self.counts = np.zeros(BINS, np.int64)
        self.width = START_WIDTH

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values of one image; a large tensor is sampled evenly, minimum and maximum are exact.

        Raises:
            ValueError: A value is infinite or not a number.
        """
        flat = values.reshape(-1)
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite((low, high)).all():
            raise ValueError("it has infinities or NaN")
        self.low, self.high = min(self.low, low), max(self.high, high)
        # An odd step does not sample the same columns of rows of even length.
        sample = flat[:: (flat.size // SAMPLE) | 1]
        while max(-self.low, self.high) >= self.width * (BINS // 2):
            self._double()
        places = np.floor(sample / np.float32(self.width)).astype(np.int32) + BINS // 2
        self.counts += np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The centres of the non-empty bins, and their counts."""
        where = np.flatnonzero(self.counts)
        middles = (where - BINS // 2 + 0.5) * self.width
        return np.clip(middles, self.low, self.high), self.counts[where].astype(np.float64)

    def _double(self) -> None:
        """Merge neighbouring bins; the middle edge stays at zero."""
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[BINS // 4 : BINS // 4 + BINS // 2] = merged
        self.width *= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStatistics:
    """Statistics of a network's tensors over the calibration images.

    Attributes:
        histograms: By tensor.
        channel_means: By tensor, the mean of each channel over images and positions, float64 ``[C]``.
        images: Number of images.
        weights: By convolution, its weights quantised by ``export.quantize.gptq``, int8 ``[out, in, k, k]``.
    """

    histograms: Mapping[str, Histogram]
    channel_means: Mapping[str, NDArray[np.float64]]
    images: int
    weights: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)


def observe(
    model: onnx.ModelProto,
    feeds: Iterable[NDArray[np.float32]],
    *,
    histograms: Sequence[str],
    means: Sequence[str],
    convolutions: Sequence[str] = (),
    weight_limit: WeightRange = FULL_RANGE,
    threads: int | None = None,
) -> TensorStatistics:
    """Run a model on images and accumulate statistics of its tensors.

    Args:
        model: An ONNX model with one input.
        feeds: The inputs, float32 ``[1, 3, H, W]``, one at a time.
        histograms: Names of the tensors to count.
        means: Names of the tensors ``[1, C, H, W]`` whose channels are averaged.
        convolutions: Names of the convolutions whose weights are quantised by GPTQ.
        weight_limit: Limits on the magnitude of these weights.
        threads: CPU threads; None for ONNX Runtime's choice.

    Raises:
        ArtifactError: A tensor has infinities or NaN.
        ValueError: There are no images.
    """
    found = {name: Histogram() for name in histograms}
    sums: dict[str, NDArray[np.float64]] = {}
    gptq = GptqQuantiser(model, convolutions)
    names = sorted({*histograms, *means, *gptq.sources})
    session = _session(model, names, threads)
    source = model.graph.input[0].name
    images = 0
    for feed in feeds:
        # The input may be observed as well; a session does not return its inputs.
        outputs = [n for n in names if n != source]
        values: dict[str, NDArray[np.float32]] = {source: feed}
        values |= zip(outputs, session.run(outputs, {source: feed}), strict=True)
        for name in histograms:
            _count(found[name], values[name], name)
        for name in means:
            mean = values[name].mean(axis=(0, 2, 3), dtype=np.float64)
            sums[name] = sums[name] + mean if name in sums else mean
        gptq.add(values)
        images += 1
    if not images:
        raise ValueError("no images to observe")
    return TensorStatistics(
        histograms=found,
        channel_means={n: s / images for n, s in sums.items()},
        images=images,
        weights=gptq.quantised(weight_limit),
    )


def _count(histogram: Histogram, values: NDArray[np.float32], name: str) -> None:
    try:
        histogram.add(values)
    except ValueError as error:
        raise ArtifactError(
            f"on a calibration image, tensor {name} of the float network is invalid: {error}",
            hint="check the checkpoint: its training may have diverged",
        ) from error


def _session(model: onnx.ModelProto, names: Sequence[str], threads: int | None) -> Any:
    """A session whose outputs are the named tensors."""
    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    del open_model.graph.output[:]
    inputs = {i.name for i in model.graph.input}
    open_model.graph.output.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n not in inputs
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    return ort.InferenceSession(open_model.SerializeToString(), options, providers=["CPUExecutionProvider"])
