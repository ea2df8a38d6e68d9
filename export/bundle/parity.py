"""Parity: stored input tensors and the outputs for them, to be computed again on the device.

The inputs are tensors, not images, so that only the model and what runs it can differ: decoders of images and
OpenCV's scaling differ between machines, too. The outputs of both sides are decoded alike, and detections are
compared, since raw outputs differ most where there is no object.

``parity.npz`` has ``input_N`` and ``expected_N`` for N from 0, in the dtypes and shapes of the model's input
and output.
"""

from __future__ import annotations

import io
import platform
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import pairwise_iou
from edgestill.detections import Detections
from edgestill.errors import ArtifactError, UsageError
from edgestill.spec import ModelSpec
from edgestill.target import FilePrecision
from export.bundle.contents import ParityLimits
from export.verify.comparison import CONFIDENT_SCORE, MATCH_IOU, MATCH_SCORE
from runtime.backend import Backend, open_backend
from runtime.decode import decode
from runtime.detector import ModelDetector, read_detector
from runtime.letterbox import InputBuffer, Letterbox

VECTORS = 4  # images a model, those with the most confident detections: 3 MB each at 384x640
NMS_IOU = 0.45
#: By precision of the graph. The same INT8 file differs by up to 0.014 in the score and 0.7 px in a corner
#: between x86-64 and ARM64 on ONNX Runtime (140 boxes); FP32 and FP16 by rounding only. The limits leave room
#: for the fused kernels of TensorRT and OpenVINO, far below the difference of a wrong file or operator. A
#: bf16 file may run in FP32 on the device, see ``_agree``.
LIMITS: Mapping[FilePrecision, ParityLimits] = {
    "fp32": ParityLimits(score=0.002, box_px=0.2),
    "fp16": ParityLimits(score=0.02, box_px=1.0),
    "bf16": ParityLimits(score=0.04, box_px=3.0),
    "int8": ParityLimits(score=0.06, box_px=3.0),
}
PACKAGES = {"ort": "onnxruntime", "ov": "openvino", "trt": "tensorrt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityVectors:
    """Inputs and expected outputs of one model.

    Attributes:
        inputs: As the model takes them.
        expected: Its output for each.
        detections: Confident detections in all of them.
        reference: What computed them, see ``BundledModel.reference``.
    """

    inputs: tuple[NDArray[Any], ...]
    expected: tuple[NDArray[Any], ...]
    detections: int
    reference: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The content of ``parity.npz``; the same vectors give the same bytes."""
        arrays = {f"input_{n}": array for n, array in enumerate(self.inputs)}
        arrays |= {f"expected_{n}": array for n, array in enumerate(self.expected)}
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        return stream.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityResult:
    """The outputs of a device against the expected ones.

    Attributes:
        images: Inputs that were run.
        expected: Confident detections that are expected: a score of ``CONFIDENT_SCORE`` or more.
        matched: Those of them that the device finds: the same class, an IoU of ``MATCH_IOU`` or more.
        extra: Confident detections of the device that match no expected one from ``MATCH_SCORE`` on.
        worst_score: Largest difference of the scores of a match.
        worst_box_px: Largest difference of a corner of a match, pixels of the network's input.
        backend: What ran the model, e.g. ``"ort"``.
        device: The device, as the library names it.
        limits: The largest differences.
    """

    images: int
    expected: int
    matched: int
    extra: int
    worst_score: float
    worst_box_px: float
    backend: str
    device: str
    limits: ParityLimits

    @property
    def failures(self) -> tuple[str, ...]:
        """The limits that are exceeded, as sentences; empty if the outputs agree."""
        found = []
        if not self.expected:
            found.append("there are no expected detections, so that nothing was compared")
        if self.matched < self.expected:
            found.append(f"{self.expected - self.matched} of {self.expected} expected detections are missing")
        if self.extra:
            found.append(f"{self.extra} confident detections are not expected")
        if not self.worst_score <= self.limits.score:
            found.append(f"a score differs by {self.worst_score:.4f}, the limit is {self.limits.score:g}")
        if not self.worst_box_px <= self.limits.box_px:
            found.append(f"a box differs by {self.worst_box_px:.2f} px, the limit is {self.limits.box_px:g}")
        return tuple(found)


def make_vectors(
    model: Path, images_bgr: Sequence[NDArray[np.uint8]], *, most: int = VECTORS
) -> tuple[ParityVectors, ModelSpec, dict[str, int]]:
    """Run a model on images, and keep those with the most confident detections.

    Of a bf16 file only images are kept on which bf16 and FP32 agree: the device may have either.

    Args:
        model: An ``.onnx`` or OpenVINO ``.xml`` file.
        images_bgr: uint8 ``[H, W, 3]`` each, of any sizes.
        most: Number of images to keep.

    Returns:
        The vectors, the spec of the model, and its executed layers by dtype.

    Raises:
        ArtifactError: The file is no detector.
        UsageError: It finds nothing in the images: equal outputs would prove nothing.
    """
    with closing(open_backend(model, threads=1)) as backend, _in_fp32(model, backend) as in_fp32:
        _, spec = read_detector(model, backend)
        taken, given = backend.inputs[0], backend.outputs[0]
        buffer = InputBuffer(spec, taken.dtype)
        rows = taken.shape[0] or 1
        runs = []
        for image in images_bgr:
            tensor = buffer.fill([image], rows)[0].copy()
            output = backend.infer({taken.name: tensor})[given.name]
            found = _decoded(output, spec)
            if in_fp32 and not _agree(found, _decoded(in_fp32.infer({taken.name: tensor})[given.name], spec)):
                continue
            runs.append((len(_confident(found)), tensor, output))
        runs.sort(key=lambda run: -run[0])  # stable: of equal numbers the first images
        kept = [run for run in runs[:most] if run[0]]
        if not kept:
            raise UsageError(
                f"{model} finds nothing with a score of {CONFIDENT_SCORE:g} or more in {len(runs)} images, "
                "so that equal outputs would prove nothing",
                hint="give images with objects that it finds: --images FOLDER",
            )
        vectors = ParityVectors(
            inputs=tuple(run[1] for run in kept),
            expected=tuple(run[2] for run in kept),
            detections=sum(run[0] for run in kept),
            reference={
                "backend": backend.name,
                "device": backend.device,
                "version": metadata.version(PACKAGES[backend.name]),
                "machine": platform.machine(),
            },
        )
        return vectors, spec, backend.layers_by_dtype()


def _in_fp32(model: Path, backend: Backend) -> AbstractContextManager[Backend | None]:
    """The same model in FP32 if it runs in bf16 here: a CPU without bf16 will compute it so; else None."""
    if not backend.layers_by_dtype().get("bfloat16"):
        return nullcontext()
    return closing(open_backend(model, threads=1, precision_hint="f32"))


def _agree(found: Detections, in_fp32: Detections) -> bool:
    """Whether the detections of both precisions are within half of the limits of bf16.

    In some images NMS keeps a neighbouring box in one of them: COCO's YOLOv5n on 166 images had differences
    of up to 35 px. A device with the other precision would fail on these without a fault.
    """
    limits = LIMITS["bf16"]
    pairs, unexpected = _match(found, in_fp32)
    return (
        len(pairs) == len(_confident(found))
        and not unexpected
        and all(score <= limits.score / 2 and box <= limits.box_px / 2 for score, box in pairs)
    )


def read_vectors(path: Path) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Inputs and expected outputs of a ``parity.npz``.

    Raises:
        ArtifactError: It is missing or broken.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            count = len(arrays.files) // 2
            return [(arrays[f"input_{n}"], arrays[f"expected_{n}"]) for n in range(count)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path} has no readable parity vectors: {error}", hint="unpack the bundle again"
        ) from error


def check_parity(detector: ModelDetector, vectors: Path, limits: ParityLimits) -> ParityResult:
    """Run a model on stored inputs and compare its detections with the expected ones.

    Args:
        detector: The model on the device; its ``backend`` and ``spec`` are used.
        vectors: A ``parity.npz`` of the same network.
        limits: The largest differences.

    Raises:
        ArtifactError: The vectors are missing or broken, or are not for this model.
    """
    backend, spec = detector.backend, detector.spec
    taken, given = backend.inputs[0].name, backend.outputs[0].name
    stored = read_vectors(vectors)
    if not stored:
        raise ArtifactError(f"{vectors} is empty", hint="write the bundle again")
    matches, extra, expected = [], 0, 0
    for tensor, output in stored:
        try:
            mine = _decoded(backend.infer({taken: tensor})[given], spec)
            theirs = _decoded(output, spec)
        except UsageError as error:
            raise ArtifactError(f"{vectors} is not for this model: {error.what}", hint=error.hint) from error
        pairs, unexpected = _match(theirs, mine)
        matches += pairs
        extra += unexpected
        expected += len(_confident(theirs))
    return ParityResult(
        images=len(stored),
        expected=expected,
        matched=len(matches),
        extra=extra,
        worst_score=max((score for score, _ in matches), default=0.0),
        worst_box_px=max((box for _, box in matches), default=0.0),
        backend=backend.name,
        device=backend.device,
        limits=limits,
    )


def _decoded(output: NDArray[Any], spec: ModelSpec) -> Detections:
    """The detections of the first image of an output, in pixels of the network's input."""
    same = Letterbox(scale=1.0, pad_xy=(0.0, 0.0))
    return decode(output[:1], spec, same, spec.input_hw, conf=MATCH_SCORE, iou=NMS_IOU)


def _confident(found: Detections) -> Detections:
    return found.where(found.score >= CONFIDENT_SCORE)


def _match(theirs: Detections, mine: Detections) -> tuple[list[tuple[float, float]], int]:
    """Differences of score and box of each match of a confident detection, and the unexpected confident ones.

    Args:
        theirs: Expected detections from ``MATCH_SCORE`` on, highest score first.
        mine: The same of the device.
    """
    iou = pairwise_iou(theirs.xyxy, mine.xyxy) * (theirs.class_id[:, None] == mine.class_id)
    free = np.ones(len(mine), bool)
    pairs = []
    for row, score in enumerate(theirs.score):
        overlaps = np.where(free, iou[row], 0.0)
        if not overlaps.size or overlaps.max() < MATCH_IOU:
            continue
        best = int(overlaps.argmax())
        free[best] = False
        if score >= CONFIDENT_SCORE:
            drift = abs(float(score) - float(mine.score[best]))
            pairs.append((drift, float(np.abs(theirs.xyxy[row] - mine.xyxy[best]).max())))
    return pairs, int((free & (mine.score >= CONFIDENT_SCORE)).sum())
