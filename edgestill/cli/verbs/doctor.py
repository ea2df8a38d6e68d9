"""``edgestill doctor``: what is installed, what is missing, and the command that fixes it."""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgestill
from devices.detect import DeviceSnapshot, detect
from devices.int8_saturation import DOT_PRODUCTS, saturates
from devices.software import BASE, Extra, read_extras, shadowed, version
from devices.tensorrt_support import LAST, is_too_new

SUMMARY = "Say what is installed, what is missing, and the command that fixes it"

_HOME = Path(edgestill.__file__).resolve().parent.parent
_HIDDEN = {"dev", "all"}  # unions of the others, and tools of the project's own developers
_TENSORRT = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13")
_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments: none."""


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Look at this Python and this machine; import nothing heavy."""
    del args
    snapshot = detect()
    extras = [extra for extra in read_extras() if extra.name not in _HIDDEN]
    problems = _problems(extras)
    return {
        "kind": "doctor",
        "ok": not problems,
        "edgestill": edgestill.__version__,
        "home": str(_HOME),
        "python": platform.python_version(),
        "machine": {"key": snapshot.key, "title": snapshot.title, "system": snapshot.system},
        "parts": [{**asdict(e), "ready": e.ready, "command": e.command} for e in extras],
        "problems": problems,
        "advice": _advice(snapshot),
    }


def show(result: dict[str, Any]) -> Any:
    """A table of the parts, then what is wrong and what is worth knowing."""
    from rich.console import Group  # noqa: PLC0415 (only a person needs it)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("part", "installed", "to install", title=f"edgestill {result['edgestill']}")
    for part in result["parts"]:
        have = "\n".join(f"{name} {number}" for name, number in part["installed"].items())
        lack = "\n".join([*part["missing"], *part["outdated"]])
        todo = f"{lack}\n{part['command']}" if lack else ""
        # Text and not plain strings: rich would read the brackets of edgestill[onnx] as a colour.
        table.add_row(Text(part["name"], "green" if part["ready"] else "yellow"), have, Text(todo))
    lines = [f"{result['machine']['title']}, {result['machine']['system']}, Python {result['python']}"]
    lines += [f"problem: {p['what']}\n  hint: {p['hint']}" for p in result["problems"]]
    lines += [f"note: {line}" for line in result["advice"]]
    return Group(table, Text("\n".join([*lines, "ready" if result["ok"] else "not ready"])))


def _problems(extras: list[Extra]) -> list[dict[str, str]]:
    """What keeps the base from working, each with the command that mends it."""
    found = [
        {
            "what": f"`import {name}` gives {place}, not this project's folder",
            "hint": f"leave the folder that holds it, or unset PYTHONPATH; this project is in {_HOME}",
        }
        for name, place in shadowed(_HOME).items()
    ]
    for extra in extras:
        if extra.name == BASE and extra.command:
            lack = ", ".join([*extra.missing, *extra.outdated])
            found.append({"what": f"missing or too old: {lack}", "hint": extra.command})
    if not extras:
        found.append({"what": "the project is not installed in this Python", "hint": f"pip install {_HOME}"})
    opencvs = [name for name in _OPENCV if version(name)]
    if len(opencvs) > 1:
        found.append(
            {
                "what": f"{' and '.join(opencvs)} are installed over each other",
                "hint": f"pip uninstall -y {' '.join(opencvs)}; pip install {opencvs[0]}",
            }
        )
    return found


def _advice(snapshot: DeviceSnapshot) -> list[str]:
    """What is no fault and yet decides how fast it runs."""
    cpu, lines = snapshot.cpu, []
    if cpu.flags and not DOT_PRODUCTS & set(cpu.flags):
        wrong = "; those of other tools whose weights use 8 bits come out wrong here on OpenVINO"
        lines.append(
            "this CPU has no INT8 dot product (VNNI): INT8 files gain less speed than elsewhere"
            + (wrong if saturates(cpu.flags, platform.machine()) else "")
        )
    if {"avx512_bf16", "amx_bf16"} & set(cpu.flags):
        lines.append("this CPU computes bfloat16: OpenVINO would use it unasked; here it must be asked for")
    usable = min((n for n in (cpu.allowed_cores, cpu.quota_cores) if n), default=None)
    if usable and cpu.cores and usable < cpu.cores:
        lines.append(
            f"this process may use {usable:g} of {cpu.cores} cores: give --threads {int(usable) or 1}"
        )
    lines += _tensorrt_advice(snapshot)
    if snapshot.jetson and snapshot.jetson.clocks_locked is False:
        lines.append("clocks may move: `sudo jetson_clocks` before measuring")
    return lines


def _tensorrt_advice(snapshot: DeviceSnapshot) -> list[str]:
    """Whether the TensorRT that is here fits the GPU that is here."""
    have = next((found for name in _TENSORRT if (found := version(name))), None)
    if have is None and snapshot.jetson:
        return [
            "no TensorRT here: sudo apt install python3-libnvinfer, and a venv with --system-site-packages"
        ]
    lines = []
    for card in snapshot.gpus:
        capability = card.compute_capability or ""
        last = ".".join(map(str, LAST.get(capability, ())))
        wanted = f"pip install 'tensorrt-cu12=={last}.*'" if last else "pip install 'edgestill[tensorrt]'"
        if have is None:
            lines.append(f"no TensorRT here, the fastest on {card.name}: {wanted}")
        elif is_too_new(have, capability):
            lines.append(f"TensorRT {have} has left {card.name} behind, {last} is the last for it: {wanted}")
    return lines
