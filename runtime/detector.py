"""A detector: one frame in, detections in its pixels out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgestill.detections import Detections
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec
from runtime.backend import Backend, open_backend
from runtime.decode import LIMIT, check_output, decode
from runtime.letterbox import prepare
from runtime.stopwatch import Stopwatch


class Detector(Protocol):
    """What benchmarks, the pipeline and tests need.

    Attributes:
        spec: The model's contract.
    """

    spec: ModelSpec

    def __call__(self, image_bgr: NDArray[np.uint8]) -> Detections:
        """Find objects in an image, uint8 ``[H, W, 3]``."""


class TimedDetector(Detector, Protocol):
    """A detector that tells how long its stages took."""

    def timed(self, image_bgr: NDArray[np.uint8]) -> tuple[Detections, dict[str, float]]:
        """Detections, and milliseconds by stage."""


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
        watch = Stopwatch()
        with watch.stage("letterbox"):
            tensor, fit = prepare(image_bgr, self.spec)
            feed: NDArray[Any] = tensor.astype(self._input.dtype, copy=False)
        with watch.stage("inference"):
            output = self.backend.infer({self._input.name: feed})[self._output.name]
        with watch.stage("postprocess"):
            found = decode(
                output,
                self.spec,
                fit,
                (image_bgr.shape[0], image_bgr.shape[1]),
                conf=self.conf,
                iou=self.iou,
                multi_label=self.multi_label,
                limit=LIMIT,
            )
        return found, watch.stages_ms

    def close(self) -> None:
        """Free the model."""
        self.backend.close()


def open_detector(
    path: Path,
    *,
    backend: str = "auto",
    device: str = "cpu",
    conf: float = 0.25,
    iou: float = 0.45,
    multi_label: bool = False,
    threads: int | None = None,
) -> ModelDetector:
    """Load a detector from a model file, ours or one that ``yolo export`` wrote.

    Args:
        path: An ``.onnx`` or OpenVINO ``.xml`` file.
        backend: ``"auto"``, ``"ort"`` or ``"ov"``.
        device: See ``runtime.backend.open_backend``.
        conf: Lowest score that is reported.
        iou: Highest overlap of two boxes of one class.
        multi_label: Whether one box may be reported as several classes.
        threads: CPU threads; None leaves the choice to the library.

    Raises:
        ArtifactError: The file is missing, broken, or not a detector.
        DeviceError: The backend or the device is not there.
    """
    loaded = open_backend(path, backend, device=device, threads=threads)
    try:
        spec = _spec(path, loaded)
    except ArtifactError:
        loaded.close()
        raise
    return ModelDetector(spec, loaded, conf=conf, iou=iou, multi_label=multi_label)


def _spec(path: Path, backend: Backend) -> ModelSpec:
    """The spec that the file carries, held against its tensors."""
    try:
        spec = ModelSpec.from_metadata(backend.metadata, inputs=backend.inputs, outputs=backend.outputs)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} carries a broken spec: {error}", hint="export the model again"
        ) from error
    wanted = (1, 3, *spec.input_hw)
    shapes = [t.shape for t in backend.inputs]
    fits = len(shapes) == 1 and len(shapes[0]) == 4
    if not fits or any(side not in {None, want} for side, want in zip(shapes[0], wanted, strict=True)):
        raise ArtifactError(
            f"{path} takes inputs of shape {shapes}; its spec says {list(wanted)}",
            hint="export the model again, with batch 1",
        )
    check_output(backend.outputs[0].shape, spec)
    return spec
