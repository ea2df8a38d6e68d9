"""The fields of a device profile, and what follows from them: peaks, power modes, what pays off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from devices.jetpack import release
from devices.tensorrt_support import LAST
from edgestill.errors import UsageError, unknown_name
from edgestill.spec import Precision

Kind = Literal["cpu", "jetson", "gpu"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BACKENDS = ("ort", "ov", "trt")

#: Arithmetic units. ``fp32``: CUDA cores of a GPU, SIMD units of a CPU; ``tf32``, ``fp16_tensor``,
#: ``int8_tensor``: tensor cores, with dense (not 2:4 sparse) operands; ``fp16_cuda``: CUDA cores, two halves
#: in a register; ``int8_dp4a``: the DP4A instruction of CUDA cores; ``fp16_simd``, ``int8_simd``: vector or
#: matrix instructions of a CPU.
Unit = Literal[
    "fp32", "tf32", "fp16_cuda", "fp16_tensor", "int8_dp4a", "int8_tensor", "fp16_simd", "int8_simd"
]
UNITS: tuple[Unit, ...] = get_args(Unit)
#: Units that compute in a precision, the fastest first. TF32 is a choice of the library for FP32 models.
UNITS_OF: Mapping[Precision, tuple[Unit, ...]] = {
    "fp32": ("fp32",),
    "fp16": ("fp16_tensor", "fp16_cuda", "fp16_simd"),
    "int8": ("int8_tensor", "int8_dp4a", "int8_simd"),
}
#: A precision pays off if its peak is at least this many times the one of the wider precision.
PAYS_OFF = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMode:
    """A power mode of a Jetson, see ``nvpmodel``.

    Attributes:
        name: Its name in ``/etc/nvpmodel.conf``, without the ``MODE_`` that some releases put before it.
        id: Its number there; it differs between boards and releases. None if not known.
        gpu_mhz: Highest GPU clock, MHz; None if not known.
        bandwidth_gb_s: Memory bandwidth, 10^9 bytes per second; None if not known to differ.
        default: Whether a new system is in this mode.
    """

    name: str
    id: int | None = None
    gpu_mhz: float | None = None
    bandwidth_gb_s: float | None = None
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """Published specifications of one device; None or empty if no source was found.

    Attributes:
        key: Name of the device on the command line.
        family: Family of devices, for display.
        title: Name of the device for display.
        kind: ``cpu``, ``jetson`` (GPU and memory in one module) or ``gpu`` (a graphics card).
        backends: Inference libraries that exist for the device: ``ort`` (ONNX Runtime), ``ov`` (OpenVINO),
            ``trt`` (TensorRT).
        precisions: Precisions that its fastest backend computes in.
        sources: By figure, the source; of nested figures as ``peaks.fp32``.
        unverified: Figures of ``sources`` from one weak source, to be marked where they are shown.
        memory_mib: Memory for model and frames, MiB: of the card, or shared with the CPU on a Jetson. Of a
            card that is sold with several sizes, the smallest.
        bandwidth_gb_s: Memory bandwidth, 10^9 bytes per second.
        compute_capability: CUDA compute capability, e.g. ``"8.7"``.
        sms: Number of streaming multiprocessors of the GPU.
        gpu_mhz: GPU clock of the peaks, MHz: of a Jetson the highest of its power modes, of a card the boost
            clock.
        cpu_cores: Number of cores, of a board whose CPU runs the model.
        cpu_mhz: CPU clock of the peaks, MHz.
        ops_per_clock: By unit, dense operations (a multiply-add is two) of one multiprocessor or CPU core per
            clock.
        published_peaks: By unit, peaks that were published for another clock than ``gpu_mhz``, TFLOPS or
            TOPS.
        tensor_cores: Number of tensor cores.
        dla_cores: Number of deep-learning accelerators (DLA).
        video_encoder: Whether a Jetson has an H.264 encoder in hardware.
        modules: Part numbers in the device tree, e.g. ``p3767-0005``.
        super_mode: Whether it is the module with the Super device tree; None if the module has none.
        boards: Regular expressions for the board's name in the device tree, for a tree without part numbers.
        gpu_names: Regular expressions for the name in ``nvidia-smi``, without ``NVIDIA``.
        capability_aliases: Compute capabilities by which other releases of CUDA call the same GPU.
        cpu_flags: Instruction sets that a CPU of this class has, as in ``/proc/cpuinfo``.
        power_modes: The ``nvpmodel`` modes.
        jetpacks: JetPack releases that support the module, of each series the last, see ``devices.jetpack``.
        cuda: Last CUDA that supports the GPU, of GPUs that newer ones dropped.
        notes: Remarks for choosing and measuring the device.
    """

    key: str
    family: str
    title: str
    kind: Kind
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    sources: Mapping[str, str]
    unverified: tuple[str, ...] = ()
    memory_mib: int | None = None
    bandwidth_gb_s: float | None = None
    compute_capability: str | None = None
    sms: int | None = None
    gpu_mhz: float | None = None
    cpu_cores: int | None = None
    cpu_mhz: float | None = None
    ops_per_clock: Mapping[Unit, float] = field(default_factory=dict)
    published_peaks: Mapping[Unit, float] = field(default_factory=dict)
    tensor_cores: int | None = None
    dla_cores: int | None = None
    video_encoder: bool | None = None
    modules: tuple[str, ...] = ()
    super_mode: bool | None = None
    boards: tuple[str, ...] = ()
    gpu_names: tuple[str, ...] = ()
    capability_aliases: tuple[str, ...] = ()
    cpu_flags: tuple[str, ...] = ()
    power_modes: tuple[PowerMode, ...] = ()
    jetpacks: tuple[str, ...] = ()
    cuda: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def software(self) -> dict[str, str]:
        """Newest system software that supports the device, version by component; empty if it has no end."""
        if self.jetpacks:
            last = release(self.jetpacks[-1])
            return {"jetpack": last.version, "l4t": f"R{last.l4t}", "cuda": last.cuda} | {
                "tensorrt": last.tensorrt,
                "python": last.python,
            }
        last_tensorrt = LAST.get(self.compute_capability or "")
        versions = {"cuda": self.cuda, "tensorrt": last_tensorrt and ".".join(map(str, last_tensorrt))}
        return {name: version for name, version in versions.items() if version}

    @property
    def peaks(self) -> dict[Unit, float]:
        """Peak throughput by unit, dense, TFLOPS (TOPS for INT8), at ``gpu_mhz`` or ``cpu_mhz``.

        Published peaks where they are for another clock, else multiprocessors or cores x operations per clock
        x clock. Empty where one of these is not known, as for a class of CPUs.
        """
        lanes, mhz = (self.cpu_cores, self.cpu_mhz) if self.kind == "cpu" else (self.sms, self.gpu_mhz)
        known = (
            {unit: lanes * ops * mhz / 1e6 for unit, ops in self.ops_per_clock.items()}
            if lanes and mhz
            else {}
        )
        known |= self.published_peaks
        return {unit: known[unit] for unit in UNITS if unit in known}

    @property
    def unverified_peaks(self) -> set[Unit]:
        """The units whose peak is an unverified figure, or is computed from one."""
        doubtful = set(self.unverified)
        lanes = {"sms", "gpu_mhz", "cpu_cores", "cpu_mhz"} & doubtful
        return {
            unit
            for unit in self.peaks
            if (
                f"published_peaks.{unit}" in doubtful
                if unit in self.published_peaks
                else lanes or f"ops_per_clock.{unit}" in doubtful
            )
        }

    def peak(self, precision: Precision) -> tuple[Unit, float] | None:
        """The fastest unit for a precision and its peak, see ``peaks``; None if none is known."""
        peaks = self.peaks
        return next(((unit, peaks[unit]) for unit in UNITS_OF[precision] if unit in peaks), None)

    def pays_off(self) -> tuple[Precision, ...]:
        """The precisions that are faster than each wider one by the units of the device."""
        rates = self.peaks or dict(self.ops_per_clock)
        found: list[Precision] = ["fp32"]
        best = rates.get("fp32", 0.0)
        for precision in ("fp16", "int8"):
            rate = max((rates.get(unit, 0.0) for unit in UNITS_OF[precision]), default=0.0)
            if precision in self.precisions and rate and rate >= PAYS_OFF * best:
                found.append(precision)
                best = rate
        return tuple(found)

    def in_mode(self, name: str) -> DeviceProfile:
        """The device in a power mode: its clock and bandwidth, and so its peaks, are those of the mode.

        Raises:
            UsageError: There is no such mode, or its clock is not known.
        """
        bare = name.removeprefix("MODE_")
        mode = next((mode for mode in self.power_modes if mode.name == bare), None)
        if mode is None:
            raise unknown_name(f"power mode of {self.key}", name, [mode.name for mode in self.power_modes])
        if mode.gpu_mhz is None:
            raise UsageError(
                f"the GPU clock of {self.key} in power mode {name} is not known",
                hint=f"known: {', '.join(m.name for m in self.power_modes if m.gpu_mhz) or 'none'}",
            )
        return replace(self, gpu_mhz=mode.gpu_mhz, bandwidth_gb_s=mode.bandwidth_gb_s or self.bandwidth_gb_s)
