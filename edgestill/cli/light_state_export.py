"""``edgestill export light-states``: the classifier of light states instead of a detector."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgestill.cli.options import engine
from edgestill.errors import UsageError
from edgestill.shipped import checkpoint_folder

if TYPE_CHECKING:
    from export.publish import ExportResult

#: The flags of the verb that mean something for the classifier; all others are refused.
FLAGS = frozenset(
    {
        *("help", "checkpoint", "to", "precision", "verify", "split", "images", "out", "name", "force"),
        *(
            "workspace_mib",
            "build_memory_mib",
            "device",
            "hardware",
            "version_compatible",
            "compute_capability",
        ),
        "profile_batch",
    }
)


def is_named(name: str) -> bool:
    """Whether CKPT names a classifier of light states: the shipped one, or an FP32 ``.onnx`` file of one."""
    path = checkpoint_folder(name)
    if path.suffix != ".onnx":
        return False
    from export.light_state_file import is_light_states  # noqa: PLC0415 (brings onnx)

    return is_light_states(path)


def run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[ExportResult, list[str]]:
    """Export the classifier; gives the files, and what is in doubt about them, as sentences.

    Args:
        args: The parsed arguments of the verb.
        parser: Knows the defaults of its flags.

    Raises:
        UsageError: A flag is for detectors only, or the precision is INT8 or bf16.
    """
    from export.light_state_file import LightStateJob, export_light_states  # noqa: PLC0415
    from export.verify.light_state_check import LabelledLights, LightStateCheck  # noqa: PLC0415
    from export.verify.source_check import comparison_doubts  # noqa: PLC0415

    _refuse_flags(args, parser)
    source = checkpoint_folder(args.checkpoint)
    job = LightStateJob(source=source, target=args.to, precision=args.precision, engine=engine.read(args))
    lights = args.verify and LabelledLights.open(args.verify, args.split, limit=args.images)
    made = export_light_states(
        job,
        args.out,
        args.name or f"{source.stem}-{args.precision}",
        check=LightStateCheck(lights, args.precision, device=args.device) if lights else None,
        force=args.force,
    )
    verified = (made.record.verify or {}).get("doubts", ())
    return made, [*(() if lights else comparison_doubts(None)), *verified, *made.doubts]


def _refuse_flags(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raise UsageError for INT8 and bf16, and for flags that the classifier has no use for."""
    if args.precision == "int8":
        raise UsageError(
            "no INT8 for the classifier of light states: convolutions are quantised with their SiLU here",
            hint="--precision fp16; the detector beside it may be INT8",
        )
    if args.precision == "bf16":
        raise UsageError("no bf16 for the classifier of light states", hint="--precision fp16")
    given = [
        action.option_strings[0]
        for action in parser._actions  # argparse has no public list
        if action.dest not in FLAGS and getattr(args, action.dest) != action.default
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)}: not for the classifier of light states",
            hint="leave it out; its input is a crop of 40x20, its batch is free",
        )
