"""Support of GPUs, DLAs and Jetson releases by versions of TensorRT, and known problems, as data.

Source: NVIDIA TensorRT release notes 8.5, 10.0, 10.5, 10.8, 11.0 and 11.4, and support matrices; TensorRT-RTX
1.7's own list of targets; changelog of the ONNX parser, github.com/onnx/onnx-tensorrt docs/. Known faults:
github.com/NVIDIA/TensorRT 4854, ultralytics' list of refused versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Last TensorRT with kernels for a compute capability; those not listed are still supported.
LAST: Mapping[str, tuple[int, int]] = {
    "5.0": (8, 6),
    "5.2": (8, 6),
    "5.3": (8, 2),  # Jetson Nano, TX1: JetPack 4.6 is their last
    "6.0": (8, 6),
    "6.1": (8, 6),
    "6.2": (8, 2),  # Jetson TX2: JetPack 4.6 is its last
    "7.0": (10, 4),  # V100
    "7.2": (8, 5),  # Xavier: JetPack 5 is its last
}
#: First TensorRT with kernels for a compute capability; those not listed are older than the versions here.
FIRST_WITH: Mapping[str, tuple[int, int]] = {
    "8.7": (8, 4),  # Orin: JetPack 5.0
    "11.0": (10, 13),  # Thor: JetPack 7.0
    "12.0": (10, 8),  # GeForce RTX 50
}
#: Compute capabilities that TensorRT-RTX builds for.
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
#: First version with named tensors; older ones are used by ``trtexec``.
FIRST = (8, 5)
FIRST_PYTHON = (3, 10)
#: Last version with DLAs, and the first with them again, but only on an AGX Orin.
LAST_DLA, DLA_AGAIN = (10, 7), (11, 4, 1)
DLA_AGAIN_ON = "jetson-agx-orin"  # beginning of the keys of its profiles
NO_INT8 = ("5.0", "5.2", "5.3", "6.0", "6.2")
#: INT8 on CUDA cores only (DP4A), FP16 on tensor cores. With 6.1, INT8 by DP4A is the fastest.
FP16_BEATS_INT8 = ("7.0",)

#: Versions with known faults, and a description.
FAULTY: Mapping[str, str] = {
    "10.2.0": "is on ultralytics' list of versions that must not be used",
    "11.2.1": "miscompiles convolution, activation and residual where a concat follows, without an error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OldJetPack:
    """A JetPack whose TensorRT edgestill cannot import, because it needs Python 3.10 or later.

    Attributes:
        name: Its name.
        l4t: First number of its releases of Jetson Linux.
        tensorrt: Its TensorRT.
        python: The Python that its TensorRT is for.
        export_flags: Flags of ``edgestill export`` for a file that its TensorRT parses.
        trtexec_flags: Flags of its ``trtexec`` for an engine in FP16.
    """

    name: str
    l4t: str
    tensorrt: tuple[int, int]
    python: str
    export_flags: str
    trtexec_flags: str

    @property
    def commands(self) -> str:
        """The two commands that build an engine, which edgestill cannot run."""
        return (
            f"edgestill export CKPT --to onnx {self.export_flags}, then on the device "
            f"/usr/src/tensorrt/bin/trtexec --onnx=FILE.onnx {self.trtexec_flags} --saveEngine=FILE.engine"
        )


JETPACK_4 = OldJetPack(
    name="JetPack 4",
    l4t="32",
    tensorrt=(8, 2),
    python="3.6",
    export_flags="--precision fp32 --opset 13",  # the ONNX parser of 8.2 reads no later one, that of 8.5 17
    trtexec_flags="--fp16 --workspace=1024",
)
JETPACK_5 = OldJetPack(
    name="JetPack 5",
    l4t="35",
    tensorrt=(8, 5),
    python="3.8",
    export_flags="--precision fp32",
    trtexec_flags="--fp16 --memPoolSize=workspace:1024",
)
OLD_JETPACKS = (JETPACK_4, JETPACK_5)
#: Compute capabilities of Jetsons; no graphics card has them.
JETSON_CAPABILITIES = ("5.3", "6.2", "7.2")


def major_minor(version: str) -> tuple[int, int]:
    """``"10.3.0.30"`` -> ``(10, 3)``."""
    numbers = _numbers(version)
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (0, 0)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def is_too_new(version: str, compute_capability: str) -> bool:
    """Whether a version of TensorRT no longer supports a GPU."""
    last = LAST.get(compute_capability)
    return last is not None and major_minor(version) > last


def dla_refusal(version: str, device: str | None) -> str | None:
    """Why a version of TensorRT has no DLA on a device; None if it may have one.

    Args:
        version: Full version.
        device: Key of the device's profile; None for an unknown one.
    """
    if major_minor(version) <= LAST_DLA:
        return None
    if _numbers(version) < DLA_AGAIN:
        return f"TensorRT {version} has no DLA: it ended with 10.7, and 11.4.1 has it again on an AGX Orin"
    if not (device or "").startswith(DLA_AGAIN_ON):
        return f"TensorRT {version} has a DLA on an AGX Orin only; this is {device or 'an unknown machine'}"
    return None


def jetson_hint(l4t: str | None) -> str:
    """How to get TensorRT on a Jetson, or what to do where edgestill cannot import it.

    Args:
        l4t: Release of Jetson Linux, e.g. ``"36.4.3"``; None if it is unknown.
    """
    old = next((one for one in OLD_JETPACKS if one.l4t == (l4t or "").partition(".")[0]), None)
    if old is None:
        return "sudo apt install python3-libnvinfer, and a venv with --system-site-packages"
    return (
        f"{old.name} has it for Python {old.python} only, which edgestill cannot import: run .onnx files "
        f"with ONNX Runtime, or build an engine for another program: {old.commands}"
    )


def last_version_hint(compute_capability: str) -> str:
    """How to get the last TensorRT of a GPU that newer ones no longer support."""
    last = LAST[compute_capability]
    if compute_capability in JETSON_CAPABILITIES:
        return next(old.commands for old in OLD_JETPACKS if old.tensorrt == last)
    version = ".".join(map(str, last))
    pip = f"pip install 'tensorrt-cu12=={version}.*', which needs CUDA 12"
    return pip if last >= (10, 0) else f"use TensorRT {version}"


def is_imported(software: Mapping[str, str]) -> bool:
    """Whether edgestill can use the TensorRT of a device's last system software, see ``DeviceProfile``."""
    version, python = software.get("tensorrt"), software.get("python")
    old_python = python is not None and major_minor(python) < FIRST_PYTHON
    return not old_python and (version is None or major_minor(version) >= FIRST)


def doubts(version: str, compute_capability: str | None, precision: str) -> list[str]:
    """Reasons not to use an engine of a precision with that version and GPU, though it can be built."""
    found = [f"TensorRT {v} {what}" for v, what in FAULTY.items() if f"{version}.".startswith(f"{v}.")]
    if precision == "int8" and compute_capability in FP16_BEATS_INT8:
        found.append(
            f"a GPU of compute capability {compute_capability} has no INT8 tensor cores: "
            "FP16 is its fastest precision, INT8 is only useful for checking results"
        )
    if precision == "int8" and major_minor(version) == (10, 3):
        found.append("several users lost accuracy with INT8 on TensorRT 10.3: check the comparison")
    return found
