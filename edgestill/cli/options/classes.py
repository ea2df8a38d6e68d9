"""``--classes``: the classes of a model that are kept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from edgestill.errors import UsageError, closest


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--classes``."""
    parser.add_argument(
        "--classes",
        metavar="A,B",
        help="keep only detections of these classes of the model, by name or id (default: all)",
    )


def chosen(text: str | None, classes: Sequence[str]) -> frozenset[int] | None:
    """The class ids of ``--classes``; None if it was not given.

    A name that is the whole text may have commas in it. Names win over ids, and equal case over other case.

    Args:
        text: Names or ids, separated by commas.
        classes: Class names of the model.

    Raises:
        UsageError: There is no such class.
    """
    if text is None:
        return None
    words = [text] if text in classes else [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UsageError("--classes names no class", hint=f"classes of the model: {', '.join(classes)}")
    return frozenset(k for word in words for k in _ids(word, classes))


def _ids(word: str, classes: Sequence[str]) -> list[int]:
    for found in (
        [k for k, name in enumerate(classes) if name == word],
        [k for k, name in enumerate(classes) if name.casefold() == word.casefold()],
        [k for k in range(len(classes)) if str(k) == word],
    ):
        if found:
            return found
    close = closest(word, classes)
    guess = f"did you mean {close!r}? " if close else ""
    raise UsageError(
        f"the model has no class {word!r}", hint=f"{guess}classes of the model: {', '.join(classes)}"
    )
