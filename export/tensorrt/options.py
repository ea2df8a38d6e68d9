"""Build options of an engine beside its precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from devices.tensorrt_support import RTX_CAPABILITIES
from edgestill.errors import UsageError
from edgestill.target import EngineTarget

NO_LIMIT = 0  # memory_mib that sets no limit
Hardware = Literal["this", "same-capability", "ampere-plus"]
#: Default compute capabilities of TensorRT-RTX; Turing (7.5) needs an engine of its own.
RTX_DEFAULT = ("8.0", "8.6", "8.9", "12.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to build.

    Attributes:
        workspace_mib: GPU memory for the scratch space of a layer.
        dla_core: The deep-learning accelerator to build for; None for the GPU.
        hardware: GPUs that can run the engine: the one that builds it, those of its compute capability, or
            all from Ampere on, which is slower. Not available on a Jetson.
        version_compatible: Whether later versions of TensorRT can run it, which is slower.
        capabilities: TensorRT-RTX: compute capabilities to build for; empty for ``RTX_DEFAULT``.
        device: Number of the GPU to build on, of those that CUDA shows.
        memory_mib: Memory limit of the builder; None for ``child.SHARE`` of the free memory, ``NO_LIMIT`` for
            none.
        batches: Smallest, optimal and largest batch of a free one; None for ``profile.BATCHES``.
        sizes: Smallest, optimal and largest height and width of free ones; None for shares of the file's own.
    """

    workspace_mib: int = 1024
    dla_core: int | None = None
    hardware: Hardware = "this"
    version_compatible: bool = False
    capabilities: tuple[str, ...] = ()
    device: int = 0
    memory_mib: int | None = None
    batches: tuple[int, ...] | None = None
    sizes: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("workspace_mib", 1), ("memory_mib", NO_LIMIT)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name.replace('_', ' ')} is {value}", hint="give 1 or more MiB")
        if self.dla_core is not None and self.dla_core < 0:
            raise UsageError(f"there is no DLA core {self.dla_core}", hint="cores are numbered from 0")
        _check_profile("--profile-batch", [(n,) for n in self.batches or ()], "1,4,8")
        _check_profile("--profile-size", self.sizes or (), "320x320,640x640,960x960")

    @property
    def portable(self) -> tuple[str, ...]:
        """What may differ between the machine that builds and the one that runs, see ``engine_identity``."""
        hardware = () if self.hardware == "this" else ("hardware",)
        return (*hardware, "version") if self.version_compatible else hardware

    def check(self, target: EngineTarget, precision: str) -> None:
        """Raise UsageError if options contradict each other, the library or the precision."""
        if target == "tensorrt":
            if self.capabilities:
                raise UsageError(
                    "full TensorRT builds for the GPU of this machine",
                    hint="leave --compute-capability out, or build --to tensorrt-rtx",
                )
            if self.dla_core is not None and precision != "fp16":
                raise UsageError(
                    "a DLA runs FP16 here: it has no FP32, and TensorRT runs no Q/DQ pairs on it, which is "
                    "how edgestill writes INT8",
                    hint="--precision fp16, or leave --dla out",
                )
            return
        if self.dla_core is not None or self.portable:
            raise UsageError(
                "TensorRT-RTX has no DLA, and its engines are portable by --compute-capability",
                hint="leave --dla, --hardware and --version-compatible out",
            )
        if self.device:
            raise UsageError(
                "TensorRT-RTX builds without a GPU", hint="leave --device out, and give it to run and bench"
            )
        if unknown := [c for c in self.capabilities if c not in RTX_CAPABILITIES]:
            raise UsageError(
                f"TensorRT-RTX does not build for compute capability {', '.join(unknown)}",
                hint=f"it builds for {', '.join(RTX_CAPABILITIES)}",
            )
        if "7.5" in self.capabilities and len(self.capabilities) > 1:
            raise UsageError(
                "an engine for 7.5 cannot be for others too", hint="export twice, with two --name"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EngineOptions:
        """Rebuild options from ``to_json``'s data."""
        options = {**data, "capabilities": tuple(data["capabilities"])}
        options["batches"] = tuple(data["batches"]) if data["batches"] else None
        options["sizes"] = tuple((h, w) for h, w in data["sizes"]) if data["sizes"] else None
        return cls(**options)


def _check_profile(flag: str, values: Sequence[tuple[int, ...]], example: str) -> None:
    """Raise UsageError unless there are no values, or three that do not decrease in any dimension."""
    if not values:
        return
    rising = all(a <= b for low, high in pairwise(values) for a, b in zip(low, high, strict=True))
    if len(values) != 3 or not rising or min(values[0]) < 1:
        raise UsageError(
            f"{flag} is not the smallest, optimal and largest, in this order", hint=f"e.g. {flag} {example}"
        )
