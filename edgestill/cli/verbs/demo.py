"""``edgestill demo``: the whole line on embedded data, command by command, and a report of what came out.

Every step is a command of this program, run as a person would type it; the report shows them all.
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

SUMMARY = "Run the whole line on embedded data: distil, export, verify, measure, annotate a clip"

SEED = 2026  # of the rendered scenes; the shipped weights were trained on others
MARKER = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much the demo does.

    Attributes:
        scenes: Rendered images; splits 0.36 train, 0.14 val, 0.5 test.
        epochs: Of the distillation.
        samples: Timed frames a model; 459 is the least that supports a p99.
        clip_s: Seconds of the clip.
    """

    scenes: int
    epochs: int
    samples: int
    clip_s: int


FULL = Size(scenes=300, epochs=6, samples=460, clip_s=8)
QUICK = Size(scenes=60, epochs=1, samples=60, clip_s=2)


@dataclass(slots=True)
class Steps:
    """Runs commands and remembers them.

    Attributes:
        done: Command line and seconds of each, in order.
    """

    done: list[tuple[str, float]] = field(default_factory=list)

    def run(self, title: str, *words: object) -> Any:
        """Run one command and give its result."""
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
    parser.add_argument("--quick", action="store_true", help="a fifth of everything: no measurement")
    parser.add_argument("--force", action="store_true", help="replace a demo in that folder")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run all steps and write ``report.html``, ``annotated.mp4`` and ``summary.json``."""
    _claim(args.out, force=args.force)
    begin = perf_counter()
    steps = Steps()
    out, size = args.out, QUICK if args.quick else FULL
    data = out / "scenes" / "data.yaml"
    steps.run(
        "render street scenes",
        *("data", "synth", "--out", out / "scenes", "--images", size.scenes, "--seed", SEED),
        *("--size", "960x540", "--splits", "0.36,0.14,0.5"),
    )
    distilled = steps.run(
        "distil: the shipped student goes on learning from the shipped teacher",
        *("distill", "demo", "--data", data, "--out", out / "distilled"),
        *("--set", f"epochs={size.epochs}"),
    )
    best = out / "distilled" / "best"
    evals = [
        steps.run(f"score {name} on unseen scenes", "eval", name, "--data", data, "--split", "test")
        for name in ("teacher", "student", best)
    ]
    exports = [_export(steps, best, data, kind) for kind in KINDS]
    bench = steps.run(
        "measure FP32 against INT8, taking turns",
        *("bench", *_benched(exports), "--interleave", "--source", out / "scenes" / "images" / "test"),
        *("--min-samples", size.samples, "--duration-s", 0, "--out", out / "bench.json"),
    )
    int8 = _model_file(exports[-1])
    steps.run(
        "render a drive",
        *("data", "clip", "--out", out / "drive.mp4", "--seconds", size.clip_s, "--size", "960x540"),
    )
    clip = steps.run(
        "find, follow and tell the lights in it, with the INT8 file",
        *("run", int8, "--source", out / "drive.mp4", "--track", "--save", out / "annotated.mp4"),
    )
    from edgestill.demo.demo_report import Story, write_story  # noqa: PLC0415 (draws)

    story = Story(
        steps=tuple(steps.done),
        distilled=distilled,
        evals=tuple(evals),
        exports=tuple(exports),
        bench=bench,
        clip=clip,
        seconds=perf_counter() - begin,
    )
    return write_story(out, story)


#: What is exported: target and precision; the last one runs on the clip.
KINDS = (
    ("onnx", "fp32"),
    ("onnx", "fp16"),
    ("onnx", "int8"),
    ("openvino", "fp32"),
    ("openvino", "fp16"),
    ("openvino", "int8"),
)


def show(result: dict[str, Any]) -> Any:
    """What came out, in a few rows."""
    from rich.table import Table  # noqa: PLC0415 (only a person needs it)

    table = Table("", "", title="edgestill demo", show_header=False)
    for key, value in result["figures"].items():
        table.add_row(key.replace("_", " "), "-" if value is None else f"{value:g}")
    for name in result["files"]:
        table.add_row("written", name)
    return table


def _export(steps: Steps, checkpoint: Path, data: Path, kind: tuple[str, str]) -> Any:
    target, precision = kind
    out = checkpoint.parent.parent / "files"
    calibration = ("--calib", data) if precision == "int8" else ()
    return steps.run(
        f"export to {target} in {precision}, and compare it with its source",
        *("export", checkpoint, "--to", target, "--precision", precision, *calibration),
        *("--verify", data, "--split", "test", "--out", out),
    )


def _benched(exports: Sequence[Any]) -> list[Path]:
    """The FP32 and INT8 files of both backends."""
    pairs = zip(KINDS, exports, strict=True)
    return [_model_file(export) for (_, precision), export in pairs if precision in {"fp32", "int8"}]


def _model_file(export: Any) -> Path:
    """The one of an export's files that a backend opens."""
    return next(Path(f) for f in export["files"] if Path(f).suffix in {".onnx", ".xml"})


def _claim(out: Path, *, force: bool) -> None:
    """Make room for the output, and never remove a folder that no demo wrote."""
    if not out.exists() or not any(out.iterdir()):
        return
    if not force:
        raise UsageError(f"{out} is not empty", hint="name another folder with --out, or add --force")
    if not (out / MARKER).exists() and not (out / "scenes" / "data.yaml").exists():
        raise UsageError(f"{out} holds something that no demo wrote", hint="name another folder with --out")
    shutil.rmtree(out)
