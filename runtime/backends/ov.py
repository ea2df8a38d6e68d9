"""OpenVINO, for ``.xml`` and ``.onnx`` files on Intel CPUs and GPUs.

Source: https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import LifoQueue
from types import MappingProxyType
from typing import Any, cast

import openvino as ov
import yaml
from numpy.typing import NDArray

from devices.int8_saturation import saturates_here
from edgestill.errors import ArtifactError, DeviceError, ToolchainError, UsageError
from edgestill.files import read_text
from edgestill.progress import say
from edgestill.quantization import overflows_int16
from edgestill.spec import TensorSpec
from runtime.array_pool import ArrayPool
from runtime.backend import check_feed
from runtime.onnx_guard.model import check_onnx

#: Metadata key of the inference precision of float layers, ``"f32"`` or ``"bf16"``.
PRECISION_KEY = "edgestill.runtime_precision"
DTYPES: Mapping[str, str] = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "u8": "int8",
    "i8": "int8",
}
MAX_REFERENCES = 8  # YAML aliases in `metadata.yaml`; files of `yolo export` have one or two
ARITHMETIC = frozenset({"Convolution", "GroupConvolution", "Deconvolution", "FullyConnected", "MatMul"})


class OvBackend:
    """A compiled OpenVINO model with as many requests as it recommends; see ``runtime.backend.Backend``.

    Outputs of fixed shape are written straight into arrays that nobody else holds any more.
    """

    name = "ov"
    max_batch: int | None = None
    gpu_ms: float | None = None
    transfers_ms: tuple[float, float] | None = None
    conditions: Mapping[str, str] = MappingProxyType({})

    def __init__(self, model: Any, compiled: Any, device: str, metadata: Mapping[str, str]) -> None:
        self.device, self.metadata = device, metadata
        self.inputs = tuple(_spec(port, f"input{i}") for i, port in enumerate(model.inputs))
        self.outputs = tuple(_spec(port, f"output{i}") for i, port in enumerate(model.outputs))
        self.concurrency = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._compiled: Any = compiled
        self._requests: LifoQueue[Any] = LifoQueue()
        for _ in range(self.concurrency):
            self._requests.put(compiled.create_infer_request())
        #: Outputs of fixed shape by index: shape and arrays.
        self._fixed = {
            i: (cast("tuple[int, ...]", t.shape), ArrayPool(t.dtype))
            for i, t in enumerate(self.outputs)
            if None not in t.shape
        }

    def infer(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model."""
        self._check_open()
        check_feed(feed, self.inputs)
        by_index = {i: feed[t.name] for i, t in enumerate(self.inputs)}
        given = {i: pool.take(shape) for i, (shape, pool) in self._fixed.items()}
        requests = self._requests
        request = requests.get()
        try:
            for i, array in given.items():
                request.set_output_tensor(i, ov.Tensor(array, shared_memory=True))
            results = request.infer(by_index, share_inputs=True, share_outputs=True)
            # A request reuses the memory of outputs that were not given.
            return {t.name: given[i] if i in given else results[i].copy() for i, t in enumerate(self.outputs)}
        finally:
            requests.put(request)

    def layers_by_dtype(self) -> dict[str, int]:
        """Count the layers of the execution graph, which has the precision of each kernel."""
        self._check_open()
        ops = [op.get_rt_info() for op in self._compiled.get_runtime_model().get_ops()]
        counts = Counter(_executed(info) for info in ops if info["layerType"].astype(str) in ARITHMETIC)
        return dict(counts.most_common())

    def close(self) -> None:
        """Release the compiled model."""
        self._compiled, self._requests = None, LifoQueue()

    def _check_open(self) -> None:
        if self._compiled is None:
            raise UsageError("the model is closed", hint="open it again with open_backend")


def open_model(
    path: Path,
    *,
    device: str,
    threads: int | None,
    throughput: bool = False,
    precision_hint: str | None = None,
) -> OvBackend:
    """Load an ``.xml`` or ``.onnx`` file.

    Args:
        path: The model.
        device: ``"cpu"`` or ``"gpu"``.
        threads: CPU threads; None leaves the choice to OpenVINO.
        throughput: Whether OpenVINO divides them among several requests.
        precision_hint: Inference precision of float layers, ``"f32"`` or ``"bf16"``. None for the one in the
            model's metadata, else f32: without a hint OpenVINO runs FP32 files in bf16 on CPUs that have it.

    Raises:
        ArtifactError: OpenVINO cannot load the file.
        DeviceError: The device is not available, or does not have that precision.
    """
    core = ov.Core()
    target = device.upper()
    if target not in core.available_devices:
        raise DeviceError(
            f"OpenVINO finds no {target} here; it finds {', '.join(core.available_devices)}",
            hint="use the device cpu, or install the driver of the device",
        )
    model = _read(core, path)
    try:
        metadata = _metadata(model, path)
    except ToolchainError:
        raise
    except Exception as error:  # the bindings raise what they find, for example for a value of another type
        raise ArtifactError(
            f"{path} has no readable metadata: {error}", hint="export the model again"
        ) from error
    if target == "CPU" and saturates_here() and _overflows_int16(model):
        say(
            f"{path}: its INT8 weights use the full 8-bit range, and INT8 kernels on this CPU saturate: "
            "detections may be wrong. Export it again, or as .onnx, which is run exactly here"
        )
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        "INFERENCE_PRECISION_HINT": _precision(core, target, precision_hint, metadata, path),
    }
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = core.compile_model(model, target, config)
    except Exception as error:  # RuntimeError, and what converting its message raises
        raise ArtifactError(
            f"OpenVINO cannot compile {path}: {error}", hint="export the model again"
        ) from error
    return OvBackend(model, compiled, target, metadata)


def _read(core: Any, path: Path) -> Any:
    if path.suffix == ".xml":
        _check_xml(path)
    else:
        check_onnx(path)
    try:
        return core.read_model(path)
    except Exception as error:  # RuntimeError, and what converting its message raises
        raise ArtifactError(
            f"OpenVINO cannot read {path}: {error}", hint="copy it again, or export the model again"
        ) from error


def _overflows_int16(model: Any) -> bool:
    """Whether INT8 kernels with 16-bit sums would saturate with the weights of a model."""
    stored = (op for op in model.get_ops() if op.get_type_name() == "Constant")
    return any(overflows_int16(op.data) for op in stored if op.get_element_type() == ov.Type.i8)


def _check_xml(path: Path) -> None:
    """Refuse a file that is not XML in UTF-8: OpenVINO would read other formats without checks."""
    hint = "copy it again, or export the model again"
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:  # OpenVINO's own strings then raise it, wherever one is used first
        raise ArtifactError(f"{path} is damaged, it is not UTF-8: {error}", hint=hint) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    if not text.lstrip().startswith("<"):
        raise ArtifactError(f"{path} is not an OpenVINO model", hint=hint)
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ArtifactError(f"{path} lacks its weights {weights.name}", hint="copy both files together")


def _precision(core: Any, device: str, asked: str | None, metadata: Mapping[str, str], path: Path) -> str:
    """The precision hint to compile with: the requested one, else the model's, else f32.

    Raises:
        DeviceError: The device does not have the requested one.
    """
    wanted = asked or metadata.get(PRECISION_KEY, "f32")
    able = {"f32", *(c.lower() for c in core.get_property(device, "OPTIMIZATION_CAPABILITIES"))}
    if wanted in able:
        return wanted
    if asked:
        raise DeviceError(
            f"{device} cannot run in {asked}; it can in {', '.join(sorted(able))}",
            hint="leave precision_hint out",
        )
    if wanted == "bf16":  # other values are not of this project, and not fit to be printed
        say(f"{path}: it is a bf16 file, and this {device} has no bf16: it computes in FP32")
    return "f32"


def _metadata(model: Any, path: Path) -> dict[str, str]:
    """The model's metadata, with the last part and the full dotted name of each entry as keys."""
    found: dict[str, str] = {}
    beside = path.with_name("metadata.yaml")  # where `yolo export` puts it
    if path.suffix == ".xml" and beside.is_file():
        stored = _plain_yaml(beside)
        found |= {str(k): v if isinstance(v, str) else repr(v) for k, v in stored.items()}
    for name, value in _leaves(model.get_rt_info(), ()):
        found[".".join(name)] = value
        found.setdefault(name[-1], value)
    return found


def _plain_yaml(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file. The number of aliases is limited: nested ones grow exponentially."""
    try:
        text = read_text(path)
        events = yaml.parse(text, yaml.SafeLoader)
        references = sum(isinstance(event, yaml.AliasEvent) for event in events)
        stored = dict(yaml.safe_load(text)) if references <= MAX_REFERENCES else None
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ArtifactError(f"{path} is not model metadata: {error}", hint="copy it again") from error
    if stored is None:
        raise ArtifactError(
            f"{path} has {references} YAML aliases, the limit is {MAX_REFERENCES}",
            hint="do not run this model",
        )
    return stored


def _leaves(info: Any, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, entry in dict(info).items():
        value = getattr(entry, "value", entry)
        if isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), str(value)


def _executed(info: Any) -> str:
    """The dtype that a layer of the execution graph computes in.

    The kernel's name ends in it, e.g. ``brgconv_avx512_f32``. ``runtimePrecision`` may be that of the stored
    weights: for FP16 weights it is f16, also on a CPU whose kernels run in f32.
    """
    kernel = str(info["primitiveType"].astype(str)).rpartition("_")[2].lower()
    kind = kernel if kernel in DTYPES else str(info["runtimePrecision"].astype(str)).lower()
    return DTYPES.get(kind, kind)


def _spec(port: Any, nameless: str) -> TensorSpec:
    """An input or output; ``nameless`` is used for ports without a name, as in files of `yolo export`."""
    shape = tuple(None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
    dtype = port.get_element_type().to_dtype().name
    return TensorSpec(name=port.get_any_name() if port.get_names() else nameless, shape=shape, dtype=dtype)
