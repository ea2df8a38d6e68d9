"""``edgestill devices``: the known devices, one of them, or this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from devices.detect import detect
from devices.profile import DeviceProfile, load_profile, load_profiles
from devices.tensorrt_support import is_imported
from runtime.backend import BACKENDS

SUMMARY = "List the known devices, describe one of them, or describe this machine"
EXAMPLE = "edgestill devices jetson-orin-nano"
HERE = "here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "key",
        nargs="?",
        metavar="KEY",
        help=f"key of a device, or `{HERE}` for this machine (default: list all devices)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """The list of devices, one device or this machine, as plain data."""
    if args.key is None:
        return {"kind": "devices", "devices": [_brief(p) for p in load_profiles()]}
    if args.key == HERE:
        return {"kind": "machine", "machine": asdict(detect())}
    profile = load_profile(args.key)
    return {"kind": "device", "device": {**asdict(profile), "runs_now_with": _runnable(profile)}}


def show(result: dict[str, Any]) -> Any:
    """A table of devices, or of one device's facts."""
    from rich.table import Table  # noqa: PLC0415

    if result["kind"] == "devices":
        table = Table("key", "device", "memory", "precisions", "CUDA", title="Known devices")
        for row in result["devices"]:
            memory = f"{row['memory_mib'] / 1024:g} GB" if row["memory_mib"] else "as installed"
            precisions = " ".join(row["precisions"])
            table.add_row(row["key"], row["title"], memory, precisions, row["compute_capability"] or "-")
        return table
    facts = result[result["kind"]]
    table = Table(show_header=False, title=facts["title"])
    for name, value in _flat(facts):
        table.add_row(name, value)
    return table


def _brief(profile: DeviceProfile) -> dict[str, Any]:
    names = ("key", "title", "kind", "memory_mib", "precisions", "compute_capability")
    return {name: getattr(profile, name) for name in names}


def _runnable(profile: DeviceProfile) -> list[str]:
    names = [name for name in profile.backends if name in BACKENDS.names()]
    return [name for name in names if name != "trt" or is_imported(profile.software)]


def _flat(data: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Rows of the table: nested names joined by dots, without unknown values."""
    rows: list[tuple[str, str]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in value):
            for number, item in enumerate(value):
                rows += _flat(item, f"{prefix}{name}.{number}.")
        elif isinstance(value, (list, tuple)):
            joiner = "\n" if name in {"notes", "sources"} else " "
            rows += [(prefix + name, joiner.join(map(str, value)))] if value else []
        elif value is not None and name != "title":
            rows.append((prefix + name, str(value)))
    return rows
