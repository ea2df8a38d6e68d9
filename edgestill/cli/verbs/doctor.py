"""``edgestill doctor``: check the installation, or with ``--for`` what can run on a device."""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgestill
from devices.deployment.check import check
from devices.deployment.question import Deployment
from devices.detect import DeviceSnapshot, detect
from devices.import_check import check_imports, try_import
from devices.int8_saturation import DOT_PRODUCTS, saturates
from devices.profile import DeviceProfile, load_profile
from devices.software import BASE, Extra, read_extras, shadowed, version
from devices.tensorrt_support import LAST, is_too_new, jetson_hint
from edgestill.cli import deployment_report
from edgestill.errors import UsageError, missing_library
from edgestill.installation import pip_command
from edgestill.spec import PRECISIONS

SUMMARY = "Check the installation; with --for, what a model, precision and TensorRT can do on a device"
EXAMPLE = "edgestill doctor --for jetson-orin-nano --precision int8"

_HOME = Path(edgestill.__file__).resolve().parent.parent
_HIDDEN = {"dev", "all"}  # unions of the other extras, and tools for developing this project
OPENCV = "opencv"  # the extra
_TENSORRT = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--for",
        dest="device",
        metavar="KEY",
        help="what can run on a device, by its profile, see `edgestill devices`; `here` for this machine. "
        "Exit code 5 if nothing that was asked for can",
    )
    parser.add_argument(
        "--model", metavar="ANY_MODEL", help="with --for: a model file or checkpoint (default: any model)"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, help="with --for: the precision (default: the model's, or all)"
    )
    parser.add_argument(
        "--tensorrt",
        metavar="VERSION",
        help="with --for: the TensorRT there, e.g. 10.3 (default: the newest for the device)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read package metadata and machine facts, and import each library in a process of its own.

    With ``--for``, apply the rules of a deployment instead.
    """
    if args.device:
        return deployment_report.report(args.device, args.model, args.precision, args.tensorrt)
    if given := [f"--{name}" for name in ("model", "precision", "tensorrt") if getattr(args, name)]:
        raise UsageError(f"{', '.join(given)}: for which device?", hint="add --for KEY, or --for here")
    snapshot = detect()
    extras = list(check_imports(extra for extra in read_extras() if extra.name not in _HIDDEN))
    problems = _problems(extras)
    return {
        "kind": "doctor",
        "ok": not problems,
        "edgestill": edgestill.__version__,
        "home": str(_HOME),
        "python": platform.python_version(),
        "machine": {"key": snapshot.key, "title": snapshot.title, "system": snapshot.system},
        "cuda_calls": _cuda_calls(snapshot),
        "parts": [{**asdict(e), "ready": e.ready, "command": e.command} for e in extras],
        "problems": problems,
        "advice": _advice(snapshot),
    }


def verdict(result: dict[str, Any]) -> None:
    """Raise DeviceError, after the result was printed, if nothing can run on the device of ``--for``."""
    if result["kind"] == "deployment":
        deployment_report.refuse(result)


def show(result: dict[str, Any]) -> Any:
    """A table of the extras, then problems and notes; with ``--for`` of precisions, then findings."""
    if result["kind"] == "deployment":
        return deployment_report.show(result)
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("extra", "installed", "to install", title=f"edgestill {result['edgestill']}")
    for part in result["parts"]:
        have = "\n".join(f"{name} {number}" for name, number in part["installed"].items())
        have = "\n".join([have, *part["facts"]])
        faults = [f"{name}: {why}" for name, why in part["broken"].items()]
        lack = "\n".join([*part["missing"], *part["outdated"], *faults])
        todo = f"{lack}\n{part['command']}" if lack else ""
        # Text and not str: rich would parse the brackets of an extra as markup.
        table.add_row(Text(part["name"], "green" if part["ready"] else "yellow"), Text(have), Text(todo))
    lines = [f"{result['machine']['title']}, {result['machine']['system']}, Python {result['python']}"]
    lines += [f"CUDA is called by {result['cuda_calls']}"] if result["cuda_calls"] else []
    lines += [f"problem: {p['what']}\n  hint: {p['hint']}" for p in result["problems"]]
    lines += [f"note: {line}" for line in result["advice"]]
    return Group(table, Text("\n".join([*lines, "ready" if result["ok"] else "not ready"])))


def _cuda_calls(snapshot: DeviceSnapshot) -> str | None:
    """What engines call CUDA by on a machine with an NVIDIA GPU: pycuda, or why not; None on others."""
    if not (snapshot.gpus or snapshot.jetson):
        return None
    module = "runtime.tensorrt.cuda_bindings"
    found, why = try_import(module, f"print({module}.binding_in_use())")
    return found or why


def _problems(extras: list[Extra]) -> list[dict[str, str]]:
    """What prevents the base install from working, each with the command that corrects it."""
    found = [
        {
            "what": f"`import {name}` gives {place}, not this project's folder",
            "hint": f"start in another folder, or unset PYTHONPATH; this project is in {_HOME}",
        }
        for name, place in shadowed(_HOME).items()
    ]
    for extra in extras:
        if extra.name == BASE and extra.command:
            faults = [f"{name} ({why})" for name, why in extra.broken.items()]
            lack = ", ".join([*extra.missing, *extra.outdated, *faults])
            found.append({"what": f"missing, too old or broken: {lack}", "hint": extra.command})
        if extra.name == OPENCV and extra.missing:
            lacking = missing_library("reading images, videos and cameras", "cv2", OPENCV)
            found.append({"what": lacking.what, "hint": lacking.hint})
        if extra.name == OPENCV and extra.broken and extra.command:
            why = "; ".join(extra.broken.values())
            found.append({"what": f"OpenCV cannot be imported: {why}", "hint": extra.command})
    if not extras:
        found.append({"what": "the project is not installed in this Python", "hint": pip_command()})
    opencvs = _opencvs_of_pip()
    if len(opencvs) > 1:
        found.append(
            {
                "what": f"{' and '.join(opencvs)} are both installed and overwrite each other's files",
                "hint": f"pip uninstall -y {' '.join(opencvs)}; pip install {opencvs[0]}",
            }
        )
    return found


def _opencvs_of_pip() -> list[str]:
    """OpenCV packages with pip's metadata, which the system's OpenCV of a Jetson does not have."""
    return [name for name in _OPENCV if version(name) not in {None, "unknown"}]


def _advice(snapshot: DeviceSnapshot) -> list[str]:
    """Notes on what limits speed or accuracy on this machine."""
    cpu, lines = snapshot.cpu, []
    if cpu.flags and not DOT_PRODUCTS & set(cpu.flags):
        wrong = "; on OpenVINO, INT8 files of other tools with 8-bit weights give wrong results (saturation)"
        lines.append(
            "this CPU has no INT8 dot product (VNNI): INT8 files gain less speed than elsewhere"
            + (wrong if saturates(cpu.flags, platform.machine()) else "")
        )
    if {"avx512_bf16", "amx_bf16"} & set(cpu.flags):
        files = "files of `export --to openvino --precision bf16`"
        lines.append(f"this CPU has bfloat16: edgestill uses it for {files} only")
    usable = min((n for n in (cpu.allowed_cores, cpu.quota_cores) if n), default=None)
    if usable and cpu.cores and usable < cpu.cores:
        lines.append(
            f"this process may use {usable:g} of {cpu.cores} cores: add --threads {int(usable) or 1}"
        )
    lines += _tensorrt_advice(snapshot)
    if snapshot.no_profile:
        lines.append(f"{snapshot.no_profile}: its published limits are not known here")
    if snapshot.key and snapshot.kind != "cpu":
        lines += _device_advice(load_profile(snapshot.key), snapshot)
    if snapshot.jetson and (opencvs := _opencvs_of_pip()):
        lines.append(
            f"{opencvs[0]} of pip has no GStreamer and hides the system's OpenCV, which has: "
            f"pip uninstall -y {' '.join(opencvs)}; sudo apt install python3-opencv"
        )
    if snapshot.jetson and snapshot.jetson.clocks_locked is False:
        lines.append("clocks are not locked: run `sudo jetson_clocks` before measuring")
    return lines


def _device_advice(device: DeviceProfile, snapshot: DeviceSnapshot) -> list[str]:
    """What its profile says about INT8, the power mode and a card of which a part is visible."""
    found = check(Deployment(device=device, precision="int8"))
    lines = [finding.what for finding in found if finding.severity != "note"]
    if snapshot.part_of_card:
        lines.append(f"{snapshot.part_of_card}: published peaks and bandwidth of {device.key} do not hold")
    named = (snapshot.jetson.power_mode if snapshot.jetson else None) or ""
    mode = next((one for one in device.power_modes if one.name == named.removeprefix("MODE_")), None)
    if mode and mode.gpu_mhz and device.gpu_mhz and mode.gpu_mhz < device.gpu_mhz:
        fastest = max(device.power_modes, key=lambda one: one.gpu_mhz or 0)
        lines.append(
            f"power mode {mode.name} limits the GPU to {mode.gpu_mhz:g} of {device.gpu_mhz:g} MHz: "
            f"{fastest.name} has the most (sudo nvpmodel -m ID, ids in /etc/nvpmodel.conf)"
        )
    return lines


def _tensorrt_advice(snapshot: DeviceSnapshot) -> list[str]:
    """Whether the installed TensorRT supports the GPU."""
    have = next((found for name in _TENSORRT if (found := version(name))), None)
    if have is None and snapshot.jetson:
        return [f"TensorRT is missing: {jetson_hint(snapshot.jetson.l4t)}"]
    lines = [snapshot.no_gpu] if snapshot.no_gpu else []
    for card in snapshot.gpus:
        capability, name = card.compute_capability or "", card.name or "this GPU"
        last = ".".join(map(str, LAST.get(capability, ())))
        wanted = f"pip install 'tensorrt-cu12=={last}.*'" if last else pip_command("tensorrt")
        if have is None:
            lines.append(f"TensorRT, the fastest backend on {name}, is missing: {wanted}")
        elif is_too_new(have, capability):
            lines.append(f"TensorRT {have} does not support {name}; {last} is the last that does: {wanted}")
    return lines
