"""ONNX Runtime: the reference backend.

Source: https://onnxruntime.ai/docs/api/python/api_summary.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Semaphore
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from devices.int8_saturation import saturates_here
from devices.linux import usable_cores
from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.quantization import overflows_int16
from edgestill.spec import TensorSpec
from edgestill.verbosity import is_verbose
from runtime.backend import check_feed
from runtime.onnx_guard.model import check_onnx
from runtime.tensorrt.cuda_driver import device_index, open_driver

PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: Uses uint8 weights, whose products are accumulated in 32 bits: exact, and about a fifth slower.
EXACT = "session.x64quantprecision"
MOST_CONCURRENT = 8  # runs at the same time; each has memory for all activations
LOG_INFO, LOG_ERRORS = 1, 3  # severities; its warnings are for authors of execution providers

# Convolutions and matrix products as the optimiser names them; Q* and *Integer* run in INT8.
FLOAT_OPS = frozenset(
    {"Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm"}
)
INT8_OPS = frozenset(
    {
        "QLinearConv",
        "ConvInteger",
        "QLinearMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QGemm",
    }
)


class OrtBackend:
    """An ONNX Runtime session pinned to one execution provider; see ``runtime.backend.Backend``.

    Args:
        path: The model.
        provider: The execution provider.
        threads: CPU threads of one run; None leaves the choice to ONNX Runtime.
        concurrency: Runs at the same time.
    """

    name = "ort"
    max_batch: int | None = None
    gpu_ms: float | None = None
    transfers_ms: tuple[float, float] | None = None
    conditions: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        path: Path,
        provider: str,
        threads: int | None,
        concurrency: int = 1,
        *,
        device_id: int | None = None,
    ) -> None:
        self._path, self._threads, self.concurrency = path, threads, concurrency
        self._device_id, self._running = device_id, Semaphore(concurrency)
        self._exact = provider == PROVIDERS["cpu"] and saturates_here() and _overflows_int16(path)
        self._session: ort.InferenceSession | None = _session(path, provider, self._options(), device_id)
        if (active := self._session.get_providers()[0]) != provider:
            # ONNX Runtime falls back to the CPU with a warning only, which would falsify a benchmark.
            raise DeviceError(
                f"ONNX Runtime was asked for {provider} and chose {active}", hint="edgestill doctor"
            )
        self._provider = provider
        self.device = f"{provider}: device {device_id}" if device_id else provider
        self.inputs = tuple(_spec(t) for t in self._session.get_inputs())
        self.outputs = tuple(_spec(t) for t in self._session.get_outputs())
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model; ONNX Runtime allocates new arrays for each call."""
        session = self._open()
        check_feed(feed, self.inputs)
        names = [t.name for t in self.outputs]
        with self._running:
            arrays = cast("list[NDArray[Any]]", session.run(names, dict(feed)))
        return dict(zip(names, arrays, strict=True))

    def layers_by_dtype(self) -> dict[str, int]:
        """Count the layers of the optimised graph, which is written to a temporary file for that."""
        self._open()
        with TemporaryDirectory() as folder:
            saved = Path(folder) / "optimised.onnx"
            options = self._options()
            options.optimized_model_filepath = str(saved)
            _session(self._path, self._provider, options, self._device_id)
            graph = onnx.load(str(saved)).graph
        counts = Counter(
            "int8" if node.op_type in INT8_OPS else _weight_dtype(graph, node)
            for node in graph.node
            if node.op_type in FLOAT_OPS | INT8_OPS
        )
        return dict(counts.most_common())

    def close(self) -> None:
        """Release the session."""
        self._session = None

    def _open(self) -> Any:
        if self._session is None:
            raise UsageError("the model is closed", hint="open it again with open_backend")
        return self._session

    def _options(self) -> Any:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = LOG_INFO if is_verbose() else LOG_ERRORS
        if self._exact:
            options.add_session_config_entry(EXACT, "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        return options


def open_model(path: Path, *, device: str, threads: int | None, throughput: bool = False) -> OrtBackend:
    """Load an ``.onnx`` file.

    Args:
        path: The model.
        device: ``"cpu"`` or ``"cuda"``.
        threads: CPU threads; None leaves the choice to ONNX Runtime.
        throughput: Whether they are divided among several runs at the same time, on the CPU.

    Raises:
        ArtifactError: The file is not ONNX, or ONNX Runtime cannot load it.
        DeviceError: The device is not available.
    """
    device_id = device_index(device)
    name = device if device_id is None else "cuda"
    if name not in PROVIDERS:
        raise DeviceError(f"ort has no device {device!r}", hint="it has: cpu, cuda, cuda:1, ...")
    provider = PROVIDERS[name]
    if provider not in ort.get_available_providers():
        raise DeviceError(
            f"this ONNX Runtime has no {provider}, only {', '.join(ort.get_available_providers())}",
            hint="use the device cpu, or install onnxruntime-gpu in a separate environment",
        )
    check_onnx(path)
    if device_id is not None:
        open_driver(device_id)  # ONNX Runtime does not tell a missing device from a broken file
    concurrency = 1
    if throughput and device == "cpu":
        available = threads or usable_cores()
        concurrency = min(available, MOST_CONCURRENT)
        threads = available // concurrency
    return OrtBackend(path, provider, threads, concurrency, device_id=device_id)


def _overflows_int16(path: Path) -> bool:
    """Whether INT8 kernels with 16-bit sums would saturate with the weights of a file."""
    stored = (t for t in onnx.load(str(path)).graph.initializer if t.data_type == onnx.TensorProto.INT8)
    return any(overflows_int16(onnx.numpy_helper.to_array(tensor)) for tensor in stored)


def _session(path: Path, provider: str, options: Any, device_id: int | None) -> Any:
    chosen = provider if device_id is None else (provider, {"device_id": device_id})
    try:
        return ort.InferenceSession(str(path), options, providers=[chosen])
    except Exception as error:  # ONNX Runtime raises a private type per status code
        raise ArtifactError(
            f"ONNX Runtime cannot load {path}: {error}", hint="export the model again; opset 18 or lower"
        ) from error


def _spec(tensor: Any) -> TensorSpec:
    kind = tensor.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    shape = tuple(side if isinstance(side, int) else None for side in tensor.shape)
    return TensorSpec(name=tensor.name, shape=shape, dtype=dtype)


def _weight_dtype(graph: Any, node: Any) -> str:
    """The dtype of a layer's second operand, which is the one that it computes in.

    On most CPUs ONNX Runtime has no FP16 convolution: it inserts casts, and the weight is then float32.
    """
    stored = {t.name: t.data_type for t in graph.initializer}
    cast_to = {
        n.output[0]: a.i for n in graph.node if n.op_type == "Cast" for a in n.attribute if a.name == "to"
    }
    known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    for table in (stored, cast_to, known):
        if node.input[1] in table:
            return str(onnx.helper.tensor_dtype_to_np_dtype(table[node.input[1]]))
    return str(np.dtype(np.float32))
