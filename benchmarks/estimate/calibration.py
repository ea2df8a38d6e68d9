"""A user's own measurements of a device correct its estimates: they refit the constant and the efficiency.

The calibration of a device is one JSON file in ``$XDG_CONFIG_HOME/edgestill/estimate``, or in
``~/.config/edgestill/estimate`` where that is not set. A latency of the fitted model is split into the part
of the kernels and the rest; the first is multiplied by ``scale`` and the second replaced by ``constant_ms``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimate.fit import NOISE
from edgestill.errors import DataError, UsageError
from edgestill.files import read_json, write_json

LEAST_POINTS = 3  # for two numbers
#: Below this ratio of the largest to the smallest model, the constant and the scale cannot be told apart.
LEAST_SPREAD = 1.5
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured latency.

    Attributes:
        model: Name of the model.
        precision: Of the engine.
        gpu_ms: Milliseconds of the kernels in the fitted model.
        measured_ms: Median milliseconds of the measured inference.
        started: When it was measured.
    """

    model: str
    precision: str
    gpu_ms: float
    measured_ms: float
    started: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The correction of one device.

    Attributes:
        device: Key of the profile.
        scale: Measured over fitted time of the kernels.
        constant_ms: The time outside the kernels of one call, milliseconds.
        interval_factor: Largest error of a point that is estimated from the others, as a factor; at least the
            error that is assumed of a published latency.
        points: The measurements.
    """

    device: str
    scale: float
    constant_ms: float
    interval_factor: float
    points: tuple[Point, ...]

    def summary(self) -> dict[str, Any]:
        """What a result shows of it."""
        return {
            "measurements": len(self.points),
            "scale": round(self.scale, 3),
            "constant_ms": round(self.constant_ms, 3),
            "file": str(calibration_file(self.device)),
        }


def calibrate(device: str, points: Sequence[Point]) -> Calibration:
    """Refit the constant and the efficiency of a device.

    Raises:
        UsageError: There are too few measurements, or their models are too much alike.
    """
    if len(points) < LEAST_POINTS:
        raise UsageError(
            f"{len(points)} usable measurements of {device}: a calibration needs at least {LEAST_POINTS}",
            hint="measure models of different sizes on it with TensorRT, e.g. yolov5n, s and m: "
            "edgestill bench A B C --out bench.json",
        )
    gpu = np.asarray([point.gpu_ms for point in points])
    measured = np.asarray([point.measured_ms for point in points])
    if gpu.max() < LEAST_SPREAD * gpu.min():
        raise UsageError(
            f"the measured models of {device} are too much alike to tell constant and efficiency apart",
            hint="add a model that is at least twice as large as the smallest",
        )
    scale, constant = _line(gpu, measured)
    errors = [_left_out_error(gpu, measured, k) for k in range(len(points))]
    return Calibration(
        device=device,
        scale=scale,
        constant_ms=constant,
        interval_factor=float(np.exp(max(NOISE, *errors))),
        points=tuple(points),
    )


def _line(gpu: NDArray[np.float64], measured: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of least relative errors; the intercept is not negative."""
    weights = 1 / measured
    design = np.stack([gpu, np.ones_like(gpu)], axis=1) * weights[:, None]
    (scale, constant), *_ = np.linalg.lstsq(design, np.ones_like(gpu), rcond=None)
    if constant < 0 or scale <= 0:
        relative = gpu * weights
        return float(relative.sum() / (relative**2).sum()), 0.0
    return float(scale), float(constant)


def _left_out_error(gpu: NDArray[np.float64], measured: NDArray[np.float64], k: int) -> float:
    others = np.arange(len(gpu)) != k
    scale, constant = _line(gpu[others], measured[others])
    return float(abs(np.log((scale * gpu[k] + constant) / measured[k])))


def config_folder() -> Path:
    """The folder of the user's calibrations; nothing is created."""
    root = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return root / "edgestill" / "estimate"


def calibration_file(device: str) -> Path:
    """The file of a device, which need not exist."""
    return config_folder() / f"{device}.json"


def save(calibration: Calibration) -> Path:
    """Write the calibration of a device in place of an earlier one; gives its path."""
    path = calibration_file(calibration.device)
    write_json(path, {"schema": SCHEMA, **asdict(calibration)})
    return path


def load(device: str) -> Calibration | None:
    """The calibration of a device; None if there is none.

    Raises:
        DataError: The file is not one that ``save`` wrote.
    """
    path = calibration_file(device)
    if not path.exists():
        return None
    hint = f"remove it: edgestill estimate --device {device} --remove-calibration"
    data = read_json(path, hint=hint)
    try:
        points = tuple(Point(**point) for point in data.pop("points"))
        schema, numbers = data.pop("schema"), ("scale", "constant_ms", "interval_factor")
        values = {name: float(data.pop(name)) for name in numbers}
        found = Calibration(device=data.pop("device"), points=points, **values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a calibration: {error!r}", hint=hint) from error
    sound = np.isfinite(list(values.values())).all() and found.scale > 0 and found.constant_ms >= 0
    if (schema, found.device, data) != (SCHEMA, device, {}) or not sound or found.interval_factor < 1:
        raise DataError(f"{path} is not a calibration of {device}", hint=hint)
    return found


def remove(device: str) -> Path:
    """Remove the calibration of a device; gives its path.

    Raises:
        UsageError: There is none.
    """
    path = calibration_file(device)
    if not path.exists():
        raise UsageError(f"{device} has no calibration", hint=f"calibrations are in {config_folder()}")
    path.unlink()
    return path
