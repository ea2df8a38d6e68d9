"""``edgestill estimate``: latency of models on a device that is not at hand, without a measurement."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgestill.cli.options import sizes
from edgestill.cli.options.model import model_file
from edgestill.errors import DeviceError, UsageError
from edgestill.files import refuse_overwrite
from edgestill.spec import PRECISIONS

SUMMARY = "Estimate the latency of models on a device that is not at hand (not a measurement)"
EXAMPLE = "edgestill estimate yolov5n --device jetson-orin-nano-super --precision fp16"
PLOT = Path("estimates.png")
PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        metavar="MODEL",
        help="name of a published model (yolov5n ... yolov5x6, yolov5nu, yolov8n, yolo11n, yolo26n, ...), "
        "ONNX file, checkpoint, or `student`",
    )
    add("--device", metavar="KEY", help="device to estimate for, see `edgestill devices`")
    add("--precision", choices=PRECISIONS, help="precision of weights and activations")
    add("--power-mode", metavar="NAME", help="power mode of a Jetson (default: the one of its highest clock)")
    add("--batch", type=int, default=1, metavar="N", help="images in one call (default 1)")
    add("--no-tf32", action="store_true", help="compute FP32 without TF32, as edgestill's FP32 engines do")
    sizes.add_argument(parser)
    add("--all", action="store_true", help="estimate for all devices, and draw the latencies")
    add("--out", type=Path, metavar="FILE.png", help=f"the plot of --all (default {PLOT})")
    add("--force", action="store_true", help="overwrite the plot if it exists")
    add(
        "--calibrate",
        nargs="+",
        type=Path,
        metavar="RESULT.json",
        help="results of `edgestill bench` on the device with TensorRT, at least three models: its estimates "
        "are corrected by them from now on",
    )
    add("--remove-calibration", action="store_true", help="forget the measurements of the device")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Estimate, calibrate, or remove a calibration."""
    if args.calibrate or args.remove_calibration:
        return _change_calibration(args)
    if not args.models or args.precision is None or args.all == (args.device is not None):
        raise UsageError(
            "an estimate needs a MODEL, --precision, and either --device or --all",
            hint="e.g. edgestill estimate yolov5n --device jetson-orin-nano --precision fp16",
        )
    if args.all and args.power_mode:
        raise UsageError("--power-mode is of one device, not of --all", hint="give --device instead")
    return _all_devices(args) if args.all else _one_device(args)


def show(result: dict[str, Any]) -> Any:
    """A table of the estimates, or a line on the calibration."""
    from rich.console import Group  # noqa: PLC0415 (for the terminal only)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if result["kind"] == "calibration":
        return Text("\n".join(f"{name}: {value}" for name, value in result.items() if name != "points"))
    found = result.get("estimates", [result])
    table = Table(title="Estimates, not measurements: milliseconds of one image")
    for name in ("model", "device", "precision", "estimate", "90 % interval", "images/s"):
        table.add_column(name, justify="right" if name in {"estimate", "images/s"} else "left")
    for one in found:
        table.add_row(
            *(one["model"], one["device"], f"{one['precision']}, batch {one['batch']}"),
            *(f"{one['latency_ms']:g}", f"{one['low_ms']:g} to {one['high_ms']:g}"),
            f"{1e3 / one['latency_ms']:.3g}",
        )
    one_device = len({one["device"] for one in found}) == 1
    lines = list(dict.fromkeys(n for one in found for n in one["basis"]["notes"])) if one_device else []
    lines += [f"covers: {found[0]['basis']['measures']}"] if found else []
    lines += [f"plot: {result['plot']}"] if result.get("plot") else []
    lines += [f"no estimate for {one['device']}: {one['why']}" for one in result.get("refused", [])]
    return Group(table, Text("\n".join(lines)))


def _one_device(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from benchmarks.estimate.calibration import load  # noqa: PLC0415
    from benchmarks.estimate.estimate import estimate  # noqa: PLC0415
    from devices.profile import load_profile  # noqa: PLC0415

    profile = load_profile(args.device)
    if args.power_mode:
        profile = profile.in_mode(args.power_mode)
    calibration = load(profile.key)
    found = [asdict(estimate(work, profile, _case(args), calibration)) for work in _works(args)]
    return found[0] if len(found) == 1 else {"kind": "estimates", "estimates": found}


def _all_devices(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from benchmarks.estimate.calibration import load  # noqa: PLC0415
    from benchmarks.estimate.estimate import estimate  # noqa: PLC0415
    from benchmarks.estimate.plot import draw  # noqa: PLC0415
    from devices.profile import load_profiles  # noqa: PLC0415

    out = args.out or PLOT
    if out.suffix not in PLOT_SUFFIXES:
        raise UsageError(f"--out {out} is no plot", hint=f"give a name in {', '.join(PLOT_SUFFIXES)}")
    refuse_overwrite(out, force=args.force)
    works, found, refused = _works(args), [], []
    for profile in load_profiles():
        try:
            calibration = load(profile.key)
            found += [estimate(work, profile, _case(args), calibration) for work in works]
        except DeviceError as error:  # noqa: PERF203 (a device is refused, not the others)
            refused.append({"device": profile.key, "why": error.what})
    draw(found, out, force=args.force)
    return {
        "kind": "estimates",
        "estimates": [asdict(one) for one in found],
        "refused": refused,
        "plot": str(out),
    }


def _case(args: argparse.Namespace) -> Any:
    from benchmarks.estimate.estimate import Case  # noqa: PLC0415

    if args.batch < 1:
        raise UsageError(f"--batch is {args.batch}", hint="a number of 1 or more")
    return Case(precision=args.precision, batch=args.batch, tf32=not args.no_tf32)


def _works(args: argparse.Namespace) -> list[Any]:
    from benchmarks.estimate.estimate import layers_of  # noqa: PLC0415
    from benchmarks.estimate.yolo_models import is_published  # noqa: PLC0415

    hw = sizes.chosen(args)
    return [
        layers_of(name, Path(name) if is_published(name) else model_file(name), args.precision, hw)
        for name in args.models
    ]


def _change_calibration(args: argparse.Namespace) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from benchmarks.estimate.bench_points import read_points  # noqa: PLC0415
    from benchmarks.estimate.calibration import calibrate, remove, save  # noqa: PLC0415
    from devices.profile import load_profile  # noqa: PLC0415

    if args.device is None or args.models or args.all or (args.calibrate and args.remove_calibration):
        raise UsageError(
            "a calibration needs --device KEY, and no MODEL or --all beside it",
            hint="edgestill estimate --device KEY --calibrate RESULT.json",
        )
    device = load_profile(args.device).key
    if args.remove_calibration:
        return {"kind": "calibration", "device": device, "removed": str(remove(device))}
    points, unusable = read_points(args.calibrate, device)
    calibration = calibrate(device, points)
    return {
        "kind": "calibration",
        **asdict(calibration),
        "unusable": unusable,
        "out": str(save(calibration)),
    }
