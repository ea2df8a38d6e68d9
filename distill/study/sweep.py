"""The ``[sweep]`` of a study: values by key of the recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from distill.recipe import METHODS
from edgestill.errors import UsageError

#: A name that can be part of a folder name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def dotted(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested tables by dotted key; a later spelling of a key replaces an earlier one."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def check_sweep(sweep: Mapping[str, Any]) -> None:
    """Refuse keys without a list of values, and methods that do not exist.

    Raises:
        UsageError: It names the key.
    """
    for key, values in sweep.items():
        if not isinstance(values, list) or not values:
            raise UsageError(
                f"sweep.{key} = {values!r}",
                hint="a list of values for a key of the recipe: --set 'sweep.methods.cwd.weight=[0.5, 1.0]'",
            )
        first, *rest = key.split(".")
        if first == "methods":
            METHODS.load(rest[0] if rest else "")


def applies(key: str, methods: Mapping[str, Any]) -> bool:
    """Whether a key concerns an arm with these methods."""
    first, _, rest = key.partition(".")
    return first != "methods" or rest.partition(".")[0] in methods


def put(table: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a value in nested tables."""
    for key in keys[:-1]:
        table = table.setdefault(key, {})
    table[keys[-1]] = value


def short_text(value: Any) -> str:
    """A value of the sweep in an arm's name; a list of equal ones is that one."""
    items = value if isinstance(value, list) else [value]
    texts = [f"{item:g}" if isinstance(item, float) else str(item).lower() for item in items]
    text = "-".join(texts if len(set(texts)) > 1 else texts[:1])
    if not NAME.fullmatch(text):
        raise UsageError(f"the value {value!r} in [sweep]", hint="numbers, words, true, false, lists of them")
    return text
