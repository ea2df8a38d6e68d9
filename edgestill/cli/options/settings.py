"""The arguments that ``distill`` and ``study`` share: a TOML file, and changes to it."""

from __future__ import annotations

import argparse
import json
from importlib.resources import files


def add_arguments(parser: argparse.ArgumentParser, kind: str, folder: str, changed: str) -> None:
    """Declare the positional argument, ``--data`` and ``--set``.

    Args:
        parser: The parser of the verb.
        kind: ``recipe`` or ``study``.
        folder: The folder of distill/ with the shipped files.
        changed: What a KEY of ``--set`` may be.
    """
    shipped = sorted(file.name.removesuffix(".toml") for file in files("distill").joinpath(folder).iterdir())
    parser.add_argument(
        kind, metavar=kind.upper(), help=f"a TOML file, or a shipped {kind}: {', '.join(shipped)}"
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="DATA.yaml",
        help=f"data set to train on, instead of those of the {kind}; may be repeated",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help=f"override a key of the {kind}: {changed}; may be repeated",
    )


def with_init(args: argparse.Namespace) -> list[str]:
    """The changes of ``--init`` and ``--set``, in this order."""
    init = [] if args.init is None else [f"student.init={json.dumps(args.init)}"]
    return [*init, *args.settings]
