"""Stand-ins for TensorRT's Python package, one for each version, made from one table of what each has.

They are as strict as the bindings: a name that a version lacks raises AttributeError, also on assignment, and
an argument of a wrong type TypeError. A "plan" holds the graph, which a context runs with ONNX Runtime over
the memory that it was given; the layers' data types follow the rules of the version: by the graph's own types
where networks are strongly typed, by the flags before.

Source of the table: NVIDIA's bindings of 8.6 to 11.4, which ``tests/tensorrt_bindings`` compares with these
stand-ins. 8.2 and 8.5 are on no package index; what they lack is from the API's documentation.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

END = 99.0
#: Enumerations: members with the first version that has them and the first that has not, as 8.05 for 8.5.
ENUMS: dict[str, dict[str, tuple[float, float]]] = {
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH": (0, 11), "STRONGLY_TYPED": (10, END)},
    "BuilderFlag": {
        **dict.fromkeys(("FP16", "INT8"), (0, 11)),
        **dict.fromkeys(("TF32", "GPU_FALLBACK"), (0, END)),
        "VERSION_COMPATIBLE": (8.06, END),
    },
    "MemoryPoolType": {"WORKSPACE": (8.04, END)},
    "ProfilingVerbosity": dict.fromkeys(("LAYER_NAMES_ONLY", "DETAILED"), (0, END)),
    "DeviceType": dict.fromkeys(("GPU", "DLA"), (0, END)),
    "HardwareCompatibilityLevel": {
        "NONE": (8.06, END),
        "AMPERE_PLUS": (8.06, END),
        "SAME_COMPUTE_CAPABILITY": (10.09, END),
    },
    "LayerInformationFormat": {"JSON": (0, END)},
    "TensorIOMode": dict.fromkeys(("INPUT", "OUTPUT"), (8.05, END)),
    "DataType": {"FLOAT": (0, END)},
}
#: Other names: of the module, or ``Class.member``.
NAMES: dict[str, tuple[float, float]] = {
    "IProgressMonitor": (10, END),
    "IBuilderConfig.set_memory_pool_limit": (8.04, END),
    "IBuilderConfig.hardware_compatibility_level": (8.06, END),
    "IBuilderConfig.progress_monitor": (10, END),
    "Runtime.engine_host_code_allowed": (8.06, END),
    **dict.fromkeys(
        (
            "ICudaEngine.num_io_tensors",
            *(f"ICudaEngine.get_tensor_{what}" for what in ("name", "mode", "shape", "dtype")),
            "ICudaEngine.get_tensor_profile_shape",
            "IExecutionContext.set_input_shape",
            "IExecutionContext.get_tensor_shape",
            "IExecutionContext.set_tensor_address",
            "IExecutionContext.execute_async_v3",
        ),
        (8.05, END),
    ),
}
WORDS = {"float32": ("FP32", "Float"), "float16": ("FP16", "Half"), "int8": ("Int8", "Int8")}


class _Strict:
    """Takes no attribute that its class does not know."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, name, value)


def _expect(kind: Any, *values: Any) -> None:
    for value in values:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise TypeError(f"incompatible function arguments: {value!r} is no {kind}")


def _typed(name: str, kind: Any, default: Any) -> property:
    """A property that takes values of one type."""
    slot = f"_{name}"

    def read(self: Any) -> Any:
        return getattr(self, slot, default)

    def write(self: Any, value: Any) -> None:
        _expect(kind, value)
        object.__setattr__(self, slot, value)

    return property(read, write)


def number(version: str) -> float:
    """``"10.3.0"`` -> 10.03, ``"10.16.1"`` -> 10.16: comparable with the tables."""
    major, minor = version.split(".")[:2]
    return int(major) + int(minor) / 100


def make(version: str, *, gpu: bool = True, dla_cores: int = 0, obeys: bool = True, cuda: Any = None) -> Any:
    """A module that has what one version has.

    Args:
        version: From 8.2 on.
        gpu: Whether a GPU is there; the builder does not start without.
        dla_cores: Accelerators beside it; they do everything but ``Sigmoid``.
        obeys: Whether the builder builds what it was asked for; else all in FP32 and no word about it.
    """
    v = number(version)
    module: Any = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)  # as an imported one has, which find_spec gives
    module.__version__ = version
    for name, members in ENUMS.items():
        there = [m for m, (first, end) in members.items() if first <= v < end]
        if there:
            setattr(module, name, IntEnum(name, there, start=0))
    for kind in _classes(module, v, gpu=gpu, dla_cores=dla_cores, obeys=obeys, cuda=cuda):
        setattr(module, kind.__name__, kind)
    for path, (first, end) in NAMES.items():
        holder, _, name = path.rpartition(".")
        owner = getattr(module, holder) if holder else module
        if not first <= v < end and hasattr(owner, name):
            delattr(owner, name)
    return module


def _classes(trt: Any, v: float, *, gpu: bool, dla_cores: int, obeys: bool, cuda: Any) -> Iterator[type]:
    class ILogger:
        class Severity(IntEnum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class Logger(ILogger):
        def __init__(self, min_severity: Any = ILogger.WARNING) -> None:
            _expect(ILogger.Severity, min_severity)

        def log(self, severity: Any, msg: str) -> None: ...

    class IProgressMonitor:
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            raise NotImplementedError

        def step_complete(self, phase_name: str, step: int) -> bool:
            raise NotImplementedError

        def phase_finish(self, phase_name: str) -> None:
            raise NotImplementedError

    class ILayer(_Strict):
        name = ""

        def __init__(self, node: Any) -> None:
            self.name, self._kind = node.name, node.op_type

    class ITensor(_Strict):
        name = ""

        def __init__(self, value: Any) -> None:
            sides = value.type.tensor_type.shape.dim
            self.name = value.name
            self._shape = tuple(s.dim_value if s.HasField("dim_value") else -1 for s in sides)

    class IOptimizationProfile(_Strict):
        def __init__(self) -> None:
            self._shapes: dict[str, list[list[int]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            _expect(str, input)
            _expect(tuple, min, opt, max)
            _expect(int, *min, *opt, *max)
            if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
                raise ValueError("Shape provided for min is inconsistent with other shapes.")
            self._shapes[input] = [list(min), list(opt), list(max)]

    class INetworkDefinition(_Strict):
        def __init__(self, flags: int) -> None:
            self._flags, self._model = flags, None

        @property
        def num_layers(self) -> int:
            return len(self._model.graph.node)

        def get_layer(self, index: int) -> Any:
            return ILayer(self._model.graph.node[index])

        def get_input(self, index: int) -> Any:
            return ITensor(self._model.graph.input[index])

        def _has(self, flag: str) -> bool:
            wanted = getattr(trt.NetworkDefinitionCreationFlag, flag, None)
            return wanted is not None and bool(self._flags >> int(wanted) & 1)

    class OnnxParser(_Strict):
        def __init__(self, network: Any, logger: Any) -> None:
            _expect(INetworkDefinition, network)
            _expect(ILogger, logger)
            self._network, self._errors = network, []

        num_errors = property(lambda self: len(self._errors))

        def get_error(self, index: int) -> str:
            return str(self._errors[index])

        def parse(self, model: Any) -> bool:
            _expect(bytes, model)
            try:
                model = onnx.load_from_string(model)
            except Exception:
                self._errors.append("ModelImporter: failed to parse the protobuf")
                return False
            if v < 10 and not self._network._has("EXPLICIT_BATCH"):
                self._errors.append("this version of the parser only supports explicit batch")
            self._errors += list(_forbidden(model))
            self._network._model = model
            return not self._errors

    class ITimingCache(_Strict):
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> memoryview:
            return memoryview(self._data + b".")

    class IBuilderConfig(_Strict):
        profiling_verbosity = _typed("profiling_verbosity", trt.ProfilingVerbosity, trt.ProfilingVerbosity(0))
        default_device_type = _typed("default_device_type", trt.DeviceType, trt.DeviceType.GPU)
        DLA_core = _typed("DLA_core", int, -1)
        hardware_compatibility_level = _typed("level", getattr(trt, "HardwareCompatibilityLevel", ()), None)
        progress_monitor = _typed("progress_monitor", IProgressMonitor, None)

        def __init__(self) -> None:
            self._flags, self._pools, self._cache = {trt.BuilderFlag.TF32}, {}, None
            self._profiles: list[Any] = []

        def add_optimization_profile(self, profile: Any) -> int:
            _expect(IOptimizationProfile, profile)
            self._profiles.append(profile._shapes)
            return len(self._profiles) - 1

        def set_flag(self, flag: Any) -> None:
            _expect(trt.BuilderFlag, flag)
            self._flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            _expect(trt.BuilderFlag, flag)
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            _expect(trt.MemoryPoolType, pool)
            _expect(int, pool_size)
            self._pools[pool] = pool_size

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            _expect(bytes, serialized_timing_cache)
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            _expect(ITimingCache, cache)
            _expect(bool, ignore_mismatch)
            self._cache = cache
            return True

        def can_run_on_DLA(self, layer: Any) -> bool:
            _expect(ILayer, layer)
            return bool(layer._kind != "Sigmoid")

        def _has(self, flag: str) -> bool:
            wanted = getattr(trt.BuilderFlag, flag, None)
            return wanted is not None and wanted in self._flags

    class Builder(_Strict):
        num_DLA_cores = dla_cores

        def __init__(self, logger: Any) -> None:
            _expect(ILogger, logger)
            if not gpu:
                logger.log(ILogger.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")
            self._logger = logger

        def create_network(self, flags: int = 0) -> Any:
            _expect(int, flags)
            return INetworkDefinition(flags)

        def create_builder_config(self) -> Any:
            return IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> memoryview | None:
            _expect(INetworkDefinition, network)
            _expect(IBuilderConfig, config)
            strong = v >= 11 or network._has("STRONGLY_TYPED")
            if strong and (config._has("FP16") or config._has("INT8")):
                self._logger.log(ILogger.ERROR, "a strongly typed network takes no precision flags")
                return None
            if problem := _unprofiled(network, config, v):
                self._logger.log(ILogger.ERROR, problem)
                return None
            if monitor := getattr(config, "progress_monitor", None):
                monitor.phase_start("Building", None, 2)
                monitor.phase_start("Timing", "Building", 1)
                assert monitor.step_complete("Timing", 0)
                monitor.phase_finish("Timing")
                monitor.phase_finish("Building")
            fp16 = strong or config._has("FP16")
            rules = (strong, fp16, strong or config._has("INT8")) if obeys else (False, False, False)
            layers = list(_layers(network._model, v, rules))
            named = config.profiling_verbosity != trt.ProfilingVerbosity.DETAILED
            plan = {
                "version": f"{v:.2f}",
                "portable": config._has("VERSION_COMPATIBLE"),
                "layers": [layer["Name"] for layer in layers] if named else layers,
                "onnx": network._model.SerializeToString().hex(),
                "profiles": config._profiles,
                "device": cuda.current_device if cuda else 0,
                "asked": {
                    "flags": sorted(flag.name for flag in config._flags),
                    "network": network._flags,
                    "workspace": list(config._pools.values()),
                    "level": getattr(getattr(config, "hardware_compatibility_level", None), "name", None),
                    "dla": config.DLA_core,
                },
            }
            return memoryview(json.dumps(plan).encode())  # the bindings give a buffer, IHostMemory

    class EngineInspector(_Strict):
        def __init__(self, plan: Any) -> None:
            self._plan = plan

        def get_engine_information(self, format: Any) -> str:
            _expect(trt.LayerInformationFormat, format)
            return json.dumps({"Layers": self._plan["layers"], "Bindings": []})

    class IExecutionContext(_Strict):
        def __init__(self, engine: Any) -> None:
            self._engine, self._addresses = engine, {}
            self._shapes = {n: engine.get_tensor_shape(n) for n in engine._inputs}

        def set_input_shape(self, name: str, shape: Any) -> bool:
            _expect(str, name)
            _expect(tuple, shape)
            least, _, most = self._engine.get_tensor_profile_shape(name, 0)
            if not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
                return False
            self._shapes[name] = shape
            return True

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            if name in self._shapes:
                return tuple(self._shapes[name])
            if any(-1 in shape for shape in self._shapes.values()):
                return self._engine.get_tensor_shape(name)
            return self._engine._shape_of(name, self._shapes)

        def set_tensor_address(self, name: str, memory: int) -> bool:
            _expect(str, name)
            _expect(int, memory)
            self._addresses[name] = memory
            return name in self._engine._tensors

        def execute_async_v3(self, stream_handle: int) -> bool:
            _expect(int, stream_handle)
            missing = set(self._engine._tensors) - set(self._addresses)
            if missing or any(-1 in shape for shape in self._shapes.values()):
                return False
            addresses, shapes = dict(self._addresses), dict(self._shapes)
            if cuda is None:
                self._engine._run(addresses, shapes)
                return True
            # An engine belongs to the device on which it was loaded.
            if cuda.current_device != self._engine._device:
                return False
            return cuda.enqueue(stream_handle, lambda: self._engine._run(addresses, shapes)) == 0

    class ICudaEngine(_Strict):
        num_io_tensors = property(lambda self: len(self._tensors))

        def __init__(self, plan: Any) -> None:
            import onnxruntime

            self._plan = plan
            self._device = cuda.current_device if cuda else 0
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self._session = onnxruntime.InferenceSession(
                bytes.fromhex(plan["onnx"]), options, providers=["CPUExecutionProvider"]
            )
            self._inputs = [i.name for i in self._session.get_inputs()]
            self._tensors = {t.name: t for t in (*self._session.get_inputs(), *self._session.get_outputs())}

        def get_tensor_name(self, index: int) -> str:
            return list(self._tensors)[index]

        def get_tensor_mode(self, name: str) -> Any:
            return trt.TensorIOMode.INPUT if name in self._inputs else trt.TensorIOMode.OUTPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(side if isinstance(side, int) else -1 for side in self._tensors[name].shape)

        def get_tensor_dtype(self, name: str) -> Any:
            assert self._tensors[name].type == "tensor(float)"
            return trt.DataType.FLOAT

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            _expect(int, profile_index)
            if name not in self._inputs:
                raise ValueError(f"{name} is no input")
            profiles = self._plan["profiles"]
            told = profiles[profile_index][name] if profiles else [self.get_tensor_shape(name)] * 3
            return [tuple(shape) for shape in told]

        def create_execution_context(self) -> Any:
            return IExecutionContext(self)

        def create_engine_inspector(self) -> Any:
            return EngineInspector(self._plan)

        def _run(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
            feed = {n: _array(addresses[n], shapes[n]).copy() for n in self._inputs}
            names = [n for n in self._tensors if n not in self._inputs]
            for name, value in zip(names, self._session.run(names, feed), strict=True):
                _array(addresses[name], value.shape)[...] = value

        def _shape_of(self, name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
            """Of an output, for shapes of the inputs: it is tried out."""
            feed = {n: np.zeros(shapes[n], np.float32) for n in self._inputs}
            return tuple(self._session.run([name], feed)[0].shape)

    class Runtime(_Strict):
        engine_host_code_allowed = _typed("engine_host_code_allowed", bool, default=False)

        def __init__(self, logger: Any) -> None:
            _expect(ILogger, logger)

        def deserialize_cuda_engine(self, serialized_engine: Any) -> Any:
            _expect((bytes, memoryview), serialized_engine)
            try:
                plan = json.loads(bytes(serialized_engine))
            except ValueError:
                return None
            if plan["portable"]:
                return ICudaEngine(plan) if getattr(self, "engine_host_code_allowed", False) else None
            return ICudaEngine(plan) if plan["version"] == f"{v:.2f}" else None

    yield from (ILogger, Logger, IProgressMonitor, ILayer)
    yield from (
        ITensor,
        IOptimizationProfile,
        INetworkDefinition,
        OnnxParser,
        ITimingCache,
        IBuilderConfig,
        Builder,
        EngineInspector,
    )
    yield from (IExecutionContext, ICudaEngine, Runtime)


def _array(address: int, shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape))
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32).reshape(shape)


def _unprofiled(network: Any, config: Any, v: float) -> str:
    """What is wrong with the profiles of a network, in the builder's words; empty if nothing is."""
    for i in range(len(network._model.graph.input)):
        tensor = network.get_input(i)
        if -1 not in tensor._shape:
            continue
        if not config._profiles:
            return "Network has dynamic or shape inputs, but no optimization profile has been defined."
        for shapes in config._profiles:
            if tensor.name not in shapes:
                return f"{tensor.name}: optimization profile is missing values for the shape"
            for shape in shapes[tensor.name]:
                if not all(a in {-1, b} for a, b in zip(tensor._shape, shape, strict=True)):
                    return f"{tensor.name}: dimension of the profile does not match the network"
    stored = {t.name for t in network._model.graph.initializer}
    if v < 8.06 and any(n.op_type == "TopK" and n.input[1] not in stored for n in network._model.graph.node):
        return "TopK: K must be an initializer"
    return ""


def _forbidden(model: Any) -> Iterator[str]:
    """What the parser rejects in quantised graphs."""
    stored = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        zero = stored.get(node.input[2]) if len(node.input) > 2 else None
        if zero is None:
            continue
        if zero.data_type != TensorProto.INT8:
            yield f"{node.name}: only INT8 is supported here"
        elif numpy_helper.to_array(zero).any():
            yield f"{node.name}: Non-zero zero point is not supported"


def _layers(model: Any, v: float, rules: tuple[bool, bool, bool]) -> Iterator[dict[str, Any]]:
    """The inspector's entries for the convolutions, and one reformat in front of them."""
    graph = model.graph
    producer = {n.output[0]: n for n in graph.node}
    weights = {t.name: t.data_type for t in graph.initializer}
    yield _entry("Reformatting CopyNode for images", "Reformat", "float32", v)
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        bytes_in = [getattr(producer.get(i), "op_type", "") == "DequantizeLinear" for i in node.input[:2]]
        is_half = weights.get(node.input[1]) == TensorProto.FLOAT16
        yield _entry(node.name, "CaskConvolution", _dtype(all(bytes_in), is_half, rules), v)


def _dtype(in_bytes: bool, is_half: bool, rules: tuple[bool, bool, bool]) -> str:
    strong, fp16, int8 = rules
    if in_bytes and int8:
        return "int8"
    return "float16" if fp16 and (is_half or not strong) else "float32"


def _entry(name: str, kind: str, dtype: str, v: float) -> dict[str, Any]:
    """One layer in the words of its time."""
    long, short = WORDS[dtype]
    tensor: dict[str, Any] = {"Name": f"{name}.in", "Dimensions": [1, 3, 8, 8]}
    if v >= 11:
        tensor |= {"Datatype": short, "Format": "Row major linear format"}
    else:
        tensor["Format/Datatype"] = short if v >= 10.03 else f"Row major linear {long} format"
    entry = {"Name": name, "LayerType": kind, "Inputs": [tensor], "Outputs": [tensor]}
    if kind == "CaskConvolution":
        entry |= {"ParameterType": "Convolution", "Weights": {"Type": short, "Count": 432}}
        entry["Metadata"] = f"[ONNX Layer: {name}]"
    return entry
