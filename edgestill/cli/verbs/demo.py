"""``edgestill demo``: every stage from rendered images to an annotated clip, and a report of the results.

Each step is a command of this program, run as a user would type it; the report lists all of them. The sizes
are chosen for three minutes on two CPU cores, see docs/results/demo.md.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from edgestill.errors import UsageError
from edgestill.files import write_bytes

EXAMPLE = "edgestill demo --out demo-out"
SUMMARY = "Run every stage on rendered street scenes: distil, export, verify, measure, annotate a clip"

SEED = 2026  # of the rendered scenes; the shipped weights were trained on scenes of other seeds
SIZE = "960x540"
#: Files of a folder that a demo wrote: the first is written at the start, the others by older versions.
MARKERS = (".edgestill-demo", "summary.json", "scenes/data.yaml")
FIRST = "first.jpg"
FIRST_SEED, CLIP_SEED = 11, 4  # scenes in which the lights are near enough to be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much the demo does.

    Attributes:
        scenes: Number of rendered images; split into 0.5 train, 0.1 val, 0.4 test.
        epochs: Of the distillation.
        calibration: Number of images that INT8 is calibrated on.
        compared: Number of test images that each file is compared with its checkpoint on.
        samples: Timed frames of each model.
        clip_s: Length of the clip, seconds.
    """

    scenes: int
    epochs: int
    calibration: int
    compared: int
    samples: int
    clip_s: int


FULL = Size(scenes=120, epochs=6, calibration=24, compared=32, samples=50, clip_s=4)
QUICK = Size(scenes=60, epochs=8, calibration=24, compared=24, samples=20, clip_s=1)


@dataclass(slots=True)
class Steps:
    """Runs commands and records them.

    Attributes:
        done: Command line and duration in seconds of each, in order.
    """

    done: list[tuple[str, float]] = field(default_factory=list)

    def run(self, title: str, *words: object) -> Any:
        """Run one command and return its result."""
        from edgestill.cli.main import call  # noqa: PLC0415 (main loads the verbs)
        from edgestill.progress import say  # noqa: PLC0415

        texts = [str(word) for word in words]
        line = shlex.join(["edgestill", *texts])
        say(f"\n[{len(self.done) + 1}] {title}\n    {line}")
        begin = perf_counter()
        result = call(texts)
        self.done.append((line, perf_counter() - begin))
        return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder (default demo-out)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer images and timed frames, for a quick try",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier demo in the folder")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run all steps and write ``report.html``, ``annotated.mp4`` and ``summary.json``."""
    _claim_folder(args.out, force=args.force)
    begin = perf_counter()
    steps = Steps()
    out, size = args.out, QUICK if args.quick else FULL
    _first_image(steps, out)
    data = out / "scenes" / "data.yaml"
    steps.run(
        "render street scenes with exact labels",
        *("data", "synth", "--out", out / "scenes", "--images", size.scenes, "--seed", SEED),
        *("--size", SIZE, "--splits", "0.5,0.1,0.4"),
    )
    distilled = steps.run(
        "distil: the shipped student gets a new detection head and learns from the shipped teacher",
        *("distill", "demo-new-head", "--data", data, "--out", out / "distilled"),
        *("--set", f"epochs={size.epochs}"),
    )
    best = out / "distilled" / "best"
    evals = [
        steps.run(f"score {what} on unseen scenes", "eval", name, "--data", data, "--split", "test")
        for what, name in (
            ("the teacher", "teacher"),
            ("the student before", out / "distilled" / "begin"),
            ("the student after distillation", best),
        )
    ]
    exports = [_export(steps, best, data, kind, size) for kind in KINDS]
    bench = _measure(steps, out, [_model_file(export) for export in exports], size)
    clip = _annotate_clip(steps, out, _model_file(exports[-1]), size)
    from edgestill.demo.demo_report import DemoResults, write_demo_report  # noqa: PLC0415 (imports OpenCV)

    results = DemoResults(
        steps=tuple(steps.done),
        distilled=distilled,
        evals=tuple(evals),
        exports=tuple(exports),
        bench=bench,
        clip=clip,
        seconds=perf_counter() - begin,
    )
    return write_demo_report(out, results)


MAIN_FILES = 3  # of those in the result: report, clip and summary

#: What is exported: target and precision, FP32 before INT8 of each target; the last file runs on the clip.
KINDS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8"))


def show(result: dict[str, Any]) -> Any:
    """The figures and the written files."""
    from rich.table import Table  # noqa: PLC0415 (for the terminal only)

    table = Table("", "", title="edgestill demo", show_header=False)
    for key, value in result["figures"].items():
        table.add_row(key.replace("_", " "), "-" if value is None else f"{value:g}")
    for name in result["files"][:MAIN_FILES]:
        table.add_row("written", name)
    table.add_row("and", f"{len(result['files']) - MAIN_FILES} more files, named in the last of these")
    return table


def _first_image(steps: Steps, out: Path) -> None:
    """Write an annotated image within seconds, so that there is something to see while the rest runs."""
    from edgestill.progress import say  # noqa: PLC0415

    steps.run(
        "render one street scene",
        *("data", "synth", "--out", out / "first", "--images", 1, "--seed", FIRST_SEED),
        *("--size", SIZE, "--splits", "0,0,1"),
    )
    image = next((out / "first" / "images" / "test").iterdir())
    steps.run("detect lights in it", "run", "student", "--source", image, "--save", out / FIRST)
    say(f"first annotated image: {out / FIRST}")


def _export(steps: Steps, checkpoint: Path, data: Path, kind: tuple[str, str], size: Size) -> Any:
    target, precision = kind
    out = checkpoint.parent.parent / "files"
    calibration = ("--calib", data, "--calib-images", size.calibration) if precision == "int8" else ()
    return steps.run(
        f"export to {target} in {precision}, and compare it with the checkpoint",
        *("export", checkpoint, "--to", target, "--precision", precision, *calibration),
        *("--verify", data, "--split", "test", "--images", size.compared, "--out", out),
    )


def _measure(steps: Steps, out: Path, files: Sequence[Path], size: Size) -> Any:
    """Time the exported files in turns."""
    images = out / "scenes" / "images" / "test"
    return steps.run(
        "measure FP32 and INT8, interleaved",
        *("bench", *files, "--interleave", "--source", images),
        *("--min-samples", size.samples, "--duration-s", 0, "--out", out / "bench.json"),
    )


def _annotate_clip(steps: Steps, out: Path, model: Path, size: Size) -> Any:
    """Render a drive, and run a model on it."""
    drive = out / "drive.mp4"
    steps.run(
        "render a drive",
        *("data", "clip", "--out", drive, "--seconds", size.clip_s),
        *("--size", SIZE, "--seed", CLIP_SEED),
    )
    return steps.run(
        "detect, track and annotate the lights in it, with the INT8 file",
        *("run", model, "--source", drive, "--track", "--save", out / "annotated.mp4"),
    )


def _model_file(export: Any) -> Path:
    """The file of an export that a backend opens."""
    return next(Path(f) for f in export["files"] if Path(f).suffix in {".onnx", ".xml"})


def _claim_folder(out: Path, *, force: bool) -> None:
    """Mark a folder as the demo's; with ``force`` remove an earlier demo, and nothing that is none."""
    if out.exists() and any(out.iterdir()):
        if not force:
            raise UsageError(f"{out} is not empty", hint="name another folder with --out, or add --force")
        if not any((out / name).exists() for name in MARKERS):
            raise UsageError(f"{out} was not written by a demo", hint="name another folder with --out")
        shutil.rmtree(out)
    write_bytes(out / MARKERS[0], b"")
