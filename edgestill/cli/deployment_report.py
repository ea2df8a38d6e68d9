"""``edgestill doctor --for DEVICE``: what can run there, before anything is built."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from devices.deployment.check import SEVERITIES, check
from devices.deployment.platform_rules import rate
from devices.deployment.question import Deployment, ModelFacts
from devices.detect import detect
from devices.profile import DeviceProfile, load_profile
from edgestill.cli.model_facts import read_model_facts
from edgestill.errors import DeviceError, UsageError
from edgestill.spec import PRECISIONS, Precision
from edgestill.target import without_bf16

if TYPE_CHECKING:
    from rich.console import Group

HERE = "here"
_VERSION = re.compile(r"[0-9]{1,2}(\.[0-9]{1,4}){1,3}")


def report(key: str, model: str | None, precision: Precision | None, tensorrt: str | None) -> dict[str, Any]:
    """Check one precision, or all of them where neither model nor precision says which.

    Args:
        key: Key of a device, or ``here`` for the profile of this machine.
        model: A model file, a checkpoint, or the name of shipped weights; None for any model.
        precision: The precision; None for that of the model, or all.
        tensorrt: Version of TensorRT; None for the one that built an engine, else the newest for the device.

    Raises:
        UsageError: There is no such device, the version is none, or the device has no GPU for TensorRT.
        ArtifactError: The model cannot be read.
        DeviceError: No profile describes this machine.
    """
    device = _device(key)
    _check_version(device, tensorrt)
    facts = (
        read_model_facts(model, ("tensorrt",) if device.kind != "cpu" else ("onnx", "openvino"))
        if model
        else None
    )
    asked = _precisions(facts, precision)
    version = tensorrt or _built_by(facts) or device.software.get("tensorrt")
    found = {
        one: check(Deployment(device=device, precision=one, tensorrt=version, model=facts)) for one in asked
    }
    can = {one: all(finding.severity != "error" for finding in found[one]) for one in asked}
    return {
        "kind": "deployment",
        "device": device.key,
        "title": device.title,
        "compute_capability": device.compute_capability,
        "tensorrt": version if device.kind != "cpu" else None,
        "model": facts and asdict(facts),
        "precisions": {
            one: {"can": can[one], "pays_off": one in device.pays_off(), "peak": _peak(device, one)}
            for one in asked
        },
        "can": any(can.values()),
        "imported": Deployment(device=device, precision=asked[0], tensorrt=version).is_imported,
        "findings": _merged({one: [asdict(finding) for finding in found[one]] for one in asked}),
    }


def refuse(result: dict[str, Any]) -> None:
    """Raise DeviceError, after the result was printed, if nothing that was asked for can run."""
    if not result["can"]:
        error = next(finding for finding in result["findings"] if finding["severity"] == "error")
        raise DeviceError(error["what"], hint=error["hint"])


def show(result: dict[str, Any]) -> Group:
    """A table of the precisions, then the findings by severity."""
    from rich import box  # noqa: PLC0415 (for the terminal only)
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts = [
        f"compute capability {result['compute_capability']}" if result["compute_capability"] else "",
        f"TensorRT {result['tensorrt']}" if result["tensorrt"] else "",
        f"model {result['model']['name']}" if result["model"] else "",
    ]
    head = ", ".join([f"{result['title']} ({result['device']})", *filter(None, facts)])
    table = Table("precision", "can run", "pays off", "peak", box=box.SIMPLE, show_edge=False)
    for precision, row in result["precisions"].items():
        peak = row["peak"]
        table.add_row(
            precision,
            Text("yes" if result["imported"] else "by trtexec", "green") if row["can"] else Text("no", "red"),
            "yes" if row["pays_off"] else "no",
            f"{'~' * peak['unverified']}{rate(peak['unit'], peak['peak'])}" if peak else "not known",
        )
    lines = Table.grid(padding=(0, 1))
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    for finding in result["findings"]:
        only = (
            f"{' '.join(finding['precisions'])}: "
            if len(finding["precisions"]) < len(result["precisions"])
            else ""
        )
        lines.add_row(
            Text(finding["severity"], colours[finding["severity"]]), Text(f"{only}{finding['what']}")
        )
        if finding["hint"]:
            lines.add_row("", Text(f"hint: {finding['hint']}", "dim"))
    return Group(Text(head, "bold"), Text(), table, Text(), lines)


def _device(key: str) -> DeviceProfile:
    if key != HERE:
        return load_profile(key)
    found = detect()
    if found.key is None:
        raise DeviceError(str(found.no_profile), hint="edgestill devices lists the known ones: --for KEY")
    return load_profile(found.key)


def _check_version(device: DeviceProfile, version: str | None) -> None:
    if version is None:
        return
    if not _VERSION.fullmatch(version):
        raise UsageError(f"--tensorrt {version} is no version", hint="e.g. --tensorrt 10.3")
    if device.kind == "cpu":
        raise UsageError(
            f"--tensorrt is for NVIDIA GPUs; {device.key} has none", hint="leave it out, or another --for"
        )


def _precisions(facts: ModelFacts | None, precision: Precision | None) -> tuple[Precision, ...]:
    stored = facts.precision if facts else None
    if stored == "bf16" and precision in {None, "fp32"}:
        return ("fp32",)  # what a CPU without bf16 computes such a file in
    if facts and stored and precision and stored != precision:
        raise UsageError(f"{facts.name} is {stored}, not {precision}", hint="leave --precision out")
    one = precision or (without_bf16(stored) if stored else None)
    return (one,) if one else PRECISIONS


def _built_by(facts: ModelFacts | None) -> str | None:
    """The TensorRT that built an engine; None for other files, and for TensorRT-RTX with its own versions."""
    built_on = facts.built_on if facts else None
    return str(built_on["version"]) if built_on and built_on.get("family") == "tensorrt" else None


def _peak(device: DeviceProfile, precision: Precision) -> dict[str, Any] | None:
    peak = device.peak(precision)
    return peak and {"unit": peak[0], "peak": peak[1], "unverified": peak[0] in device.unverified_peaks}


def _merged(found: dict[Precision, list[dict[str, str]]]) -> list[dict[str, Any]]:
    """Each finding once, with the precisions that it is about; errors first."""
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for precision, findings in found.items():
        for finding in findings:
            row = merged.setdefault(tuple(finding.values()), {**finding, "precisions": []})
            row["precisions"].append(precision)
    return sorted(merged.values(), key=lambda row: SEVERITIES.index(row["severity"]))
