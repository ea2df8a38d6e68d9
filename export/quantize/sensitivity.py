"""Sensitivity of detections to the precision of each block alone.

Each block is quantised (or converted to FP16) with all others in FP32, and the decoded output on calibration
images is compared with that of FP32. With s the score of a pair of box and class, s' the score after
quantisation, and IoU the overlap of the box before and after,

    error = sum max(s, s') (|s - s'| + 1 - IoU) / sum max(s, s')

over all pairs and images: the mean change of score and loss of overlap, weighted by the larger score. The
SQNR of the whole output would measure background: of 15,000 boxes about ten are objects. A false box of
quantisation counts as much as a lost one.

Ranking blocks one at a time is the partial quantisation of Wu et al., Integer Quantization for Deep Learning
Inference, https://arxiv.org/abs/2004.09602, section 5.2. That noise at the network's output on few images
ranks layers about like accuracy on many is from Pandey et al., A Practical Mixed Precision Algorithm for
Post-Training Quantization, https://arxiv.org/abs/2302.05397.

Memory holds one model at a time, ``IMAGES`` images, and the FP32 output for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgestill.boxes import cxcywh_to_xyxy
from edgestill.progress import track
from edgestill.spec import ModelSpec
from export.quantize.blocks import PrecisionBlock
from export.quantize.calibration.images import Calibration

IMAGES = 16  # calibration images, spread evenly; with 8 the first nine of 18 blocks rank the same
LEAST_SCORE = 1e-3  # pairs with lower scores on both sides are background and not counted

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """The sensitivity of one block.

    Attributes:
        block: The block.
        error: See the module, 0 to 2; 2 means that no box remains.
    """

    block: PrecisionBlock
    error: float


def rank(
    source: onnx.ModelProto,
    blocks: Sequence[PrecisionBlock],
    only: Callable[[PrecisionBlock], onnx.ModelProto],
    calibration: Calibration,
) -> tuple[Sensitivity, ...]:
    """Measure every block.

    Args:
        source: The FP32 model.
        blocks: The blocks, in the order of the network.
        only: Makes the model with one block at the lower precision and all others in FP32.
        calibration: The images and their pre-processing.

    Returns:
        The sensitivities, the highest first; equal ones in the order of the network.
    """
    spec, feeds = calibration.spec, calibration.some(IMAGES)
    fp32 = _Session(source)
    references = [_pairs(fp32(feed), spec) for feed in feeds]
    found = []
    for block in track(blocks, "rank blocks", len(blocks)):
        session, error, weight = _Session(only(block)), 0.0, 0.0
        for feed, reference in zip(feeds, references, strict=True):
            add = _difference(reference, _pairs(session(feed), spec))
            error, weight = error + add[0], weight + add[1]
        found.append(Sensitivity(block=block, error=error / max(weight, LEAST_SCORE)))
    return tuple(sorted(found, key=lambda s: -s.error))


class _Session:
    """A model on ONNX Runtime's CPU provider, whatever its target."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        data = model.SerializeToString()
        self._session: Any = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._source = model.graph.input[0].name

    def __call__(self, feed: Floats) -> Floats:
        """The output for one image, ``[1, ...]``."""
        return np.asarray(self._session.run(None, {self._source: feed})[0], np.float32)


def _pairs(output: Floats, spec: ModelSpec) -> tuple[Floats, Floats]:
    """Boxes ``[A, 4]`` as corners and scores ``[A, nc]``; both are zero for a row with NaN or infinity."""
    rows = output[0] if spec.layout == "yolov5" else output[0].T
    rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, np.float32(0))
    scores = rows[:, 5:] * rows[:, 4:5] if spec.layout == "yolov5" else rows[:, 4:]
    return cxcywh_to_xyxy(rows[:, :4]), scores


def _difference(reference: tuple[Floats, Floats], ours: tuple[Floats, Floats]) -> tuple[float, float]:
    """Numerator and denominator of the error on one image."""
    weight = np.maximum(reference[1], ours[1]).astype(np.float64)
    box, class_id = np.nonzero(weight > LEAST_SCORE)
    weight = weight[box, class_id]
    drift = np.abs(reference[1][box, class_id] - ours[1][box, class_id])
    error = drift + 1 - _overlap(reference[0][box], ours[0][box])
    return float(weight @ error), float(weight.sum())


def _overlap(a: Floats, b: Floats) -> NDArray[np.float64]:
    """IoU of each row ``[N, 4]`` with the same row of the other; 1 if both are empty."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    both = np.prod(np.clip(sides, 0, None), axis=1)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (one, other)]
    union = areas[0] + areas[1] - both
    return np.where(union > 0, both / np.maximum(union, 1e-12), 1.0)
