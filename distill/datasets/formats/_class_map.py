"""Class maps: the class of each object of a source. TOML, one table for each kind of labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.datasets.formats._records import SourceDataset, UnreadableError, UnusableError
from edgestill.errors import UsageError, unknown_name
from edgestill.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "class_maps"
ANY = "*"
HINT = "docs/reference/datasets.md shows how a class map is written"
V1_HINT = (
    "use the labels of version 2 (JSON), or write a class map with a table [dtld_v1], "
    "see docs/reference/datasets.md"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRule:
    """The classes of one kind of labels. Values are compared without case.

    Attributes:
        by: The tag that determines the class.
        classes: Class id by value of that tag; ``*`` is any value that is not named.
        drop: Objects that are skipped whatever their class: values by tag.
    """

    by: str
    classes: Mapping[str, int]
    drop: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def class_id(self, tags: Mapping[str, str]) -> int:
        """The class of an object.

        Raises:
            UnreadableError: It lacks the tag.
            UnusableError: It has none.
        """
        for key, values in self.drop.items():
            if tags.get(key, "").strip().casefold() in values:
                raise UnusableError(f"dropped by the class map: {key} {tags[key]}")
        if self.by not in tags:
            raise UnreadableError(f"it has no {self.by}")
        value = tags[self.by].strip().casefold()
        found = self.classes.get(value, self.classes.get(ANY))
        if found is None:
            raise UnusableError(f"no class for {self.by} {tags[self.by]}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """A class map.

    Attributes:
        name: Its file without ``.toml``.
        classes: Class names; the position is the class id.
        rules: By kind of labels.
    """

    name: str
    classes: tuple[str, ...]
    rules: Mapping[str, ClassRule]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, the same for the same map."""
        rules = {
            key: {
                "by": rule.by,
                "classes": dict(sorted(rule.classes.items())),
                "drop": {tag: sorted(values) for tag, values in sorted(rule.drop.items())},
            }
            for key, rule in sorted(self.rules.items())
        }
        return {"names": list(self.classes), "rules": rules}

    def rule_for(self, source: SourceDataset) -> ClassRule:
        """The rule for the labels of a source.

        Raises:
            UsageError: The map has none.
        """
        if source.dialect in self.rules:
            return self.rules[source.dialect]
        known = ", ".join(self.rules)
        hint = V1_HINT if source.dialect == "dtld_v1" else f"it maps {known}; {HINT}"
        raise UsageError(
            f"the class map {self.name} has no table [{source.dialect}]"
            + (": what its digits mean is documented in two ways" if source.dialect == "dtld_v1" else ""),
            hint=hint,
        )


def class_map_names() -> list[str]:
    """The class maps that ship with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_class_map(name: str) -> ClassMap:
    """Read a class map.

    Args:
        name: A shipped one, or a TOML file.

    Raises:
        UsageError: There is none of that name, or it is not a valid class map.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
        if not path.is_file():
            raise unknown_name("class map", name, class_map_names())
    try:
        table = tomllib.loads(read_text(path))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} does not exist", hint=f"shipped: {', '.join(class_map_names())}; {HINT}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: TOML, UTF-8, and numbers too long
        raise UsageError(f"{path} is not a TOML file: {error}", hint=HINT) from error
    return _parse(path, table)


def own_classes(source: SourceDataset, by: str, drop: Mapping[str, Sequence[str]]) -> ClassMap:
    """A map that keeps the classes of the source as they are."""
    names: dict[str, str] = {}
    for name in source.categories:
        first = names.setdefault(name.casefold(), name)
        if first != name:
            source.warnings.append(f"the classes {first!r} and {name!r} are one: case does not matter")
    dropped = {key: frozenset(v.casefold() for v in values) for key, values in drop.items()}
    rule = ClassRule(by=by, classes={key: i for i, key in enumerate(names)}, drop=dropped)
    return ClassMap(name="", classes=tuple(names.values()), rules={source.dialect: rule})


def _parse(path: Path, table: Mapping[str, Any]) -> ClassMap:
    names = table.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UsageError(f"{path} has no names", hint='begin it with names = ["red", "green"]')
    if len(set(names)) < len(names):
        raise UsageError(f"{path} has a name twice: {', '.join(names)}", hint=HINT)
    rules = {key: _rule(path, key, names, value) for key, value in table.items() if key != "names"}
    if not rules:
        raise UsageError(f"{path} maps no kind of labels", hint="add a table such as [dtld] or [voc]")
    return ClassMap(name=path.stem, classes=tuple(names), rules=rules)


def _rule(path: Path, key: str, names: Sequence[str], table: Any) -> ClassRule:
    where = f"[{key}] in {path}"
    if not isinstance(table, dict):
        raise UsageError(f"{key} in {path} is not a table", hint=HINT)
    for word in table:
        if word not in {"by", "classes", "drop"}:
            raise unknown_name(f"key of {where}", word, ("by", "classes", "drop"))
    by, classes, drop = table.get("by"), table.get("classes"), table.get("drop", {})
    if not isinstance(by, str) or not isinstance(classes, dict) or not classes:
        raise UsageError(f"{where} lacks by or classes", hint=HINT)
    ids: dict[str, int] = {}
    for value, target in classes.items():
        if target not in names:
            raise unknown_name(f"class of {where}", str(target), names)
        if ids.setdefault(value.casefold(), names.index(target)) != names.index(target):
            raise UsageError(f"{where} gives {value!r} two classes", hint="upper and lower case are the same")
    if not isinstance(drop, dict) or not all(_is_list_of_strings(values) for values in drop.values()):
        raise UsageError(f"drop of {where} is not a table of lists", hint='e.g. drop.direction = ["back"]')
    dropped = {tag: frozenset(v.casefold() for v in values) for tag, values in drop.items()}
    return ClassRule(by=by, classes=ids, drop=dropped)


def _is_list_of_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)
