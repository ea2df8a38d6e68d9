"""Rules about the device, the precision and the TensorRT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from devices.deployment.question import Deployment
from devices.jetpack import release
from devices.profile import Unit
from devices.tensorrt_rules import Finding, gpu_refusal, precision_refusal
from devices.tensorrt_support import OLD_JETPACKS, RTX_CAPABILITIES, dla_refusal, doubts, major_minor
from edgestill.spec import PRECISIONS

#: Where a unit is, for messages; those not listed go without saying.
_WHERE: Mapping[Unit, str] = {
    "tf32": "tensor cores",
    "fp16_cuda": "CUDA cores",
    "fp16_tensor": "tensor cores",
    "int8_dp4a": "DP4A on CUDA cores, no tensor cores",
    "int8_tensor": "tensor cores",
}


def rate(unit: Unit, peak: float) -> str:
    """A peak, e.g. ``"62.7 TOPS (DP4A on CUDA cores, no tensor cores)"``."""
    number = f"{peak:.0f}" if peak >= 100 else f"{peak:.3g}"
    where = f" ({_WHERE[unit]})" if unit in _WHERE else ""
    return f"{number} {'TOPS' if unit.startswith('int8') else 'TFLOPS'}{where}"


def precision(d: Deployment) -> Iterator[Finding]:
    """A precision that the GPU lacks, or that a CPU computes in another one."""
    if d.has_gpu and (refusal := precision_refusal(d.device.title, d.capability, d.precision)):
        yield refusal
    elif d.precision not in d.device.precisions and not d.has_gpu:
        yield Finding(
            severity="warning",
            what=f"{d.device.title}: {d.precision.upper()} files are computed in FP32, at its speed",
            hint="--precision fp32 or int8",
        )


def slower(d: Deployment) -> Iterator[Finding]:
    """A precision whose unit is slower than that of a wider one, or that no unit speeds up."""
    wider = PRECISIONS[: PRECISIONS.index(d.precision)]
    best = next((one for one in reversed(wider) if one in d.device.pays_off()), d.precision)
    peak, other = d.device.peak(d.precision), d.device.peak(best)
    known = peak and other if d.has_gpu else d.precision in d.device.precisions
    if d.precision in d.device.pays_off() or not known:
        return
    what = f"{d.precision.upper()} is not faster than {best.upper()} on {d.device.title}"
    if peak and other:
        what += f": {rate(*peak)} against {rate(*other)}"
    elif d.precision == "int8":
        what += ": it has no INT8 dot product"
    yield Finding(severity="warning", what=what, hint=f"--precision {best}")


def version(d: Deployment) -> Iterator[Finding]:
    """A TensorRT that does not support the GPU, or has known faults."""
    if not d.has_gpu or d.tensorrt is None:
        return
    if refusal := gpu_refusal(d.tensorrt, d.device.title, d.capability):
        yield refusal
        return
    # Without the capability: what INT8 without tensor cores costs is said with figures by ``slower``.
    for doubt in doubts(d.tensorrt, None, d.precision):
        yield Finding(
            severity="warning", what=doubt, hint="edgestill verify compares the engine with its source"
        )


def jetpack(d: Deployment) -> Iterator[Finding]:
    """A Jetson has the TensorRT of its JetPack."""
    if d.device.kind != "jetson" or d.tensorrt is None:
        return
    releases = [release(version) for version in d.device.jetpacks]
    listed = ", ".join(f"{one.version}: {one.tensorrt}" for one in releases)
    if d.jetpack is None:
        yield Finding(
            severity="warning",
            what=f"no known JetPack of {d.device.title} has TensorRT {d.tensorrt} ({listed})",
            hint="--tensorrt VERSION with one of these",
        )
    elif len(releases) > 1:
        what = f"TensorRT comes with JetPack ({listed}); --tensorrt VERSION checks another"
        yield Finding(severity="note", what=what)


def interface(d: Deployment) -> Iterator[Finding]:
    """A TensorRT that edgestill cannot import."""
    found = d.jetpack
    if not d.has_gpu or d.tensorrt is None or d.is_imported:
        return
    reason = (
        f"its Python interface is for Python {found.python}" if found else "its interface is older than 8.5"
    )
    old = next((one for one in OLD_JETPACKS if one.tensorrt == major_minor(d.tensorrt)), OLD_JETPACKS[0])
    yield Finding(
        severity="warning",
        what=f"edgestill cannot import TensorRT {d.tensorrt} ({reason}): it neither builds nor runs engines "
        "there, and runs .onnx files with ONNX Runtime on the CPU",
        hint=f"for an engine of another program: {old.commands}",
    )


def dla(d: Deployment) -> Iterator[Finding]:
    """What runs on the deep-learning accelerators."""
    if not d.device.dla_cores or d.tensorrt is None:
        return
    refusal = dla_refusal(d.tensorrt, d.device.key)
    if refusal is None:
        refusal = (
            f"the {d.device.dla_cores} DLA cores take FP16 from edgestill (--dla CORE), not INT8 Q/DQ pairs"
        )
    yield Finding(severity="note", what=refusal)


def rtx(d: Deployment) -> Iterator[Finding]:
    """The library that builds without a GPU."""
    if d.device.kind == "gpu" and d.capability in RTX_CAPABILITIES:
        yield Finding(
            severity="note",
            what="TensorRT-RTX builds an engine for it on a machine without a GPU",
            hint=f"edgestill export CKPT --to tensorrt-rtx --precision {d.precision} "
            f"--compute-capability {d.capability}",
        )
