"""Rules about the model file."""

from __future__ import annotations

from collections.abc import Iterator

from devices.deployment.question import Deployment
from devices.tensorrt_rules import Finding, Severity
from devices.tensorrt_support import FIRST, JETPACK_4, major_minor

#: Last opset that the ONNX parser of TensorRT 8.2 reads.
OPSET_OF_8_2 = 13


def old_parser(d: Deployment) -> Iterator[Finding]:
    """What the ONNX parser of TensorRT 8.2 does not read.

    Source: https://github.com/onnx/onnx-tensorrt/blob/main/docs/Changelog.md
    """
    if not d.has_gpu or d.tensorrt is None or major_minor(d.tensorrt) >= FIRST:
        return
    name, hint = f"TensorRT {d.tensorrt}", JETPACK_4.commands
    if d.model is None or d.model.format == "checkpoint":
        what = f"{name} reads ONNX up to opset {OPSET_OF_8_2}, in FP32; its trtexec builds FP16 from that"
        yield Finding(severity="note", what=what)
    if d.model is None or d.model.format != "onnx":
        return
    if (d.model.opset or 0) > OPSET_OF_8_2:
        what = f"{name} reads ONNX up to opset {OPSET_OF_8_2}; {d.model.name} has {d.model.opset}"
        yield Finding(severity="error", what=what, hint=hint)
    if d.model.precision == "fp16":
        what = f"{name} reads no FP16 weights of a file; its trtexec builds FP16 from an FP32 file"
        yield Finding(severity="error", what=what, hint=hint)
    if d.model.input_dtype == "uint8":
        what = f"{name} has no uint8 inputs: {d.model.name} has one"
        yield Finding(severity="error", what=what, hint="edgestill export --input float")


def bf16(d: Deployment) -> Iterator[Finding]:
    """A file for CPUs with bf16."""
    if d.model is not None and d.model.precision == "bf16":
        where = "where the CPU has AVX512_BF16 or AMX, else in FP32, at its speed"
        yield Finding(severity="note", what=f"{d.model.name} computes in bf16 {where}")


def free_axes(d: Deployment) -> Iterator[Finding]:
    """Input axes without a fixed size."""
    if not d.has_gpu or d.model is None or not d.model.free_axes:
        return
    axes = " and ".join(d.model.free_axes)
    yield Finding(
        severity="note",
        what=f"{d.model.name} has a free {axes}: an engine is built for a range of it, with memory for the "
        "largest; a DLA takes fixed shapes only",
        hint="--profile-batch, --profile-size; with trtexec --minShapes, --optShapes, --maxShapes",
    )


def file(d: Deployment) -> Iterator[Finding]:
    """Files that are for another kind of device, and graphs that its library refuses or computes wrongly."""
    if d.model is None:
        return
    if d.model.format == "openvino" and "ov" not in d.device.backends:
        yield Finding(
            severity="error",
            what=f"{d.model.name} is for OpenVINO, which does not use the GPU of {d.device.title}",
            hint=f"edgestill export CKPT --to onnx --precision {d.precision}",
        )
    for target, faults in d.model.faults.items():
        # On a CPU the file can be run by another library.
        severity: Severity = "warning" if target == "openvino" else "error"
        yield Finding(
            severity=severity,
            what=f"{d.model.name} has errors for {target}: {'; '.join(faults)}",
            hint=f"edgestill inspect {d.model.name} --lint --for {target}",
        )


def engine(d: Deployment) -> Iterator[Finding]:
    """An engine runs where it was built, or on the platforms for which it was built ahead of time."""
    if d.model is None or d.model.format != "engine":
        return
    hint = f"build it there: edgestill export CKPT --to tensorrt --precision {d.precision}"
    if not d.has_gpu:
        yield Finding(
            severity="error",
            what=f"{d.model.name} is an engine for an NVIDIA GPU",
            hint=f"edgestill export CKPT --to onnx --precision {d.precision}",
        )
        return
    built_on = d.model.built_on
    if built_on is None:
        yield Finding(
            severity="error",
            what=f"{d.model.name} is native code without a manifest: nothing says where it runs",
            hint=hint,
        )
        return
    capabilities = str(built_on.get("compute_capability", "")).split()
    portable = built_on.get("portable", ())
    if d.capability not in capabilities and "hardware" not in portable:
        yield Finding(
            severity="error",
            what=f"{d.model.name} was built for compute capability {' '.join(capabilities) or 'unknown'}; "
            f"{d.device.title} has {d.capability}",
            hint=hint,
        )
    built = str(built_on.get("version", ""))
    if built_on.get("gpu") == "any":  # TensorRT-RTX, whose versions are others
        return
    if d.tensorrt is not None and not _same(built, d.tensorrt) and "version" not in portable:
        yield Finding(
            severity="error",
            what=f"{d.model.name} was built by TensorRT {built}; {d.tensorrt} does not load it",
            hint=hint,
        )
    gpu, system = (built_on.get(name, "unknown") for name in ("gpu", "system"))
    yield Finding(
        severity="warning",
        what=f"{d.model.name} was built on {gpu}, {system}, TensorRT {built}: only the same three load it",
        hint=f"{hint}; or --trust-engine, for a file that you copied to the same platform",
    )


def _same(one: str, other: str) -> bool:
    """Whether two versions are the same as far as both are known: ``10.3.0`` and ``10.3.0.30``."""
    return all(a == b for a, b in zip(one.split("."), other.split("."), strict=False))
