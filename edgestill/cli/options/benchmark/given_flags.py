"""Which flags of ``edgestill bench`` were given, and which of them apply."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from edgestill.errors import UsageError


def flag(name: str) -> str:
    """The flag of an argument, e.g. ``--max-ms``."""
    return f"--{name.replace('_', '-')}"


def refuse_others(
    args: argparse.Namespace, parser: argparse.ArgumentParser, mode: str, applied: Collection[str], hint: str
) -> None:
    """Raise UsageError for a flag that does not apply, and would be ignored.

    Args:
        args: The parsed arguments.
        parser: The parser, which knows the defaults.
        mode: The flag that chose what is measured, for the message.
        applied: Names of the arguments that apply.
        hint: What to do instead.
    """
    defaults = vars(parser.parse_args([]))
    given = [name for name in defaults if name not in applied and getattr(args, name) != defaults[name]]
    if given:
        raise UsageError(f"{flag(given[0])} does not apply to {mode}", hint=hint)
