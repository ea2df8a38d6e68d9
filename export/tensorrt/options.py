"""What a person may ask of an engine beside its precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from devices.tensorrt_support import RTX_CAPABILITIES
from edgestill.errors import UsageError
from edgestill.target import EngineTarget

Hardware = Literal["this", "same-capability", "ampere-plus"]
#: What TensorRT-RTX builds for when it is not told; Turing (7.5) must be asked for by itself.
RTX_DEFAULT = ("8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to build.

    Attributes:
        workspace_mib: GPU memory that a layer may use beside its tensors.
        dla_core: The deep-learning accelerator to build for; None for the GPU.
        hardware: Which GPUs the engine runs on: the one that it is built on, those of its compute capability,
            or all from Ampere on, which costs speed. Not on a Jetson.
        version_compatible: Whether later versions of TensorRT may run it, which costs speed.
        capabilities: TensorRT-RTX: compute capabilities to build for; empty for ``RTX_DEFAULT``.
        memory_mib: Memory that the builder may take from the machine; None for most of what is free.
        batches: Images at once, where their number is free: least, best, most; None for the usual.
        sizes: Height and width, where they are free: least, best, most; None for the usual.
    """

    workspace_mib: int = 1024
    dla_core: int | None = None
    hardware: Hardware = "this"
    version_compatible: bool = False
    capabilities: tuple[str, ...] = ()
    memory_mib: int | None = None
    batches: tuple[int, ...] | None = None
    sizes: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("workspace_mib", "memory_mib"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', ' ')} is {value}", hint="give 1 or more, in MiB")
        if self.dla_core is not None and self.dla_core < 0:
            raise UsageError(f"there is no DLA core {self.dla_core}", hint="cores count from 0")
        _check_profile("--profile-batch", [(n,) for n in self.batches or ()], "1,4,8")
        _check_profile("--profile-size", self.sizes or (), "320x320,640x640,960x960")

    @property
    def portable(self) -> tuple[str, ...]:
        """What may differ between the machine that builds and the one that runs, see ``engine_home``."""
        hardware = () if self.hardware == "this" else ("hardware",)
        return (*hardware, "version") if self.version_compatible else hardware

    def check(self, target: EngineTarget, precision: str) -> None:
        """Raise UsageError where options do not go together."""
        if target == "tensorrt":
            if self.capabilities:
                raise UsageError(
                    "full TensorRT builds for the GPU that it runs on",
                    hint="leave --compute-capability out, or build --to tensorrt-rtx",
                )
            if self.dla_core is not None and precision == "fp32":
                raise UsageError("a DLA computes in FP16 and INT8 only", hint="--precision fp16")
            return
        if self.dla_core is not None or self.portable:
            raise UsageError(
                "TensorRT-RTX has no DLA, and its engines are portable by --compute-capability",
                hint="leave --dla, --hardware and --version-compatible out",
            )
        if odd := [c for c in self.capabilities if c not in RTX_CAPABILITIES]:
            raise UsageError(
                f"TensorRT-RTX builds for no compute capability {', '.join(odd)}",
                hint=f"it builds for {', '.join(RTX_CAPABILITIES)}",
            )
        if "7.5" in self.capabilities and len(self.capabilities) > 1:
            raise UsageError("an engine for 7.5 is for nothing else", hint="export twice, with two --name")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineOptions:
        """Rebuild options from ``to_json``'s data."""
        told = {**data, "capabilities": tuple(data["capabilities"])}
        told["batches"] = tuple(data["batches"]) if data["batches"] else None
        told["sizes"] = tuple((h, w) for h, w in data["sizes"]) if data["sizes"] else None
        return cls(**told)


def _check_profile(flag: str, values: Sequence[tuple[int, ...]], example: str) -> None:
    """Raise UsageError unless there are none, or least, best and most, rising in every side."""
    if not values:
        return
    rising = all(a <= b for low, high in pairwise(values) for a, b in zip(low, high, strict=True))
    if len(values) != 3 or not rising or min(values[0]) < 1:
        raise UsageError(f"{flag} is not least, best and most, in this order", hint=f"e.g. {flag} {example}")
