"""Build engines with TensorRT 8.5 to 11 and TensorRT-RTX.

The features of a version are detected by attribute names, never by its number. From 10.0 on networks are
strongly typed: the ONNX defines the precision of each layer. Before, builder flags allow a precision.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration-guide.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgestill.errors import ArtifactError, DeviceError, UsageError
from edgestill.spec import Precision
from export.tensorrt.options import RTX_DEFAULT, EngineOptions
from export.tensorrt.profile import Profile
from runtime.tensorrt.engine_layers import LISTING
from runtime.tensorrt.library import Library

KEPT_MESSAGES = 40
#: Reports progress: a phase of the builder, its parent phase or None, its steps, and the steps done.
ReportProgress = Callable[[str, str | None, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The results of a build.

    Attributes:
        plan: The serialised engine.
        inspected: The engine inspector's JSON; None if no device here can load the engine.
        listed: The builder's log of layers; None if it printed none.
        fallbacks: Layers that run on the GPU instead of the DLA.
        timing_cache: Measured tactics, for the next build; empty if the library has no such cache.
        strongly_typed: Whether the ONNX defines the precisions, or flags allow them.
    """

    plan: bytes
    inspected: str | None
    listed: str | None
    fallbacks: tuple[str, ...]
    timing_cache: bytes
    strongly_typed: bool


def build(
    library: Library,
    onnx: bytes,
    precision: Precision,
    options: EngineOptions,
    *,
    profile: Profile | None = None,
    timing_cache: bytes = b"",
    report: ReportProgress = lambda *_: None,
) -> Built:
    """Build an engine.

    Args:
        library: The TensorRT library.
        onnx: The graph; with FP16 tensors for FP16, with Q/DQ pairs for INT8.
        precision: Precision of the graph.
        options: How to build.
        profile: Shapes of the input, required for a graph with free dimensions.
        timing_cache: The timing cache of an earlier build.
        report: Receives progress, from 10.0 on.

    Raises:
        ArtifactError: The graph cannot be parsed.
        DeviceError: The builder failed, or the machine does not have what the options ask for.
    """
    trt = library.module
    log = _logger(trt)
    create = partial(library.create, said=log.tail)
    builder = create("the builder", trt.Builder, log)
    strong = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    network = create("the network", builder.create_network, _network_flags(trt))
    parser = create("the ONNX parser", trt.OnnxParser, network, log)
    if not parser.parse(onnx):
        raise ArtifactError(
            f"TensorRT {library.version} cannot read the graph: {_parser_errors(parser)}",
            hint="edgestill inspect FILE.onnx --lint names what TensorRT does not accept",
        )
    config = create("the builder's configuration", builder.create_builder_config)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector has names only
    _precision(trt, config, precision, strong=strong)
    if profile is not None:
        _profile(create("the profile", builder.create_optimization_profile), network, config, profile)
    _portability(library, config, options)
    fallbacks = _dla(trt, builder, network, config, options.dla_core)
    _watch(trt, config, report)
    cache = None if library.is_rtx else _timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"TensorRT {library.version} could not build the engine: {log.tail()}",
            hint="if memory ran out: a smaller --imgsz needs less, --workspace-mib is the GPU's and "
            "--build-memory-mib the machine's",
        )
    return Built(
        plan=bytes(plan),
        inspected=_inspect(library, log, plan, options),
        listed=log.listing,
        fallbacks=fallbacks,
        timing_cache=_serialized(cache),
        strongly_typed=strong,
    )


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED"):  # from 10.0 on; 11 has nothing else and still accepts it
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def _parser_errors(parser: Any) -> str:
    return "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)) or "no reason given"


def _precision(trt: Any, config: Any, precision: Precision, *, strong: bool) -> None:
    """Set precision flags; a strongly typed network accepts the one for TF32 only."""
    flags = trt.BuilderFlag
    if precision == "fp32":
        config.clear_flag(flags.TF32)  # on by default, with 10 bits of mantissa
    if strong:
        return
    if precision in {"fp16", "int8"}:
        config.set_flag(flags.FP16)
    if precision == "int8":
        config.set_flag(flags.INT8)  # needs no calibrator with Q/DQ pairs in the graph


def _timing_cache(config: Any, earlier: bytes) -> Any:
    """The cache of an earlier build, or an empty one if it is of another machine; None if there is none."""
    for data in (earlier, b"") if earlier else (b"",):
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
    return None


def _serialized(cache: Any) -> bytes:
    data = None if cache is None else cache.serialize()
    return b"" if data is None else bytes(data)


def _profile(made: Any, network: Any, config: Any, profile: Profile) -> None:
    """Add the optimisation profile; the calls are the same from 8.5 to 11."""
    image = network.get_input(0)
    if image is None:
        raise ArtifactError("the graph has no input", hint="export the model again")
    try:
        made.set_shape(image.name, profile.least, profile.best, profile.most)
        accepted = config.add_optimization_profile(made) >= 0
    except ValueError:
        accepted = False
    if not accepted:
        raise DeviceError(
            f"TensorRT does not accept the profile {profile.to_json()}",
            hint="--profile-size and --profile-batch",
        )


def _portability(library: Library, config: Any, options: EngineOptions) -> None:
    trt = library.module
    if library.is_rtx:
        chosen = options.capabilities or RTX_DEFAULT
        config.num_compute_capabilities = len(chosen)
        for i, capability in enumerate(chosen):
            level = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
            # It returns whether the library accepts the capability; early releases return nothing.
            if level is None or config.set_compute_capability(level, i) is False:
                raise _lacks(library, f"compute capability {capability}")
        return
    if options.hardware != "this":
        name = "AMPERE_PLUS" if options.hardware == "ampere-plus" else "SAME_COMPUTE_CAPABILITY"
        level = getattr(getattr(trt, "HardwareCompatibilityLevel", None), name, None)
        if level is None:
            raise _lacks(library, f"--hardware {options.hardware}")
        config.hardware_compatibility_level = level
    if options.version_compatible:
        flag = getattr(trt.BuilderFlag, "VERSION_COMPATIBLE", None)
        if flag is None:
            raise _lacks(library, "--version-compatible")
        config.set_flag(flag)


def _lacks(library: Library, what: str) -> UsageError:
    return UsageError(
        f"TensorRT {library.version} has no {what}", hint="leave it out, or use a later version"
    )


def _dla(trt: Any, builder: Any, network: Any, config: Any, core: int | None) -> tuple[str, ...]:
    """Assign layers to a DLA where possible; returns the names of those that stay on the GPU."""
    if core is None:
        return ()
    if core >= builder.num_DLA_cores:
        raise DeviceError(
            f"this machine has {builder.num_DLA_cores} DLA cores, no core {core}",
            hint="leave --dla out; edgestill devices lists which Jetsons have one",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    return tuple(layer.name for layer in layers if not config.can_run_on_DLA(layer))


def _watch(trt: Any, config: Any, report: ReportProgress) -> None:
    """Report progress; before 10.0 there is no progress monitor."""
    if not hasattr(trt, "IProgressMonitor"):
        return

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases[phase_name] = (parent_phase, num_steps)
            report(phase_name, parent_phase, num_steps, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            report(phase_name, *self.phases[phase_name], step + 1)
            return True  # continue

        def phase_finish(self, phase_name: str) -> None:
            parent, steps = self.phases[phase_name]
            report(phase_name, parent, steps, steps)

    config.progress_monitor = Monitor()


def _inspect(library: Library, log: Any, plan: Any, options: EngineOptions) -> str | None:
    """The inspector's JSON of the loaded engine; None if no device here can load the engine."""
    trt = library.module
    try:
        runtime = library.create("the runtime", trt.Runtime, log, said=log.tail)
    except DeviceError:  # as with TensorRT-RTX, which builds without a GPU
        return None
    if options.version_compatible:
        runtime.engine_host_code_allowed = True  # this process has just built it
    engine = runtime.deserialize_cuda_engine(plan)
    inspector = None if engine is None else engine.create_engine_inspector()
    if inspector is None:
        return None
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return None if text is None else str(text)


def _logger(trt: Any) -> Any:
    """A logger that stores messages instead of printing them."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.messages: list[str] = []
            self.listing: str | None = None

        def log(self, severity: Any, msg: str) -> None:
            if msg.startswith(LISTING):
                self.listing = msg
            elif severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.messages = [*self.messages[1 - KEPT_MESSAGES :], msg]

        def tail(self) -> str:
            return "; ".join(self.messages[-3:])

    return Log()
