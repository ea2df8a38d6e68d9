"""TensorRT 8.5 to 11 and TensorRT-RTX, for ``.engine`` files that were built on this machine.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/python-api-docs.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from traceback import clear_frames
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.manifest import Manifest, read_manifest
from edgestill.spec import TensorSpec
from runtime.backend import check_feed
from runtime.tensorrt.cuda_bindings import open_session
from runtime.tensorrt.cuda_driver import device_index, open_driver
from runtime.tensorrt.cuda_graph import CudaGraph
from runtime.tensorrt.cuda_session import Buffer, Part, Session
from runtime.tensorrt.engine_file import REBUILD, engine_library, load_engine, read_engine
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


class TrtBackend:
    """An engine with one execution context, stream and set of buffers; see ``runtime.backend.Backend``.

    An engine of fixed shapes is captured as a CUDA graph after its first run, which sets up what later ones
    reuse. ``conditions`` tells whether that worked.

    Args:
        library: The TensorRT library.
        engine: The engine; it was loaded while the context of ``session`` was current.
        session: The stream and memory to run it with; closed with the backend.
        metadata: The file's metadata.
    """

    name = "trt"
    concurrency = 1

    def __init__(self, library: Library, engine: Any, session: Session, metadata: Mapping[str, str]) -> None:
        self._library, self._engine = library, engine
        self._session: Session | None = session
        self._graph: CudaGraph | None = None
        self.metadata = metadata
        index = session.driver.index
        self.device = f"cuda{f':{index}' if index else ''}: {session.driver.facts().name}"
        self.gpu_ms: float | None = 0.0
        mode = library.module.TensorIOMode
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self.inputs = tuple(_spec(engine, n) for n in names if engine.get_tensor_mode(n) == mode.INPUT)
        self.outputs = tuple(_spec(engine, n) for n in names if engine.get_tensor_mode(n) == mode.OUTPUT)
        if not self.inputs or not self.outputs:
            raise ArtifactError("the engine has no input or no output", hint=REBUILD)
        self._limits = {t.name: _limits(engine, t) for t in self.inputs}
        self.max_batch = self._limits[self.inputs[0].name][1][0] if self.inputs[0].shape[0] is None else None
        is_static = all(None not in spec.shape for spec in (*self.inputs, *self.outputs))
        self._is_to_capture = is_static
        self._graph_state = "not captured before the first run" if is_static else "no: the shapes are free"
        self._context = _context(engine)
        self._buffers = self._largest_buffers(session)
        self._is_mapped = next(iter(self._buffers.values())).is_mapped
        self.transfers_ms: tuple[float, float] | None = None if self._is_mapped else (0.0, 0.0)

    @property
    def conditions(self) -> dict[str, str]:
        """How the engine is run, for the record of a measurement."""
        session = self._open()
        return {
            "cuda_calls": session.binding,
            "cuda_memory": "mapped" if self._is_mapped else "copied",
            "cuda_graph": self._graph_state,
        }

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the engine. The page-locked buffers are reused, so the outputs are copies."""
        session = self._open()
        check_feed(feed, self.inputs)
        with session.current():
            for spec in self.inputs:
                given, buffer = feed[spec.name], self._buffers[spec.name]
                self._shape(spec, given.shape)
                np.copyto(buffer.host[: given.size].reshape(given.shape), given)
            with self._copying(session, "to_device"):
                for spec in self.inputs:
                    session.to_device(self._buffers[spec.name], feed[spec.name].size)
            made = self._run(session, self._graph.launch if self._graph else self._enqueue)
            self._count(session)
            if self._is_to_capture:
                self._capture(session, made)
        return made

    def _run(self, session: Session, launch: Callable[[], None]) -> dict[str, NDArray[Any]]:
        """Run the engine on the inputs that are on the device; returns copies of the outputs."""
        with session.timed():
            launch()
        shapes = {spec.name: self._now(spec) for spec in self.outputs}
        with self._copying(session, "to_host"):
            for name, shape in shapes.items():
                session.to_host(self._buffers[name], math.prod(shape))
        session.wait()
        return {
            name: self._buffers[name].host[: math.prod(shape)].reshape(shape).copy()
            for name, shape in shapes.items()
        }

    def _copying(self, session: Session, part: Part) -> AbstractContextManager[None]:
        """Time the copies that a block puts into the stream; mapped memory has none."""
        return nullcontext() if self._is_mapped else session.timed(part)

    def _count(self, session: Session) -> None:
        """Add the times of the last run, by its events."""
        self.gpu_ms = (self.gpu_ms or 0.0) + session.elapsed_ms()
        if self.transfers_ms is not None:
            to_device_ms, to_host_ms = self.transfers_ms
            self.transfers_ms = (
                to_device_ms + session.elapsed_ms("to_device"),
                to_host_ms + session.elapsed_ms("to_host"),
            )

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._open().stream):
            raise DeviceError("TensorRT refused to run the engine", hint=REBUILD)

    def _capture(self, session: Session, wanted: Mapping[str, NDArray[Any]]) -> None:
        """Capture the engine as a CUDA graph, and keep it if it gives the same outputs as without."""
        self._is_to_capture = False
        graph = None
        try:
            graph = CudaGraph(session.driver, session.stream, self._enqueue)
            for name in wanted:  # so that the graph must write the outputs
                buffer = self._buffers[name]
                np.bitwise_not(buffer.host.view(np.uint8), out=buffer.host.view(np.uint8))
                session.to_device(buffer, buffer.host.size)
            made = self._run(session, graph.launch)
        except DeviceError as error:
            self._graph_state = f"no: {error.what}"
        else:
            if all(np.array_equal(made[name], wanted[name], equal_nan=True) for name in wanted):
                self._graph, self._graph_state = graph, "yes"
                return
            self._graph_state = "no: its outputs differ from those of a run without it"
        if graph:
            graph.close()

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
        session, self._session = self._session, None
        if session is None:
            return
        try:
            with session.current():
                if self._graph:
                    self._graph.close()
                self._graph = self._context = self._engine = None
                self._buffers = {}
        finally:
            session.close()

    def _largest_buffers(self, session: Session) -> dict[str, Buffer]:
        """The buffer of each tensor, for its largest shape."""
        for spec in self.inputs:
            self._shape(spec, self._limits[spec.name][1])
        made = {}
        for spec in (*self.inputs, *self.outputs):
            shape = self._limits[spec.name][1] if spec.name in self._limits else self._now(spec)
            made[spec.name] = session.buffer(math.prod(shape), np.dtype(spec.dtype))
            if self._context.set_tensor_address(spec.name, made[spec.name].address) is False:
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
    index = device_index(device)
    if index is None:
        raise DeviceError(f"trt has no device {device!r}", hint="it has: cuda, cuda:1, ...")
    if path.suffix != ".engine":
        raise ArtifactError(
            f"{path} is not an engine", hint="edgestill export CKPT --to tensorrt --precision fp16 builds one"
        )
    manifest = read_manifest(path) if trust_engine else trusted_manifest(path)
    library = load_library(engine_library(path, manifest))
    driver = open_driver(index)
    gpu = driver.facts()
    library.refuse_gpu(gpu.name, gpu.compute_capability)
    if manifest and manifest.built_on and not trust_engine:
        check_platform(path, manifest.built_on, this_platform(library.target, library.version, gpu))
    session = open_session(driver)
    try:
        with session.current():  # TensorRT loads an engine to the device that is current
            return _load(library, path, manifest, session)
    except BaseException:
        session.close()
        raise


def _load(library: Library, path: Path, manifest: Manifest | None, session: Session) -> TrtBackend:
    try:
        data, metadata = read_engine(path, manifest)
        return TrtBackend(library, load_engine(library, data, path, manifest), session, metadata)
    except BaseException as error:
        # The frames of the traceback hold the engine, which must be destroyed before its CUDA context.
        clear_frames(error.__traceback__)
        raise


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
