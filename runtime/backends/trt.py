"""TensorRT 8.5 to 11 and TensorRT-RTX, for ``.engine`` files that were built on this machine.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.manifest import Manifest, read_manifest
from edgestill.spec import TensorSpec
from edgestill.target import EngineTarget
from runtime.backend import check_feed
from runtime.tensorrt.cuda_driver import Driver, Session, open_driver
from runtime.tensorrt.engine_identity import check_platform, this_platform, trusted_manifest
from runtime.tensorrt.engine_layers import LayerList, read_layers
from runtime.tensorrt.library import Library, load_library

DTYPES: Mapping[str, str] = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
REBUILD = "export the model again on this machine"
#: Largest JSON header of an engine of ``yolo export``, which begins with its length (4 bytes) and the text.
ULTRALYTICS_HEADER_MAX = 1 << 20


class TrtBackend:
    """An engine with one execution context, stream and set of buffers; see ``runtime.backend.Backend``."""

    name = "trt"
    concurrency = 1

    def __init__(self, library: Library, engine: Any, driver: Driver, metadata: Mapping[str, str]) -> None:
        self._library, self._engine = library, engine
        self.metadata = metadata
        self.device = f"cuda: {driver.facts().name}"
        mode = library.module.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self.inputs = tuple(_spec(engine, n) for n in names if engine.get_tensor_mode(n) == mode.INPUT)
        self.outputs = tuple(_spec(engine, n) for n in names if engine.get_tensor_mode(n) == mode.OUTPUT)
        if not self.inputs or not self.outputs:
            raise ArtifactError("the engine has no input or no output", hint=REBUILD)
        self._limits = {t.name: _limits(engine, t) for t in self.inputs}
        self.max_batch = self._limits[self.inputs[0].name][1][0] if self.inputs[0].shape[0] is None else None
        self._session: Session | None = Session(driver)
        try:
            self._context = _context(engine)
            self._buffers = self._largest_buffers(self._session)
        except BaseException:
            self.close()
            raise

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the engine. The page-locked buffers are reused, so the outputs are copies."""
        session = self._open()
        check_feed(feed, self.inputs)
        session.enter()
        for spec in self.inputs:
            given = feed[spec.name]
            self._shape(spec, given.shape)
            host, device = self._view(spec, given.shape)
            np.copyto(host, given)
            session.to_device(host, device)
        if not self._context.execute_async_v3(session.stream):
            raise DeviceError("TensorRT refused to run the engine", hint=REBUILD)
        made = {spec.name: self._view(spec, self._now(spec)) for spec in self.outputs}
        for host, device in made.values():
            session.to_host(device, host)
        session.wait()
        return {name: host.copy() for name, (host, _) in made.items()}

    def layers(self) -> LayerList:
        """The layers of the engine, from its inspector."""
        self._open()
        inspector = self._engine.create_engine_inspector()
        json_format = self._library.module.LayerInformationFormat.JSON
        # Empty text is refused as any other that lists no layers.
        return read_layers((inspector and inspector.get_engine_information(json_format)) or "")

    def layers_by_dtype(self) -> dict[str, int]:
        """Number of convolutions and matrix products by dtype, from the engine's inspector."""
        return self.layers().counts()

    def close(self) -> None:
        """Free the engine and its memory, in the reverse order of creation."""
        if self._session is None:
            return
        self._context = self._engine = None
        self._buffers = {}
        self._session.close()
        self._session = None

    def _largest_buffers(self, session: Session) -> dict[str, tuple[NDArray[Any], int]]:
        """Page-locked host array and device address of each tensor, for its largest shape."""
        for spec in self.inputs:
            self._shape(spec, self._limits[spec.name][1])
        made = {}
        for spec in (*self.inputs, *self.outputs):
            shape = self._limits[spec.name][1] if spec.name in self._limits else self._now(spec)
            host = session.host((math.prod(shape),), np.dtype(spec.dtype))
            made[spec.name] = host, session.device(host.nbytes)
            if self._context.set_tensor_address(spec.name, made[spec.name][1]) is False:
                raise DeviceError(f"TensorRT refused the buffer of {spec.name}", hint=REBUILD)
        return made

    def _shape(self, spec: TensorSpec, shape: tuple[int, ...]) -> None:
        """Set the shape of an input with free sides, or raise UsageError if it is outside the profile."""
        if None not in spec.shape:
            return
        least, most = self._limits[spec.name]
        inside = all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True))
        if not inside or not self._context.set_input_shape(spec.name, shape):
            raise UsageError(
                f"the engine takes {spec.name} from {list(least)} to {list(most)}, not {list(shape)}",
                hint="export it with a --profile-batch and --profile-size that include this shape",
            )

    def _now(self, spec: TensorSpec) -> tuple[int, ...]:
        """The current shape of an output, for the input shapes that were set."""
        if None not in spec.shape:
            return tuple(side or 0 for side in spec.shape)
        shape = _sides(self._context.get_tensor_shape(spec.name))
        if any(side is None for side in shape):
            raise DeviceError(
                f"TensorRT does not know the size of {spec.name}, which depends on the image",
                hint="export the model with a fixed number of boxes",
            )
        return tuple(side or 0 for side in shape)

    def _view(self, spec: TensorSpec, shape: tuple[int, ...]) -> tuple[NDArray[Any], int]:
        """A tensor's host buffer viewed in a shape, and its device address."""
        host, device = self._buffers[spec.name]
        return host[: math.prod(shape)].reshape(shape), device

    def _open(self) -> Session:
        if self._session is None:
            raise UsageError("the model is closed", hint="open it again with open_backend")
        return self._session


def open_model(path: Path, *, device: str, threads: int | None, trust_engine: bool = False) -> TrtBackend:
    """Load an ``.engine`` file.

    Args:
        path: The engine.
        device: ``"cuda"``, or ``"cuda:N"`` for the Nth visible device.
        threads: Not used: engines run on the GPU.
        trust_engine: Whether to run an engine that was not built by this user on this machine; it is native
            code.

    Raises:
        ArtifactError: The engine was built by another user or for another machine, or cannot be loaded.
        DeviceError: TensorRT, the driver or the device is not available.
    """
    del threads
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index or "0").isdigit():
        raise DeviceError(f"trt has no device {device!r}", hint="it has: cuda, cuda:1, ...")
    if path.suffix != ".engine":
        raise ArtifactError(
            f"{path} is not an engine", hint="edgestill export CKPT --to tensorrt --precision fp16 builds one"
        )
    manifest = read_manifest(path) if trust_engine else trusted_manifest(path)
    library = load_library(_target(path, manifest))
    driver = open_driver(int(index or 0))
    gpu = driver.facts()
    library.refuse_gpu(gpu.name, gpu.compute_capability)
    if manifest and manifest.built_on and not trust_engine:
        check_platform(path, manifest.built_on, this_platform(library.target, library.version, gpu))
    data, metadata = _content(path, manifest)
    portable = manifest.built_on["portable"] if manifest and manifest.built_on else []
    engine = _deserialise(library, data, path, host_code="version" in portable)
    return TrtBackend(library, engine, driver, metadata)


def _target(path: Path, manifest: Manifest | None) -> EngineTarget:
    """The library of the engine: from its manifest, else from its file name."""
    if manifest and manifest.built_on:
        return "tensorrt-rtx" if manifest.built_on["family"] == "tensorrt-rtx" else "tensorrt"
    return "tensorrt-rtx" if path.name.endswith(".rtx.engine") else "tensorrt"


def _content(path: Path, manifest: Manifest | None) -> tuple[bytes, dict[str, str]]:
    """The serialised engine and its metadata, from the manifest or from the header of `yolo export`."""
    data = path.read_bytes()
    if manifest:
        return data, manifest.spec.to_metadata()
    length = int.from_bytes(data[:4], "little", signed=True)
    if not 0 < length <= min(ULTRALYTICS_HEADER_MAX, len(data) - 4):
        return data, {}
    try:
        found = json.loads(data[4 : 4 + length])
        if not isinstance(found, dict):
            return data, {}
        about = {str(k): v if isinstance(v, str) else repr(v) for k, v in found.items()}
    except (ValueError, RecursionError):
        return data, {}
    return data[4 + length :], about


def _deserialise(library: Library, data: bytes, path: Path, *, host_code: bool) -> Any:
    trt = library.module
    logger = trt.Logger(trt.Logger.ERROR)  # prints to stderr itself
    runtime = library.create("the runtime", trt.Runtime, logger, said=lambda: "")
    if host_code:  # a version-compatible engine contains the runtime library that loads it
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise ArtifactError(
            f"TensorRT {library.version} cannot load {path}",
            hint=f"it is damaged or was built by another version: {REBUILD}",
        )
    return engine


def _context(engine: Any) -> Any:
    context = engine.create_execution_context()
    if context is None:
        raise DeviceError(
            "there is not enough GPU memory for the engine's buffers", hint="close other programs on the GPU"
        )
    return context


def _limits(engine: Any, spec: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest and the largest shape of an input."""
    if None not in spec.shape:
        fixed = tuple(side or 0 for side in spec.shape)
        return fixed, fixed
    shapes = engine.get_tensor_profile_shape(spec.name, 0)
    if not shapes or len(shapes) != 3:
        raise ArtifactError(f"the engine has no profile for its input {spec.name}", hint=REBUILD)
    least, _, most = shapes
    return tuple(int(side) for side in least), tuple(int(side) for side in most)


def _spec(engine: Any, name: str) -> TensorSpec:
    shape = _sides(engine.get_tensor_shape(name))
    kind = engine.get_tensor_dtype(name).name
    if kind not in DTYPES:
        raise ArtifactError(
            f"the engine's tensor {name} is of {kind}; edgestill reads {', '.join(DTYPES)}", hint=REBUILD
        )
    return TensorSpec(name=name, shape=shape, dtype=DTYPES[kind])


def _sides(shape: Any) -> tuple[int | None, ...]:
    """The sides of a shape of TensorRT; None for a free one.

    Raises:
        ArtifactError: TensorRT knows no shape: the bindings' ``Dims`` then has the length -1.
    """
    try:
        return tuple(None if side < 0 else int(side) for side in shape)
    except (TypeError, ValueError) as error:
        raise ArtifactError("the engine has a tensor without a shape", hint=REBUILD) from error
