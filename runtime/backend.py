"""The interface of inference libraries: the ``Backend`` protocol, and opening a model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from edgestill.errors import ArtifactError, UsageError
from edgestill.manifest import checked_manifest
from edgestill.registry import Registry
from edgestill.shipped import hint_for_missing
from edgestill.spec import TensorSpec

BACKENDS = Registry("runtime.backends", "backend", {"ort": "onnx", "ov": "openvino"})
BY_SUFFIX: Mapping[str, str] = {".onnx": "ort", ".xml": "ov", ".engine": "trt"}
OWN_DEVICE: Mapping[str, str] = {"trt": "cuda"}  # default device of backends that do not run on the CPU


class Backend(Protocol):
    """A loaded model.

    Attributes:
        name: The backend's name, e.g. ``"ort"``.
        device: The device as the library names it, e.g. ``"CPUExecutionProvider"``.
        inputs: The model's inputs.
        outputs: The model's outputs.
        metadata: The file's metadata, strings by key.
        max_batch: Largest batch of one run if the batch size is free; None for no limit.
        gpu_ms: Milliseconds that the network computed on a GPU since it was loaded, by CUDA events, without
            copies of inputs and outputs; None for a backend that does not measure it.
        transfers_ms: Milliseconds of copies to the device and back since it was loaded, by CUDA events; None
            for a backend that makes no copies, or does not measure them.
        concurrency: Calls of ``infer`` by different threads that run at the same time; others wait.
    """

    name: str
    device: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str]
    max_batch: int | None
    gpu_ms: float | None
    transfers_ms: tuple[float, float] | None
    concurrency: int

    @property
    def conditions(self) -> Mapping[str, str]:
        """What changes the speed and only this backend has, for the record of a measurement."""

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model.

        Args:
            feed: Inputs by name, in the shapes and dtypes of ``inputs``.

        Returns:
            Outputs by name; arrays that a later call does not change.

        Raises:
            UsageError: A name, shape or dtype does not match ``inputs``.
        """

    def layers_by_dtype(self) -> dict[str, int]:
        """Number of convolutions and matrix products of the compiled model, by the dtype they run in."""

    def close(self) -> None:
        """Free the model; a second call does nothing."""


def open_backend(
    path: Path,
    name: str = "auto",
    *,
    device: str | None = None,
    threads: int | None = None,
    trust_engine: bool = False,
    throughput: bool = False,
    **options: Any,
) -> Backend:
    """Load a model file. If there is a manifest beside it, the file must match its hash.

    Args:
        path: An ``.onnx``, OpenVINO ``.xml`` or TensorRT ``.engine`` file.
        name: A backend; ``"auto"`` chooses by the file's suffix.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` for the Nth visible device (ort, trt), ``"gpu"`` (ov);
            None is cuda for engines, else cpu. There is no fallback to another device.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether an engine that was not built on this machine is run; it is native code.
        throughput: Whether the CPU threads are divided among several runs at the same time, for most frames
            per second; else all of them work on one run, for the lowest latency. Engines run one at a time.
        **options: Options of one backend only, e.g. ``precision_hint`` of ov.

    Raises:
        UsageError: There is no such backend, or ``threads`` is below 1.
        ArtifactError: The file is missing, altered since its manifest was written, or cannot be loaded.
        DeviceError: The library is not installed, or the device is not available.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}", hint="give 1 or more, or leave it out")
    if not path.is_file():
        raise ArtifactError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}",
            hint=hint_for_missing(
                path, "give an .onnx file or an OpenVINO .xml; `edgestill export CKPT --to onnx` writes one"
            ),
        )
    if name == "auto":
        if path.suffix not in BY_SUFFIX:
            raise ArtifactError(
                f"{path} is not a model file that this project can run",
                hint=f"known: {', '.join(BY_SUFFIX)}; `edgestill export CKPT --to onnx` writes one",
            )
        name = BY_SUFFIX[path.suffix]
    module = BACKENDS.load(name)
    checked_manifest(path)
    if name == "trt":
        options["trust_engine"] = trust_engine
    elif throughput:
        options["throughput"] = True
    device = device or OWN_DEVICE.get(name, "cpu")
    return cast("Backend", module.open_model(path, device=device, threads=threads, **options))


def check_feed(feed: Mapping[str, NDArray[Any]], inputs: tuple[TensorSpec, ...]) -> None:
    """Raise UsageError unless the feed holds exactly the model's inputs, in their shapes and dtypes."""
    wanted = [t.name for t in inputs]
    if sorted(feed) != sorted(wanted):
        raise UsageError(
            f"the feed is {', '.join(sorted(feed)) or 'empty'}; the model's inputs are {', '.join(wanted)}",
            hint="feed every input by its name, see Backend.inputs",
        )
    for spec in inputs:
        given = feed[spec.name]
        fits = given.ndim == len(spec.shape) and all(
            want in {None, got} for want, got in zip(spec.shape, given.shape, strict=True)
        )
        if not fits or given.dtype != spec.dtype:
            raise UsageError(
                f"{spec.name} takes {spec.dtype} {list(spec.shape)}, not {given.dtype} {list(given.shape)}",
                hint="prepare the image with runtime.letterbox.prepare and the model's own spec",
            )
