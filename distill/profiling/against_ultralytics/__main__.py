"""The command: ``python -m distill.profiling.against_ultralytics``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import distill.profiling.against_ultralytics
from devices.detect import detect
from devices.software import versions
from distill.profiling.against_ultralytics.arms import make_arms, peer_versions
from distill.profiling.against_ultralytics.compare import OURS, TrainingSpeed, alternate, kept, summary
from distill.profiling.against_ultralytics.neighbours import beside
from distill.profiling.against_ultralytics.setting import ComparisonSettings, write_images, write_teacher
from edgestill.errors import ToolchainError, UsageError
from edgestill.files import to_json_text

BUSY = ", busy"
LIBRARIES = ("torch", "openvino", "opencv-python")


Outcomes = Mapping[str, Sequence[TrainingSpeed]]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print the result as JSON.

    Returns:
        The exit code, as of ``edgestill``.
    """
    try:
        print(to_json_text(run(_arguments(argv))), flush=True)
    except ToolchainError as error:
        print(f"against_ultralytics: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compare as the flags say."""
    with TemporaryDirectory(prefix="against-") as name:
        folder = Path(name)
        theirs = peer_versions(args.peer_python, folder)
        data, classes = write_images(args.data, folder / "data", args.images)
        setting = ComparisonSettings(
            student=args.student,
            teacher=args.teacher,
            size=args.size,
            batch=args.batch,
            epochs=args.epochs,
            threads=args.threads or len(os.sched_getaffinity(0)),
            classes=classes,
            data=data,
        )
        write_teacher(setting, folder / "teacher")
        arms = make_arms(setting, folder / "teacher", args.peer_python, folder)
        # Quiet and busy trainings take turns, because the machine's speed changes in the course of minutes.
        disturbed = {f"{name}{BUSY}": beside(run, args.busy) for name, run in arms.items() if args.busy}
        outcomes = alternate({**arms, **disturbed}, args.rounds, folder)
    machine = detect()
    return {
        "pair": f"{args.student}u <- {args.teacher}u",
        **{key: getattr(args, key) for key in ("size", "batch", "images", "epochs", "rounds")},
        "busy_processes": args.busy,
        "machine": {"title": machine.title, "system": machine.system, "cpu": machine.cpu},
        "versions": {OURS: versions(LIBRARIES), "ultralytics": theirs},
        **_by_load({name: outcomes[name] for name in arms}, {name: outcomes[name] for name in disturbed}),
    }


def _by_load(quiet: Outcomes, busy: Outcomes) -> dict[str, Any]:
    """The summary of the quiet trainings, and that of the busy ones if there are some."""
    result = summary(quiet)
    if busy:
        plain = {name.removesuffix(BUSY): several for name, several in busy.items()}
        result["busy"] = {**summary(plain), "of_quiet_speed": kept(quiet, plain)}
    return result


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m distill.profiling.against_ultralytics",
        description=distill.profiling.against_ultralytics.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--peer-python", type=Path, required=True, help="Python of an environment with ultralytics"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DATA.yaml", help="what to train on")
    parser.add_argument("--student", default="yolov5n", help="architecture (default: %(default)s)")
    parser.add_argument("--teacher", default="yolov5s", help="architecture (default: %(default)s)")
    counts = {
        "size": (320, "side of the images, pixels"),
        "batch": (16, "images a step"),
        "images": (160, "images of the data to train on, at most"),
        "epochs": (3, "epochs of each training, 2 or more; the first does not count"),
        "rounds": (3, "how often all trainings run"),
        "busy": (0, "processes in an endless loop beside a second training of each kind; 0: none"),
        "threads": (0, "threads of the networks' arithmetic; 0: as many as there are cores"),
    }
    for flag, (default, text) in counts.items():
        parser.add_argument(
            f"--{flag}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    args = parser.parse_args(argv)
    for flag in counts:
        least = {"epochs": 2, "threads": 0, "busy": 0}.get(flag, 1)
        if getattr(args, flag) < least:
            raise UsageError(f"--{flag} {getattr(args, flag)}", hint=f"{least} or more")
    return args


if __name__ == "__main__":
    sys.exit(main())
