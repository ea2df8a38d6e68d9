"""``edgestill devices``: the known devices, one of them, or this machine."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from devices.detect import detect
from devices.jetpack import of_l4t, release
from devices.profile import DeviceProfile, load_profile, load_profiles
from devices.tensorrt_support import is_imported
from edgestill.spec import PRECISIONS
from runtime.backend import BACKENDS

SUMMARY = "List the known devices, describe one of them, or describe this machine"
EXAMPLE = "edgestill devices jetson-orin-nano"
HERE = "here"
_TENSORRT = "NVIDIA TensorRT release notes and support matrices, see devices/tensorrt_support.py"
#: Order of the kinds in the list.
_KINDS = ("jetson", "gpu", "cpu")


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
        return {"kind": "devices", "devices": [_brief(p) for p in sorted(load_profiles(), key=_place)]}
    if args.key == HERE:
        found = detect()
        known = of_l4t(found.jetson.l4t) if found.jetson and found.jetson.l4t else None
        return {"kind": "machine", "machine": {**asdict(found), "jetpack": known and asdict(known)}}
    return {"kind": "device", "device": _whole(load_profile(args.key))}


def show(result: dict[str, Any]) -> Any:
    """A table of devices, or the facts of one device or of this machine."""
    from edgestill.cli import device_table  # noqa: PLC0415 (for the terminal only)

    if result["kind"] == "devices":
        return device_table.all_devices(result["devices"])
    if result["kind"] == "device":
        return device_table.one_device(result["device"])
    return device_table.this_machine(result["machine"])


def _place(profile: DeviceProfile) -> tuple[int, list[int], str]:
    """The place in the list: kinds, compute capabilities, families; a family in the order of its file."""
    capability = [int(number) for number in (profile.compute_capability or "0").split(".")]
    return _KINDS.index(profile.kind), capability, profile.family


def _brief(profile: DeviceProfile) -> dict[str, Any]:
    names = (
        "key",
        "family",
        "title",
        "kind",
        "memory_mib",
        "bandwidth_gb_s",
        "precisions",
        "compute_capability",
    )
    peaks = {precision: profile.peak(precision) for precision in PRECISIONS}
    return {
        **{name: getattr(profile, name) for name in names},
        "pays_off": profile.pays_off(),
        "peaks": {
            precision: {"unit": peak[0], "peak": peak[1], "unverified": peak[0] in profile.unverified_peaks}
            for precision, peak in peaks.items()
            if peak
        },
        "tensorrt": profile.software.get("tensorrt"),
    }


def _whole(profile: DeviceProfile) -> dict[str, Any]:
    return {
        **asdict(profile),
        "sources": {**profile.sources, **({"tensorrt": _TENSORRT} if profile.kind == "gpu" else {})},
        "peaks": profile.peaks,
        "unverified_peaks": sorted(profile.unverified_peaks),
        "pays_off": profile.pays_off(),
        "software": profile.software,
        "jetpack_releases": [asdict(release(version)) for version in profile.jetpacks],
        "runs_now_with": _runnable(profile),
    }


def _runnable(profile: DeviceProfile) -> list[str]:
    names = [name for name in profile.backends if name in BACKENDS.names()]
    return [name for name in names if name != "trt" or is_imported(profile.software)]
