"""How much each block of a network alone disturbs what is detected when it computes in fewer bits.

Each block is quantised (or halved) with all others left in FP32, and the decoded output on calibration images
is held against FP32's. The measure is made of what a detection is made of. With s the score of a pair of box
and class, s' the same after rounding, and IoU the overlap of the box before and after,

    error = sum max(s, s') (|s - s'| + 1 - IoU) / sum max(s, s')

over all pairs and images: the score that is moved and the overlap that is lost, in the mean over boxes by how
sure either side is of them. The power of the noise over the whole output, SQNR, would be that of background:
of 15,000 boxes some ten show anything. A box that rounding invents counts as much as one that it loses.

One block at a time, ranked by what it does to the result, is the partial quantisation of Wu et al., Integer
Quantization for Deep Learning Inference, https://arxiv.org/abs/2004.09602, section 5.2; that noise at the
network's output on few images ranks layers about as accuracy on many does is from Pandey et al., A Practical
Mixed Precision Algorithm for Post-Training Quantization, https://arxiv.org/abs/2302.05397.

One block is in memory at a time, beside ``IMAGES`` images and what FP32 says about them.
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

IMAGES = 16  # of the calibration images, spread; 8 put the first nine of 18 blocks in the same order
LEAST_SCORE = 1e-3  # pairs that both sides are less sure of are background; weights of 1e-3 and less

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """What one block does alone.

    Attributes:
        block: Which.
        error: See the module, from 0 to 2; 2 is that nothing was found again.
    """

    block: PrecisionBlock
    error: float


def rank(
    source: onnx.ModelProto,
    blocks: Sequence[PrecisionBlock],
    only: Callable[[PrecisionBlock], onnx.ModelProto],
    calibration: Calibration,
) -> tuple[Sensitivity, ...]:
    """Measure every block; the worst comes first, of equals the one that is first in the network.

    Args:
        source: The FP32 model.
        blocks: What can be moved.
        only: The model with that block in fewer bits and all others in FP32.
        calibration: The images, and the spec at which they are shown.
    """
    spec, feeds = calibration.spec, calibration.some(IMAGES)
    whole = _Session(source)
    said = [_pairs(whole(feed), spec) for feed in feeds]
    found = []
    for block in track(blocks, "rank blocks", len(blocks)):
        session, moved, weight = _Session(only(block)), 0.0, 0.0
        for feed, true in zip(feeds, said, strict=True):
            add = _difference(true, _pairs(session(feed), spec))
            moved, weight = moved + add[0], weight + add[1]
        found.append(Sensitivity(block=block, error=moved / max(weight, LEAST_SCORE)))
    return tuple(sorted(found, key=lambda s: -s.error))


class _Session:
    """A model that is run on ONNX Runtime's CPU, whoever it is for."""

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
    """Boxes ``[A, 4]`` as corners and scores ``[A, nc]``; of a row that is no number, both are zero."""
    rows = output[0] if spec.layout == "yolov5" else output[0].T
    rows = np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, np.float32(0))
    scores = rows[:, 5:] * rows[:, 4:5] if spec.layout == "yolov5" else rows[:, 4:]
    return cxcywh_to_xyxy(rows[:, :4]), scores


def _difference(true: tuple[Floats, Floats], ours: tuple[Floats, Floats]) -> tuple[float, float]:
    """The two sums of the error over one image."""
    weight = np.maximum(true[1], ours[1]).astype(np.float64)
    box, class_id = np.nonzero(weight > LEAST_SCORE)
    weight = weight[box, class_id]
    moved = np.abs(true[1][box, class_id] - ours[1][box, class_id]) + 1 - _overlap(true[0][box], ours[0][box])
    return float(weight @ moved), float(weight.sum())


def _overlap(a: Floats, b: Floats) -> NDArray[np.float64]:
    """Intersection over union of each row ``[N, 4]`` with the same row of the other; 1 if both are empty."""
    one, other = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    both = np.prod(np.clip(sides, 0, None), axis=1)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (one, other)]
    union = areas[0] + areas[1] - both
    return np.where(union > 0, both / np.maximum(union, 1e-12), 1.0)
