"""Device profiles: one TOML file for each device in ``devices/profiles``; its name is the key.

A profile holds published specifications with their sources. What is detected on a machine is a
``devices.detect.DeviceSnapshot``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from edgestill.errors import DeviceError, unknown_name
from edgestill.spec import PRECISIONS, Precision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "profiles"

Kind = Literal["cpu", "jetson", "gpu"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BACKENDS = ("ort", "ov", "trt")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """Published specifications of one device; None or empty if no source was found.

    Attributes:
        key: Name of the file without its suffix.
        title: Name of the device for display.
        kind: ``cpu``, ``jetson`` (GPU and memory in one module) or ``gpu`` (a graphics card).
        backends: Inference libraries that exist for the device: ``ort`` (ONNX Runtime), ``ov`` (OpenVINO),
            ``trt`` (TensorRT).
        precisions: Precisions that its fastest backend computes in.
        sources: Sources of the specifications.
        memory_mib: Memory for model and frames, MiB: of the card, or shared with the CPU on a Jetson.
        bandwidth_gb_s: Memory bandwidth, 10^9 bytes per second.
        compute_capability: CUDA compute capability, e.g. ``"8.7"``.
        sms: Number of streaming multiprocessors.
        gpu_mhz: Highest GPU clock of the default power table.
        tensor_cores: Number of tensor cores.
        dla_cores: Number of deep-learning accelerators (DLA).
        video_encoder: Whether a Jetson has an H.264 encoder in hardware.
        modules: Part numbers in the device tree, e.g. ``p3767-0005``.
        boards: Regular expressions for the board's name in the device tree, for a tree without part numbers.
        gpu_names: Regular expressions for the name in ``nvidia-smi``, without ``NVIDIA``.
        capability_aliases: Compute capabilities by which other releases of CUDA call the same GPU.
        power_modes: Names of the ``nvpmodel`` modes, in the order of their ids.
        software: Last or current system software, version by component.
        notes: Remarks for choosing and measuring the device.
    """

    key: str
    title: str
    kind: Kind
    backends: tuple[str, ...]
    precisions: tuple[Precision, ...]
    sources: tuple[str, ...]
    memory_mib: int | None = None
    bandwidth_gb_s: float | None = None
    compute_capability: str | None = None
    sms: int | None = None
    gpu_mhz: int | None = None
    tensor_cores: int | None = None
    dla_cores: int | None = None
    video_encoder: bool | None = None
    modules: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    gpu_names: tuple[str, ...] = ()
    capability_aliases: tuple[str, ...] = ()
    power_modes: tuple[str, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


_TYPES: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "kind": str,
    "memory_mib": int,
    "bandwidth_gb_s": (int, float),
    "compute_capability": str,
    "sms": int,
    "gpu_mhz": int,
    "tensor_cores": int,
    "dla_cores": int,
    "video_encoder": bool,
    "software": dict,
}  # the other fields are lists of strings
_CHOICES = {"kind": KINDS, "backends": BACKENDS, "precisions": PRECISIONS}


def profile_names() -> tuple[str, ...]:
    """The keys of all known devices."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_profile(key: str) -> DeviceProfile:
    """Read one device.

    Raises:
        UsageError: No device has that key.
        DeviceError: The file has missing, unknown or wrong fields; the message names them.
    """
    if key not in profile_names():
        raise unknown_name("device", key, profile_names())
    path = FOLDER / f"{key}.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path.name} is not TOML: {error}", hint="correct the file") from error
    _check(path.name, data)
    lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    return DeviceProfile(key=key, **{**data, **lists})


def load_profiles() -> tuple[DeviceProfile, ...]:
    """Read all devices, sorted by key."""
    return tuple(load_profile(key) for key in profile_names())


def _check(name: str, data: Mapping[str, Any]) -> None:
    known = {f.name: f for f in fields(DeviceProfile) if f.name != "key"}
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    odd = sorted((set(data) - set(known)) | (needed - set(data)))
    if odd:
        raise DeviceError(
            f"{name}: missing or unknown: {', '.join(odd)}", hint=f"a device has: {', '.join(known)}"
        )
    wrong = sorted(field for field, value in data.items() if not _fits(field, value))
    if wrong:
        raise DeviceError(
            f"{name}: wrong value in: {', '.join(f'{n} = {data[n]!r}' for n in wrong)}",
            hint="; ".join(f"{n}: {' '.join(c)}" for n, c in _CHOICES.items()),
        )
    if not data["sources"]:
        raise DeviceError(f"{name}: sources is empty", hint="add the sources of the specifications")


def _fits(field: str, value: Any) -> bool:
    if field in _TYPES:
        fits = isinstance(value, _TYPES[field]) and isinstance(value, bool) == (_TYPES[field] is bool)
    else:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if fits and field in _CHOICES:
        fits = set([value] if isinstance(value, str) else value) <= set(_CHOICES[field])
    return fits
