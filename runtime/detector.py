"""Detectors: their contracts, and the one that runs a model file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import LifoQueue
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError, ToolchainError, UsageError
from edgestill.progress import say
from edgestill.spec import ModelSpec, TensorSpec
from runtime.backend import Backend, open_backend
from runtime.decode import LIMIT, check_output, decode
from runtime.file_reading import Reading, limited, read_file
from runtime.letterbox import InputBuffer
from runtime.stopwatch import Stopwatch

#: Errors of parsing untrusted text as JSON or Python literals; deep nesting raises the last two.
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
    """A model file as a detector: letterbox, inference on a backend, decoding with NMS.

    ``open_detector`` makes one. Images are uint8 ``[H, W, 3]`` BGR of any size, as OpenCV reads them. Several
    threads may call it; ``backend.concurrency`` of their calls run at the same time, others wait.

    Attributes:
        spec: Input size, classes and pre-processing of the model.
        backend: The loaded model.
        reading: How the file is read, and what told it.
        conf: Detections with a lower score are dropped.
        iou: IoU threshold of non-maximum suppression, which is done by class; not of an end-to-end file.
        multi_label: Whether one box may be reported as several classes; an end-to-end file decides it itself.

    Example:
        >>> import cv2
        >>> from edgestill import open_detector
        >>> detector = open_detector("model.onnx", conf=0.4)
        >>> image_bgr = cv2.imread("street.png")
        >>> found = detector(image_bgr)
        >>> for box, score, class_id in zip(found.xyxy, found.score, found.class_id):
        ...     print(detector.spec.classes[class_id], f"{score:.2f}", box.round().tolist())
        red 0.81 [12.0, 8.0, 20.0, 24.0]
        >>> found, stages_ms = detector.timed(image_bgr)
        >>> list(stages_ms)
        ['letterbox', 'inference', 'postprocess']
        >>> detector.close()
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        reading: Reading,
        *,
        conf: float,
        iou: float,
        multi_label: bool = False,
    ) -> None:
        self.spec, self.backend, self.reading = spec, backend, reading
        self.conf, self.iou, self.multi_label = conf, iou, multi_label
        self._input, self._output = backend.inputs[0], backend.outputs[0]
        self._buffers: LifoQueue[InputBuffer] = LifoQueue()
        for _ in range(backend.concurrency):
            self._buffers.put(InputBuffer(spec, self._input.dtype))
        self._limits = [limit for limit in (backend.max_batch, reading.max_batch) if limit]

    @property
    def max_batch(self) -> int | None:
        """Images that one run of the network takes; None for any number."""
        return self._input.shape[0] or min(self._limits, default=None)

    @property
    def gpu_ms(self) -> float | None:
        """Milliseconds that the network computed on a GPU since it was loaded, see ``runtime.backend``."""
        return self.backend.gpu_ms

    @property
    def transfers_ms(self) -> tuple[float, float] | None:
        """Milliseconds of copies to the GPU and back since it was loaded, see ``runtime.backend``."""
        return self.backend.transfers_ms

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Detections in an image, uint8 ``[H, W, 3]`` BGR, in its pixels."""
        return self.timed(image_bgr)[0]

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Detections in an image, and milliseconds of ``letterbox``, ``inference`` and ``postprocess``."""
        found, stages_ms = self.timed_batch([image_bgr])
        return found[0], stages_ms

    def timed_batch(
        self, images_bgr: Sequence[NDArray[np.uint8]]
    ) -> tuple[list[Detections], dict[str, float]]:
        """Detections in several images of any sizes, in batches as large as the model takes.

        Returns:
            The detections in each image, and milliseconds by stage of all together.
        """
        watch = Stopwatch()
        most = self.max_batch or max(len(images_bgr), 1)
        found: list[Detections] = []
        buffer = self._buffers.get()
        try:
            for start in range(0, len(images_bgr), most):
                found += self._batch(images_bgr[start : start + most], buffer, watch)
        finally:
            self._buffers.put(buffer)
        return found, watch.stages_ms

    def _batch(
        self, images_bgr: Sequence[NDArray[np.uint8]], buffer: InputBuffer, watch: Stopwatch
    ) -> list[Detections]:
        """Detections in images that the network takes at once."""
        with watch.stage("letterbox"):
            rows = self._input.shape[0] or len(images_bgr)
            tensor, fits = buffer.fill(images_bgr, rows)
        with watch.stage("inference"):
            output = self.backend.infer({self._input.name: tensor})[self._output.name]
        with watch.stage("postprocess"):
            return [
                decode(
                    output[row : row + 1],
                    self.spec,
                    fit,
                    (image.shape[0], image.shape[1]),
                    conf=self.conf,
                    iou=self.iou,
                    multi_label=self.multi_label,
                    limit=LIMIT,
                )
                for row, (fit, image) in enumerate(zip(fits, images_bgr, strict=True))
            ]

    def close(self) -> None:
        """Free the model."""
        self.backend.close()


def open_detector(
    path: str | Path,
    *,
    backend: str = "auto",
    device: str | None = None,
    conf: float = 0.25,
    iou: float = 0.45,
    multi_label: bool = False,
    threads: int | None = None,
    trust_engine: bool = False,
    throughput: bool = False,
    input_hw: tuple[int, int] | None = None,
) -> ModelDetector:
    """Load a detector from a model file of ``edgestill export`` or of Ultralytics' ``yolo export``.

    ``edgestill.open_detector`` takes checkpoints and the names of shipped weights as well.

    Args:
        path: An ``.onnx``, OpenVINO ``.xml`` or TensorRT ``.engine`` file.
        backend: ``"auto"`` (by the file's suffix), ``"ort"``, ``"ov"`` or ``"trt"``.
        device: See ``runtime.backend.open_backend``.
        conf: Detections with a lower score are dropped.
        iou: IoU threshold of non-maximum suppression.
        multi_label: Whether one box may be reported as several classes.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether an engine that was not built on this machine is run; it is native code.
        throughput: Whether several threads will call it, for most frames per second; see
            ``runtime.backend.open_backend``.
        input_hw: Input height and width in pixels, for a file with free sizes; None for the file's own.

    Raises:
        ArtifactError: The file is missing, broken, or not a detector.
        DeviceError: The library or the device is not available.
        UsageError: There is no such backend, or the file has another, fixed input size.

    Example:
        >>> from runtime.detector import open_detector
        >>> detector = open_detector("model.onnx", backend="ort", threads=1)
        >>> detector.spec.name, detector.spec.input_hw, detector.backend.device
        ('tiny', (32, 32), 'CPUExecutionProvider')
        >>> detector.close()
    """
    path = Path(path)
    loaded = open_backend(
        path, backend, device=device, threads=threads, trust_engine=trust_engine, throughput=throughput
    )
    try:
        reading, spec = read_detector(path, loaded, input_hw)
    except ToolchainError:
        loaded.close()
        raise
    return ModelDetector(spec, loaded, reading, conf=conf, iou=iou, multi_label=multi_label)


def read_detector(
    path: Path, loaded: Backend, input_hw: tuple[int, int] | None = None
) -> tuple[Reading, ModelSpec]:
    """How a loaded file is read as a detector, and its spec at an input size, see ``open_detector``.

    Raises:
        ArtifactError: It is broken, or not a detector.
        UsageError: It has another, fixed input size.
    """
    reading = _reading(path, loaded, input_hw)
    spec = _at_size(path, reading.spec, loaded.inputs[0], input_hw)
    for note in reading.notes:
        say(note)
    return reading, spec


def _at_size(path: Path, spec: ModelSpec, taken: TensorSpec, input_hw: tuple[int, int] | None) -> ModelSpec:
    """The spec at the requested input size, or UsageError if the file has another, fixed one."""
    if input_hw is None or input_hw == spec.input_hw:
        return spec
    sides = taken.shape[1:3] if spec.pixels == "uint8" else taken.shape[2:]
    if any(side is not None for side in sides):
        (height, width), (own_height, own_width) = input_hw, spec.input_hw
        raise UsageError(
            f"{path} has a fixed input size of {own_height}x{own_width}, not {height}x{width}",
            hint="leave --imgsz out, or export it with --dynamic size",
        )
    limited(path, input_hw)
    return spec.resized(input_hw)


def _reading(path: Path, backend: Backend, input_hw: tuple[int, int] | None) -> Reading:
    """How the file is read; its spec is checked against its inputs and outputs."""
    try:
        reading = read_file(path, backend, input_hw)
    except _BROKEN as error:
        raise ArtifactError(
            f"{path} has invalid metadata: {error!r}", hint="export the model again"
        ) from error
    spec = reading.spec
    shapes = [t.shape for t in backend.inputs]
    wanted = spec.input_shape
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
    return reading
