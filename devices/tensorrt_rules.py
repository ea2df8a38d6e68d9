"""What TensorRT refuses on a GPU: the answers of ``doctor --for``, of an export and of the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from devices.tensorrt_support import FIRST_WITH, LAST, NO_INT8, is_too_new, last_version_hint, major_minor
from edgestill.errors import DeviceError
from edgestill.spec import Precision

#: ``error``: it cannot be done; ``warning``: it can, and there is a reason not to; ``note``: worth knowing.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about a deployment.

    Attributes:
        severity: See ``Severity``.
        what: The statement, with its values.
        hint: What to do; empty if there is nothing to do.
    """

    severity: Severity
    what: str
    hint: str = ""

    def error(self) -> DeviceError:
        """The error of a verb that cannot go on."""
        return DeviceError(self.what, hint=self.hint)


def gpu_refusal(version: str, name: str, compute_capability: str) -> Finding | None:
    """Why a version of TensorRT has no kernels for a GPU; None if it has."""
    gpu = f"{name}, compute capability {compute_capability}"
    if is_too_new(version, compute_capability):
        last = ".".join(map(str, LAST[compute_capability]))
        return Finding(
            severity="error",
            what=f"TensorRT {version} has no kernels for {gpu}: {last} is the last version that has",
            hint=last_version_hint(compute_capability),
        )
    first = FIRST_WITH.get(compute_capability)
    if first is not None and (0, 0) < major_minor(version) < first:
        number = ".".join(map(str, first))
        return Finding(
            severity="error",
            what=f"TensorRT {version} has no kernels for {gpu}: {number} is the first version that has",
            hint=f"use TensorRT {number} or later",
        )
    return None


def precision_refusal(name: str, compute_capability: str, precision: Precision) -> Finding | None:
    """Why TensorRT does not build a precision for a GPU; None if it does."""
    if precision == "int8" and compute_capability in NO_INT8:
        return Finding(
            severity="error",
            what=f"{name}, compute capability {compute_capability}, does not support INT8: no INT8 units",
            hint="--precision fp16 is the fastest there",
        )
    return None
