"""Support of GPUs by versions of TensorRT, and known problems, as data.

Source: NVIDIA TensorRT release notes 8.5, 10.0, 10.5 and 11.0 and support matrices, TensorRT-RTX 1.7's own
list of targets; known faults: github.com/NVIDIA/TensorRT 4854, ultralytics' list of refused versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
#: Compute capabilities that TensorRT-RTX builds for.
RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
#: First version with named tensors; older ones are used by ``trtexec``.
FIRST = (8, 5)
NO_INT8 = ("5.0", "5.2", "5.3", "6.0", "6.2")
DP4A_ONLY = ("6.1", "7.0")  # INT8 on CUDA cores only, without INT8 tensor cores

#: Versions with known faults, and a description.
FAULTY: Mapping[str, str] = {
    "10.2.0": "is on ultralytics' list of versions that must not be used",
    "11.2.1": "miscompiles convolution, activation and residual where a concat follows, without an error",
}


def major_minor(version: str) -> tuple[int, int]:
    """``"10.3.0.30"`` -> ``(10, 3)``."""
    numbers = [int(n) for n in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def is_too_new(version: str, compute_capability: str) -> bool:
    """Whether a version of TensorRT no longer supports a GPU."""
    last = LAST.get(compute_capability)
    return last is not None and major_minor(version) > last


def doubts(version: str, compute_capability: str | None, precision: str) -> list[str]:
    """Reasons not to use an engine of a precision with that version and GPU, though it can be built."""
    found = [f"TensorRT {v} {what}" for v, what in FAULTY.items() if f"{version}.".startswith(f"{v}.")]
    if precision == "int8" and compute_capability in DP4A_ONLY:
        found.append(
            f"a GPU of compute capability {compute_capability} has no INT8 tensor cores: "
            "FP16 is its fastest precision, INT8 is only useful for checking results"
        )
    if precision == "int8" and major_minor(version) == (10, 3):
        found.append("several users lost accuracy with INT8 on TensorRT 10.3: check the comparison")
    return found
