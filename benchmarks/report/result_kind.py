"""The kind of a result file: stated in its ``kind``, or derived from its keys."""

from __future__ import annotations

from collections.abc import Mapping

from edgestill.errors import DataError

HINT = "give files that edgestill wrote with --out, or its redirected output"

#: Keys that only a result of that kind has, checked in this order.
_KEYS = {
    "safety": {"models", "lights", "colours"},
    "bench": {"models", "scenario"},
    "offline": {"models", "scenario"},
    "mlperf": {"models", "scenario"},
    "compare": {"comparisons"},
    "distill": {"best", "history"},
    "export": {"files", "precision_proved"},
    "verify": {"matched", "reference_sure"},
    "eval": {"map50", "per_class"},
    "suite": {"cells", "fronts"},
    "peers": {"rows", "rounds_done"},
}


def kind_of(result: object, name: str = "this") -> str:
    """The kind of a result.

    One of ``bench`` (with all scenarios but ``offline``), ``offline``, ``mlperf``, ``safety``, ``compare``,
    ``distill``, ``eval``, ``export``, ``peers``, ``suite``, ``verify``, ``other``.

    Args:
        result: The content of a file.
        name: Its name, for the message.

    Raises:
        DataError: It is not a JSON object, or is empty.
    """
    if not isinstance(result, Mapping) or not result:
        found = "empty" if isinstance(result, Mapping) else type(result).__name__
        raise DataError(f"{name} is no result: a result is a JSON object, this is {found}", hint=HINT)
    stated = result.get("kind")
    if isinstance(stated, str) and stated in _KEYS:
        return stated
    return next((kind for kind, keys in _KEYS.items() if keys <= set(result)), "other")


def refuse_incomplete(result: object, name: str) -> None:
    """Raise DataError, with the name of the file, if a result lacks the keys of its kind."""
    kind = kind_of(result, name)
    missing = sorted(_KEYS.get(kind, set()) - set(result if isinstance(result, Mapping) else ()))
    if missing:
        raise DataError(f"{name} is not a whole result of {kind}: no {', '.join(missing)}", hint=HINT)
