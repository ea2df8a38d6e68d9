"""The estimate of a latency with its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.estimate.calibration import Calibration
from benchmarks.estimate.fitted import Fitted, refuse_outside, shipped
from benchmarks.estimate.latency_model import Machine, latency_ms, machine, terms
from benchmarks.estimate.layer_work import ModelWork
from benchmarks.estimate.onnx_layers import read_layers
from benchmarks.estimate.yolo_models import is_published, published_model, published_names
from devices.profile import DeviceProfile
from edgestill.errors import ArtifactError, closest
from edgestill.spec import Precision

MEASURES = "TensorRT, one call with copies of input and output; without decoding of frames, letterbox and NMS"
DIGITS = 3  # significant, of a latency
TF32_NOTE = "FP32 in TF32, TensorRT's default; edgestill's own FP32 engines turn it off: add --no-tf32"
DP4A_NOTE = "INT8 by the DP4A instruction, without tensor cores; no published latency of it was fitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is estimated.

    Attributes:
        precision: Of weights and activations.
        batch: Images in one call.
        tf32: Whether FP32 is computed in TF32 where the device has it.
    """

    precision: Precision
    batch: int = 1
    tf32: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimated latency; never a measurement.

    Attributes:
        model: Name of the model.
        device: Key of the profile.
        precision: Of weights and activations.
        batch: Images in one call.
        input_hw: Input height and width, pixels.
        latency_ms: Milliseconds of one image.
        low_ms, high_ms: The interval that should hold 90 % of the latencies.
        gpu_ms: Part of ``latency_ms`` in the kernels.
        basis: What it rests on.
        kind: Always ``estimate``.
    """

    model: str
    device: str
    precision: Precision
    batch: int
    input_hw: tuple[int, int]
    latency_ms: float
    low_ms: float
    high_ms: float
    gpu_ms: float
    basis: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "estimate"


def layers_of(model: str, path: Path, precision: Precision, input_hw: tuple[int, int] | None) -> ModelWork:
    """The layers of a model.

    Args:
        model: A name of ``yolo_models.published_names``, or what ``path`` was made from.
        path: An ONNX file.
        precision: That will be estimated.
        input_hw: Input height and width, pixels; None for the model's own.

    Raises:
        ArtifactError: It is neither, or its operators are not known.
        UsageError: It cannot be estimated at that size or in that precision.
    """
    if is_published(model):
        return published_model(model, input_hw)
    if not path.exists():
        close = closest(model, published_names())
        raise ArtifactError(
            f"{model} is no published model, and no such file exists",
            hint=f"did you mean {close!r}?" if close else "give an ONNX file, or a name such as yolov5n",
        )
    if path.suffix in {".engine", ".xml"}:
        raise ArtifactError(
            f"no estimate for {path}: only an ONNX file holds the layers that are needed",
            hint="give the ONNX file that it was made from, or a name such as yolov5n",
        )
    work = read_layers(path, precision, input_hw)
    return ModelWork(name=model, input_hw=work.input_hw, layers=work.layers)


def estimate(
    work: ModelWork, profile: DeviceProfile, case: Case, calibration: Calibration | None = None
) -> Estimate:
    """Estimate the latency of one image.

    Args:
        work: The layers of the model.
        profile: The device.
        case: Precision and batch.
        calibration: The user's own measurements on the device.

    Raises:
        DeviceError: The device is not covered in that precision.
        UsageError: The model, its size or the batch is far from everything that was fitted.
    """
    fitted = shipped()
    on = machine(profile, case.precision, tf32=case.tf32)
    refuse_outside(fitted, work, case.batch)
    gpu = latency_ms(terms(work, on, case.precision, batch=case.batch, scope="gpu"), fitted.costs)
    total = latency_ms(terms(work, on, case.precision, batch=case.batch), fitted.costs)
    factor = fitted.interval_factor
    if calibration is not None:
        gpu *= calibration.scale
        total, factor = gpu + calibration.constant_ms / case.batch, calibration.interval_factor
    return Estimate(
        model=work.name,
        device=profile.key,
        precision=case.precision,
        batch=case.batch,
        input_hw=work.input_hw,
        latency_ms=_rounded(total),
        low_ms=_rounded(total / factor),
        high_ms=_rounded(total * factor),
        gpu_ms=_rounded(gpu),
        basis=_basis(fitted, work, profile, on, calibration),
    )


def _basis(
    fitted: Fitted, work: ModelWork, profile: DeviceProfile, on: Machine, calibration: Calibration | None
) -> dict[str, Any]:
    notes = {"tf32": TF32_NOTE, "int8_dp4a": DP4A_NOTE}
    doubtful = {"sms", "gpu_mhz", "bandwidth_gb_s", f"ops_per_clock.{on.unit}", f"published_peaks.{on.unit}"}
    unverified = sorted(doubtful & set(profile.unverified))
    lines = [notes[on.unit]] if on.unit in notes else []
    if profile.key not in fitted.devices:
        lines.append("no published latency of this device was fitted")
    if unverified:
        lines.append(f"figures of the device from one weak source: {', '.join(unverified)}")
    return {
        "measures": MEASURES,
        "fitted_rows": fitted.rows,
        "table_sha256": fitted.table_sha256,
        "gflops": round(work.gflops, 3),
        "kernels": len(work.layers),
        "unit": on.unit,
        "peak_tflops": round(on.peak, 2),
        "bandwidth_gb_s": on.bandwidth_gb_s,
        "calibration": calibration and calibration.summary(),
        "notes": lines,
    }


def _rounded(ms: float) -> float:
    return float(f"{ms:.{DIGITS}g}")
