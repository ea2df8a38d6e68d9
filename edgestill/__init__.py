"""edgestill: distil, quantise, export, run and measure compact object detectors.

The names below are the Python API. They are imported on first use, so that ``import edgestill`` loads neither
an inference library nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.detector import Detector, ModelDetector
    from runtime.frames import open_source
    from runtime.pipeline import FrameResult
    from runtime.streams.watcher import Watcher

__version__ = "0.6.0"

_LAZY = {
    "Detector": "runtime.detector",
    "FrameResult": "runtime.pipeline",
    "Watcher": "runtime.streams.watcher",
    "open_source": "runtime.frames",
}

__all__ = ["Detector", "FrameResult", "Watcher", "__version__", "open_detector", "open_source", "watch"]


def open_detector(
    model: str | Path,
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
    """Load a detector by the path of a model or by the name of shipped weights.

    The shipped ``student`` and ``teacher``, and checkpoint folders, are converted to an ONNX file in the
    user's cache on first use.

    Args:
        model: An ``.onnx``, OpenVINO ``.xml`` or TensorRT ``.engine`` file, a checkpoint folder,
            ``"student"`` or ``"teacher"``.
        backend: ``"auto"`` (by the file's suffix), ``"ort"``, ``"ov"`` or ``"trt"``.
        device: See ``runtime.backend.open_backend``.
        conf: Detections with a lower score are dropped.
        iou: IoU threshold of non-maximum suppression.
        multi_label: Whether one box may be reported as several classes.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether an engine that was not built on this machine is run; it is native code.
        throughput: Whether several threads will call it, for most frames per second; at most
            ``backend.concurrency`` calls run at the same time.
        input_hw: Input height and width in pixels, for a file with free sizes; None for the file's own.

    Raises:
        ArtifactError: The model is missing, broken, or not a detector.
        DeviceError: The library or the device is not available.
        UsageError: There is no such backend, or the file has another, fixed input size.

    Example:
        >>> import cv2
        >>> import edgestill
        >>> detector = edgestill.open_detector("student", conf=0.4)
        >>> detector.spec.classes
        ('red', 'yellow', 'green', 'off')
        >>> found = detector(cv2.imread("street.png"))
        >>> found.xyxy.shape == (len(found), 4)
        True
        >>> detector.close()
    """
    opened: ModelDetector = _module("runtime.detector").open_detector(
        _model_file(model),
        backend=backend,
        device=device,
        conf=conf,
        iou=iou,
        multi_label=multi_label,
        threads=threads,
        trust_engine=trust_engine,
        throughput=throughput,
        input_hw=input_hw,
    )
    return opened


def watch(
    *sources: str | Path,
    model: str | Path = "student",
    track: bool = True,
    lights: bool = False,
    tile: str = "1x1",
    backend: str = "auto",
    device: str | None = None,
    conf: float = 0.25,
    iou: float = 0.45,
    threads: int | None = None,
    trust_engine: bool = False,
    input_hw: tuple[int, int] | None = None,
) -> Watcher:
    """Detect and track in the frames of one or several sources.

    The sources and the model are open when this returns. They are closed at the end, at an error, after
    ``break``, and at the end of a ``with`` block. Of a camera the newest frame comes, of a file every one.

    One thread at a time may use a watcher; each thread may have one of its own, also of one model file.
    Signals are left to the program.

    Args:
        *sources: As ``--source`` of ``edgestill run``: a file, a folder, a camera.
        model: As for ``open_detector``.
        track: Whether objects get identities over frames, and lights a state.
        lights: Whether only traffic lights of any detector are kept, with states from their pixels.
        tile: Tiles that the model runs on, columns x rows; for small objects.
        backend: As for ``open_detector``; so are the other arguments.
        device: See ``open_detector``.
        conf: See ``open_detector``.
        iou: See ``open_detector``.
        threads: CPU threads of this watcher; None leaves the choice to the library.
        trust_engine: See ``open_detector``.
        input_hw: See ``open_detector``.

    Returns:
        An iterator of ``FrameResult``; its ``source`` names the source.

    Raises:
        ArtifactError: The model is missing, broken, or not a detector.
        DataError: A file is missing or cannot be decoded.
        DeviceError: A camera, the library or the device is not available.
        UsageError: An argument is wrong.

    Example:
        >>> import edgestill
        >>> for result in edgestill.watch("street.png", model="model.onnx"):
        ...     for found in result.found():
        ...         print(result.source, result.frame.index, found.name, f"{found.score:.2f}")
        street.png 0 red 0.81
    """
    opened: Watcher = _module("edgestill.demo.watching").open_watcher(
        sources,
        model=model,
        track=track,
        lights=lights,
        tile=tile,
        backend=backend,
        device=device,
        conf=conf,
        iou=iou,
        threads=threads,
        trust_engine=trust_engine,
        input_hw=input_hw,
    )
    return opened


def _model_file(model: str | Path) -> Path:
    """The file behind a name of shipped weights, a checkpoint folder or a path; as on the command line."""
    found: Path = _module("export.model_file").resolve(str(model))
    return found


def _module(name: str) -> Any:
    """Import a module of this project.

    Raises:
        DeviceError: A library that it needs is missing or cannot be loaded; the hint says how to get it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        from edgestill.errors import import_failure  # noqa: PLC0415 (not for `import edgestill` alone)

        known = import_failure("edgestill", error)
        if known is None:
            raise
        raise known from error


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(_module(_LAZY[name]), name)
    raise AttributeError(f"module 'edgestill' has no attribute {name!r}")
