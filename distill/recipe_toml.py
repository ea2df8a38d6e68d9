"""Recipes from TOML files: reading, ``--set key=value``, and typed dataclasses from tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from distill.recipe import METHODS, MethodConfig, Recipe
from edgestill.errors import UsageError, unknown_name
from edgestill.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"
LARGEST = 1 << 32  # of any number in a recipe: the seeds of random generators are below it

T = TypeVar("T")
_NAME = re.compile(r"""\"[^"]+"|'[^']+'|[^\s."'=]+""")
_SETTING = re.compile(
    rf"\s*(?P<key>(?:{_NAME.pattern})(?:\s*\.\s*(?:{_NAME.pattern}))*)\s*=(?P<value>.*)", re.DOTALL
)


def load_recipe(name: str, settings: Sequence[str] = (), data: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: A shipped recipe, or a TOML file.
        settings: ``key=value`` with dots into tables, e.g. ``methods.cwd.weight=2``; they override the file.
            Names may be in quotes, as in TOML.
        data: ``data.yaml`` files that replace those of the recipe.

    Raises:
        UsageError: The recipe does not exist, or a key or value is invalid.
    """
    stem, table = read_recipe(name)
    for setting in settings:
        override(table, setting)
    if data:
        table["data"] = list(data)
    return build_recipe(stem, table)


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """The name and the unchecked table of a shipped recipe or a TOML file.

    Raises:
        UsageError: The recipe does not exist, or is not TOML.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise unknown_name("recipe", name, recipe_names())
    return path.stem, read_toml(path, f"shipped recipes: {', '.join(recipe_names())}")


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: The file is missing or not TOML; it carries ``hint``.
    """
    try:
        table: dict[str, Any] = tomllib.loads(read_text(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist", hint=hint) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: TOML, UTF-8, and numbers too long
        raise UsageError(f"{path} is not a TOML file: {error}", hint=hint) from error
    return table


def override(table: dict[str, Any], setting: str) -> None:
    """Set one ``key=value`` in the table; a value that is not TOML is taken as a string.

    Raises:
        UsageError: The setting is not ``key=value``, or a part of the key is not a table.
    """
    parts, text = split_setting(setting)
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(
                f"--set {setting}: {part} is not a table", hint="dots separate the names of nested tables"
            )
    table[parts[-1]] = _value(setting, text)


def split_setting(setting: str) -> tuple[list[str], str]:
    """The names of ``key=value`` and its value; a name in quotes may hold dots, as in TOML.

    Raises:
        UsageError: The setting is not ``key=value``.
    """
    found = _SETTING.fullmatch(setting)
    if found is None:
        raise UsageError(
            f"--set {setting} is not key=value",
            hint="e.g. --set epochs=10; a name with a dot is in quotes: --set 'teachers.\"v6.1\"=runs/a'",
        )
    names = [name[1:-1] if name[0] in "\"'" else name for name in _NAME.findall(found["key"])]
    return names, found["value"].strip()


def _value(setting: str, text: str) -> Any:
    """The value of a setting: TOML, else the text itself if it does not look like a list, table or quote."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError) as error:  # no TOML, or a number of too many digits
        if text[:1] in {"[", "{", '"', "'"}:
            raise UsageError(
                f"--set {setting}: the value is not TOML: {error}",
                hint="""in single quotes for the shell, e.g. --set 'arms=["none", "default"]'""",
            ) from error
        return text
    return found["value"] if len(found) == 1 else text  # a line break may begin another key


def build_recipe(name: str, table: Mapping[str, Any]) -> Recipe:
    """Build a recipe from the table of a TOML file.

    Raises:
        UsageError: A key or value is invalid.
    """
    if "name" in table:
        raise UsageError(
            f"name = {table['name']!r} in recipe {name}",
            hint="remove the key: the name of the file is the name of the recipe",
        )
    methods = table.get("methods", {})
    if not isinstance(methods, dict):
        raise _mismatch("methods", "a table", methods)
    configs = {method: _method_config(method, settings) for method, settings in methods.items()}
    paths = {key: [table[key]] for key in ("data", "unlabelled") if isinstance(table.get(key), str)}
    return build(Recipe, {**table, **paths, **_late_augment(table), "name": name, "methods": configs}, "")


def _late_augment(table: Mapping[str, Any]) -> dict[str, Any]:
    """``augment_late`` of a recipe, completed by the keys of ``augment``; empty if the recipe has none."""
    late, augment = table.get("augment_late"), table.get("augment", {})
    if not isinstance(late, dict) or not isinstance(augment, dict):
        return {}  # refused when its type is checked
    if "at" not in late:
        raise UsageError(
            "augment_late without its first epoch",
            hint="--set augment_late.at=280 of 300 epochs, for example",
        )
    return {"augment_late": completed(late, augment)}


def completed(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """``table``, completed recursively by the keys of ``defaults`` that it lacks."""
    tables = {
        key: completed(table[key], value)
        for key, value in defaults.items()
        if isinstance(value, dict) and isinstance(table.get(key), dict)
    }
    return {**defaults, **table, **tables}


def _method_config(method: str, settings: Any) -> MethodConfig:
    """Build the settings of a method: the keys that all methods have, and those of its ``Config``."""
    where = f"methods.{method}"
    if not isinstance(settings, dict):
        raise _mismatch(where, "a table", settings)
    module = METHODS.load(method)
    shared = {f.name for f in fields(MethodConfig)} - {"config"}
    own = {f.name for f in fields(module.Config)}
    for key in settings:
        if key not in shared | own:
            raise unknown_name(f"key of [{where}]", key, shared | own)
    config = build(module.Config, {k: v for k, v in settings.items() if k in own}, where)
    return build(
        MethodConfig, {**{k: v for k, v in settings.items() if k in shared}, "config": config}, where
    )


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a table and check the type of each value.

    Args:
        cls: The dataclass; its fields are the keys.
        table: Values by key; a key with a default may be missing.
        where: Name of the table in the file; empty for the top level.

    Raises:
        UsageError: A key is unknown or missing, or a value has the wrong type.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # cls is always a dataclass
    for key in table:
        if key not in known:
            raise _unknown_key(f"key of [{where}]" if where else "recipe key", key, known)
    for key, f in known.items():
        if key not in table and f.default is MISSING and f.default_factory is MISSING:
            raise UsageError(f"{where or 'the recipe'} has no key {key}", hint=f"add {key} = ...")
    prefix = f"{where}." if where else ""
    return cls(**{key: _typed(hints[key], value, f"{prefix}{key}") for key, value in table.items()})


def _unknown_key(noun: str, key: str, known: Iterable[str]) -> UsageError:
    if key.partition(".")[0] in {*known}:
        return UsageError(
            f"no {noun} is called {key!r}: dots within quotes do not separate tables",
            hint=f"write {key} without quotes",
        )
    return unknown_name(noun, key, known)


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` converted to the type ``hint``; UsageError with the key if it has another type."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in {dict, Mapping} or _is_mapping(hint):
        if not isinstance(value, dict):
            raise _mismatch(where, "a table", value)
        return value
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise _mismatch(where, "a table", value)
        return build(hint, value, where)  # type: ignore[arg-type]  # a class, not an instance
    if origin is Literal:
        if value not in get_args(hint):
            raise _mismatch(where, " or ".join(map(str, get_args(hint))), value)
        return value
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin in {Union, UnionType}:
        raise TypeError(f"{where}: recipes do not support union types")
    wanted = (int, float) if hint is float else hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise _mismatch(
            where, {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text"), value
        )
    if hint in (int, float) and not abs(value) < LARGEST:  # NaN fails the comparison
        raise _mismatch(where, "a number of a size that can be meant", value)
    if hint is str and "\0" in str(value):
        raise _mismatch(where, "text without NUL", value)
    return hint(value)


def _is_mapping(hint: Any) -> bool:
    return getattr(get_origin(hint), "__name__", "") == "Mapping"


def _tuple(items: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    any_length = len(items) == 2 and items[1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not any_length and len(value) != len(items)):
        raise _mismatch(where, "a list" if any_length else f"a list of {len(items)}", value)
    hints = [items[0]] * len(value) if any_length else items
    return tuple(_typed(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True)))


def _mismatch(where: str, wanted: str, value: Any) -> UsageError:
    try:
        shown = repr(value)
    except ValueError:  # Python does not write out a number of more than 4300 digits
        shown = "a number of thousands of digits"
    return UsageError(f"{where} = {shown}", hint=f"{where} is {wanted}")
