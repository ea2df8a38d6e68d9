"""What stderr gets beside errors: progress and notes, none of them, or the libraries' messages too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Verbosity:
    quiet: bool = False
    verbose: bool = False


_OF_THIS_PROCESS = _Verbosity()


def set_verbosity(*, quiet: bool = False, verbose: bool = False) -> None:
    """Choose for this process.

    Args:
        quiet: Neither progress nor notes.
        verbose: The libraries' own messages, too.
    """
    _OF_THIS_PROCESS.quiet, _OF_THIS_PROCESS.verbose = quiet, verbose


def is_quiet() -> bool:
    """Whether progress and notes are left out."""
    return _OF_THIS_PROCESS.quiet


def is_verbose() -> bool:
    """Whether the libraries' own messages are wanted."""
    return _OF_THIS_PROCESS.verbose
