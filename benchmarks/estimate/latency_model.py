"""Latency as a sum of terms that are linear in a few costs, which are fitted to published latencies.

For a batch of B images, in milliseconds::

    latency = constant + sum over kernels (launch + work / (efficiency x peak) + bytes / (share x bandwidth))
    work = flops x (1 + 32 / output channels) x (1 + 64 / reduction)

A convolution is computed in tiles. The first factor is for tiles of 64 output channels, half of one of which
is empty on average; the second for the start of a tile, which costs as much as 64 more products of each sum.
Both are 1 for depthwise convolutions, which run on CUDA cores.

Each cost is one number for all devices (the constant and the launch differ between Jetsons and graphics
cards). An efficiency is the part of a peak that is reached where arithmetic is the limit, the share that of
the memory bandwidth. They describe published figures and are no properties of the hardware; an efficiency may
be above 1, because Winograd's convolutions need fewer operations than are counted.

The two terms of a kernel are added, not the larger one taken as in the roofline model (Williams et al. 2009,
doi.org/10.1145/1498765.1498785): that fits published latencies no worse, and a linear model has one optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.estimate.layer_work import LayerWork, ModelWork
from devices.profile import DeviceProfile, Unit
from edgestill.errors import DeviceError
from edgestill.spec import Precision

#: What a latency covers. ``gpu``: the kernels alone, as trtexec's GPU compute time. ``infer``: one call, with
#: the copies of input and output. ``infer+nms``: with NMS in the engine. ``pre+infer+post``: with the other
#: stages.
Scope = Literal["gpu", "infer", "infer+nms", "pre+infer+post"]
EMPTY_OUTPUTS, START = 32, 64  # see above
BYTES: Mapping[Precision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
#: Costs: by unit, one over the efficiency; one over the share of the bandwidth; then milliseconds.
COSTS = (
    *("fp32", "tf32", "fp16_cuda", "fp16_tensor", "int8_dp4a", "int8_tensor"),
    *("memory", "launch_gpu", "launch_jetson", "constant_gpu", "constant_jetson"),
    *("nms_batch", "nms_image", "stages_image"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the model needs of a device.

    Attributes:
        kind: ``gpu`` or ``jetson``.
        unit: The unit that computes dense layers in the precision.
        peak: Of that unit, TFLOPS or TOPS.
        fp32: Peak of the CUDA cores, TFLOPS, for grouped convolutions.
        bandwidth_gb_s: Memory bandwidth, 10^9 bytes per second.
    """

    kind: Literal["gpu", "jetson"]
    unit: Unit
    peak: float
    fp32: float
    bandwidth_gb_s: float


def machine(profile: DeviceProfile, precision: Precision, *, tf32: bool = True) -> Machine:
    """The figures of a device for a precision.

    Args:
        profile: The device.
        precision: Of weights and activations.
        tf32: Whether FP32 is computed in TF32 where tensor cores have it and are faster. That is TensorRT's
            default, under which FP32 latencies are published; edgestill's own FP32 engines turn it off.

    Raises:
        DeviceError: The model does not cover the device: it is a CPU, has no unit for the precision, or a
        figure
            is not known.
    """
    if profile.kind == "cpu":
        raise DeviceError(
            f"no estimate for {profile.key}: there are too few published latencies of CPUs to fit",
            hint="measure on it: edgestill bench MODEL",
        )
    peaks = profile.peaks
    found = profile.peak(precision)
    if precision not in profile.precisions:
        raise DeviceError(
            f"{profile.key} has no units for {precision}: an estimate would be of something else",
            hint=f"it computes in {', '.join(profile.precisions)}",
        )
    if found is None or "fp32" not in peaks or profile.bandwidth_gb_s is None:
        raise DeviceError(
            f"no estimate for {profile.key} in {precision}: its peak or its memory bandwidth is not known",
            hint=f"edgestill devices {profile.key} shows what is known",
        )
    unit, peak = found
    if tf32 and precision == "fp32" and peaks.get("tf32", 0.0) > peak:
        unit, peak = "tf32", peaks["tf32"]
    return Machine(
        kind=profile.kind,
        unit=unit,
        peak=peak,
        fp32=peaks["fp32"],
        bandwidth_gb_s=profile.bandwidth_gb_s,
    )


def terms(
    work: ModelWork, on: Machine, precision: Precision, *, batch: int = 1, scope: Scope = "infer"
) -> dict[str, float]:
    """What each cost is multiplied by: their products add up to the milliseconds of one image.

    Args:
        work: The layers of the model.
        on: The device.
        precision: Of weights and activations.
        batch: Images in one call.
        scope: What the latency covers.
    """
    dense = sum(_tiled_flops(k) for k in work.layers if k.kind == "dense")
    grouped = sum(k.flops for k in work.layers if k.kind == "depthwise")
    activations = sum(k.read + k.written for k in work.layers)
    moved = BYTES[precision] * (activations + sum(k.weights for k in work.layers) / batch)
    found = dict.fromkeys(COSTS, 0.0)
    found[on.unit] += dense / on.peak / 1e9  # FLOPs / TFLOPS in ms
    found["fp32"] += grouped / on.fp32 / 1e9
    found["memory"] = moved / on.bandwidth_gb_s / 1e6
    found[f"launch_{on.kind}"] = len(work.layers) / batch
    if scope != "gpu":
        found[f"constant_{on.kind}"] = 1 / batch
    if scope == "infer+nms":
        found["nms_batch"], found["nms_image"] = 1 / batch, 1.0
    if scope == "pre+infer+post":
        found["stages_image"] = 1.0
    return found


def _tiled_flops(kernel: LayerWork) -> float:
    return kernel.flops * (1 + EMPTY_OUTPUTS / kernel.outputs) * (1 + START / kernel.reduction)


def latency_ms(found: Mapping[str, float], costs: Mapping[str, float]) -> float:
    """Milliseconds of one image, see ``terms``."""
    return sum(value * costs[name] for name, value in found.items())
