"""A detector: one frame in, detections in its pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError, ToolchainError, UsageError
from edgestill.spec import ModelSpec, TensorSpec
from runtime.backend import Backend, open_backend
from runtime.decode import LIMIT, check_output, decode
from runtime.letterbox import prepare
from runtime.stopwatch import Stopwatch

MAX_SIDE = 16384  # of an input tensor, pixels; a free shape would take any that the metadata name
#: What reading text of others as JSON or literals may raise; nesting ends in the last two.
_BROKEN = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    SyntaxError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class Detector(Protocol):
    """Finds objects in images: what evaluation, verification and tiling need.

    Attributes:
        spec: Input size, classes and pre-processing of the model.
    """

    spec: ModelSpec

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Detections in an image, uint8 ``[H, W, 3]`` BGR, in its pixels."""


@runtime_checkable
class TimedDetector(Detector, Protocol):
    """A detector that measures its stages: what the pipeline and the benchmarks need."""

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Detections in an image, uint8 ``[H, W, 3]`` BGR, and milliseconds by stage."""

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Detections in each of several images of any sizes, and milliseconds by stage of all together."""


class ModelDetector:
    """Letterbox, a backend, decode.

    Attributes:
        spec: The model's contract.
        backend: The loaded model.
        conf: Lowest score that is reported.
        iou: Highest overlap of two boxes of one class.
        multi_label: Whether one box may be reported as several classes.
    """

    def __init__(
        self, spec: ModelSpec, backend: Backend, *, conf: float, iou: float, multi_label: bool = False
    ) -> None:
        self.spec, self.backend = spec, backend
        self.conf, self.iou, self.multi_label = conf, iou, multi_label
        self._input, self._output = backend.inputs[0], backend.outputs[0]

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Find objects in an image, uint8 ``[H, W, 3]``."""
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Find objects, and say how long it took.

        Returns:
            The detections, and milliseconds of the stages letterbox, inference, postprocess.
        """
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Find objects in several images: as many in one run as the model takes, all if its batch is free.

        Returns:
            The detections in each image, and milliseconds by stage of all of them together.
        """
        watch = Stopwatch()
        with watch.stage("letterbox"):
            prepared = [prepare(image, self.spec) for image in images_bgr]
            feeds = [t.astype(self._input.dtype, copy=False) for t, _ in prepared]
        with watch.stage("inference"):
            outputs = self._infer(feeds)
        with watch.stage("postprocess"):
            found = [
                decode(
                    output,
                    self.spec,
                    fit,
                    (image.shape[0], image.shape[1]),
                    conf=self.conf,
                    iou=self.iou,
                    multi_label=self.multi_label,
                    limit=LIMIT,
                )
                for output, (_, fit), image in zip(outputs, prepared, images_bgr, strict=True)
            ]
        return found, watch.stages_ms

    def _infer(self, feeds: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The output of each input, ``[1, ...]``."""
        name, out = self._input.name, self._output.name
        size = self._input.shape[0] or min(len(feeds), self.backend.max_batch or len(feeds))
        outputs: list[NDArray[Any]] = []
        for start in range(0, len(feeds), size):
            taken = list(feeds[start : start + size])
            taken += [taken[-1]] * (size - len(taken))  # a fixed batch wants to be full
            together = self.backend.infer({name: taken[0] if size == 1 else np.concatenate(taken)})[out]
            outputs += [together[i : i + 1] for i in range(size)]
        return outputs[: len(feeds)]

    def close(self) -> None:
        """Free the model."""
        self.backend.close()


def open_detector(
    path: Path,
    *,
    backend: str = "auto",
    device: str | None = None,
    conf: float = 0.25,
    iou: float = 0.45,
    multi_label: bool = False,
    threads: int | None = None,
    trust_engine: bool = False,
    input_hw: tuple[int, int] | None = None,
) -> ModelDetector:
    """Load a detector from a model file, ours or one that ``yolo export`` wrote.

    Args:
        path: An ``.onnx``, OpenVINO ``.xml`` or TensorRT ``.engine`` file.
        backend: ``"auto"``, ``"ort"``, ``"ov"`` or ``"trt"``.
        device: See ``runtime.backend.open_backend``.
        conf: Lowest score that is reported.
        iou: Highest overlap of two boxes of one class.
        multi_label: Whether one box may be reported as several classes.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether an engine that was not built here is run; it is native code.
        input_hw: Height and width to run at, for a file that leaves them free; None for the file's own.

    Raises:
        ArtifactError: The file is missing, broken, or not a detector.
        DeviceError: The backend or the device is not there.
        UsageError: The file's size is fixed, and another one.
    """
    loaded = open_backend(path, backend, device=device, threads=threads, trust_engine=trust_engine)
    try:
        spec = _at_size(path, _spec(path, loaded), loaded.inputs[0], input_hw)
    except ToolchainError:
        loaded.close()
        raise
    return ModelDetector(spec, loaded, conf=conf, iou=iou, multi_label=multi_label)


def _at_size(path: Path, spec: ModelSpec, taken: TensorSpec, input_hw: tuple[int, int] | None) -> ModelSpec:
    """The spec at the size that was asked for, if the file can run at that."""
    if input_hw is None or input_hw == spec.input_hw:
        return spec
    sides = taken.shape[1:3] if spec.pixels == "uint8" else taken.shape[2:]
    if any(side is not None for side in sides):
        (height, width), (own_height, own_width) = input_hw, spec.input_hw
        raise UsageError(
            f"{path} is made for {own_height}x{own_width} and not for {height}x{width}",
            hint="leave --imgsz out, or export it with --dynamic size",
        )
    return _limited(path, spec.resized(input_hw))


def _limited(path: Path, spec: ModelSpec) -> ModelSpec:
    """The spec, if its size is within reason."""
    if max(spec.input_hw) > MAX_SIDE:
        raise ArtifactError(
            f"{path} wants images of {spec.input_hw}; the limit is {MAX_SIDE}", hint="export the model again"
        )
    return spec


def _spec(path: Path, backend: Backend) -> ModelSpec:
    """The spec that the file carries, held against its tensors."""
    try:
        spec = ModelSpec.from_metadata(backend.metadata, inputs=backend.inputs, outputs=backend.outputs)
    except _BROKEN as error:
        raise ArtifactError(
            f"{path} carries a broken spec: {error!r}", hint="export the model again"
        ) from error
    shapes = [t.shape for t in backend.inputs]
    wanted = _limited(path, spec).input_shape
    fits = len(shapes) == 1 and len(shapes[0]) == 4
    if not fits or any(
        side not in {None, want} for side, want in zip(shapes[0][1:], wanted[1:], strict=True)
    ):
        raise ArtifactError(
            f"{path} takes inputs of shape {shapes}; its spec says {list(wanted)}",
            hint="export the model again",
        )
    if spec.pixels == "uint8" and backend.inputs[0].dtype != "uint8":
        raise ArtifactError(
            f"{path} takes {backend.inputs[0].dtype}; its spec says uint8", hint="export the model again"
        )
    check_output(backend.outputs[0].shape, spec, batch=shapes[0][0])
    return spec
