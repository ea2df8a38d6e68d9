"""A model with other classes than the data set: which of its classes is scored against which labels.

An entry is ``MODEL CLASS=DATA CLASS[,DATA CLASS...]``. As in the class maps of ``edgestill data convert``,
``*`` is any class that no entry names, and names are compared without case. Classes that share an entry,
directly or over others, are scored as one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.boxes import nms
from edgestill.detections import Detections
from edgestill.errors import UsageError, closest
from edgestill.files import read_text
from runtime.metrics.coco import Truth

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ANY, NONE = "*", -1
TABLE = "classes"  # of a TOML file
FORM = (
    "'MODEL CLASS=DATA CLASS', e.g. 'traffic light=*' or 'car=car,van'; or a TOML file with a table [classes]"
)

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassMap:
    """The classes that are scored, and what belongs to each.

    Attributes:
        classes: Their names.
        of_model: The scored class of each class of the model, or ``NONE``; int64 ``[model classes]``.
        of_data: The same for the classes of the data set.
    """

    classes: tuple[str, ...]
    of_model: Ids
    of_data: Ids

    def detections(self, found: Detections, *, iou: float) -> Detections:
        """The detections with scored class ids. Boxes of classes that became one go through NMS again.

        Args:
            found: In any order.
            iou: IoU threshold of that NMS.
        """
        class_id = self.of_model[found.class_id]
        keep = np.flatnonzero(class_id != NONE)
        mapped = Detections(found.xyxy[keep], found.score[keep], class_id[keep])
        merged = np.flatnonzero(np.bincount(self.of_model[self.of_model != NONE], minlength=1) > 1)
        if not len(merged) or not len(mapped):
            return mapped
        kept = [np.flatnonzero(~np.isin(mapped.class_id, merged))]
        for k in merged:
            own = np.flatnonzero(mapped.class_id == k)
            kept.append(own[nms(mapped.xyxy[own], mapped.score[own], iou, len(own))])
        rows = np.concatenate(kept)
        return mapped.where(rows[np.argsort(-mapped.score[rows], kind="stable")])

    def truth(self, truth: Truth) -> Truth:
        """The labels with scored class ids, without those that are left out."""
        class_id = self.of_data[truth.class_id]
        keep = class_id != NONE
        return Truth(truth.xyxy[keep], class_id[keep])

    def left_out(self, truths: Sequence[Truth], model: Sequence[str], data: Sequence[str]) -> tuple[str, ...]:
        """Sentences about what is not scored: labels, with their number, and classes of the model."""
        ids = np.concatenate([np.zeros(0, np.int64), *(truth.class_id for truth in truths)])
        counts = np.bincount(ids, minlength=len(data))
        labels = [
            f"{name} {counts[k]}" for k, name in enumerate(data) if self.of_data[k] == NONE and counts[k]
        ]
        classes = [name for k, name in enumerate(model) if self.of_model[k] == NONE]
        about_labels = (
            f"labels that the class map leaves out, on which a detection is false: {', '.join(labels)}"
        )
        about_classes = f"classes of the model that the class map leaves out: {', '.join(classes)}"
        return tuple(text for text, there in ((about_labels, labels), (about_classes, classes)) if there)

    def to_json(self, model: Sequence[str], data: Sequence[str]) -> dict[str, Any]:
        """By scored class, the classes of the model and of the data set that belong to it."""
        return {
            name: {
                "model": _members(model, self.of_model, k),
                "data": _members(data, self.of_data, k),
            }
            for k, name in enumerate(self.classes)
        }


def single_class(model: Sequence[str], data: Sequence[str]) -> ClassMap:
    """All classes of both as one, ``object``."""
    zeros = np.zeros(len(model), np.int64), np.zeros(len(data), np.int64)
    return ClassMap(classes=("object",), of_model=zeros[0], of_data=zeros[1])


def read_class_map(texts: Iterable[str], model: Sequence[str], data: Sequence[str]) -> ClassMap:
    """A class map from the command line.

    Args:
        texts: ``MODEL CLASS=DATA CLASS,...``, or TOML files with these pairs in a table ``[classes]``.
        model: Class names of the model.
        data: Class names of the data set.

    Raises:
        UsageError: An entry has another form, or names a class that there is not.
    """
    entries: list[tuple[str, list[str]]] = []
    for text in texts:
        if text.endswith(".toml") and ("=" not in text or Path(text).is_file()):
            entries += _of_file(Path(text), data)
        else:
            entries.append(_of_text(text, model, data))
    return _grouped(entries, model, data)


def proposal(model: Sequence[str], data: Sequence[str]) -> str:
    """The hint for class lists that differ: class maps that may be meant."""
    by_folded = {name.casefold(): name for name in data}
    same = [f"'{name}={by_folded[name.casefold()]}'" for name in model if name.casefold() in by_folded]
    pairs = same[:3] or [f"'{model[0]}=*'"]
    more = " ..." if len(same) > len(pairs) else ""
    flags = " ".join(f"--class-map {pair}" for pair in pairs)
    return f"map the model's classes to those of the data, e.g. {flags}{more}; or score with --single-class"


def _of_text(text: str, model: Sequence[str], data: Sequence[str]) -> tuple[str, list[str]]:
    """An entry; of several ``=`` the last one behind a class of the model separates."""
    cuts = [k for k, sign in enumerate(text) if sign == "="]
    if not cuts:
        raise UsageError(f"--class-map {text} is not MODEL CLASS=DATA CLASS", hint=f"write {FORM}")
    known = {name.casefold() for name in model}
    cut = next((k for k in reversed(cuts) if _unquoted(text[:k]).casefold() in known), cuts[0])
    return _unquoted(text[:cut]), _names(text[cut + 1 :], data)


def _names(text: str, data: Sequence[str]) -> list[str]:
    """Names separated by commas, or one that is a class as a whole."""
    whole = _unquoted(text)
    if whole.casefold() in {name.casefold() for name in data}:
        return [whole]
    return [name for part in text.split(",") if (name := _unquoted(part))]


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _of_file(path: Path, data: Sequence[str]) -> list[tuple[str, list[str]]]:
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: TOML, UTF-8, and numbers too long
        raise UsageError(
            f"--class-map {path} is not a readable TOML file: {error}", hint=f"write {FORM}"
        ) from error
    table = content.get(TABLE)
    if not isinstance(table, Mapping) or not table or set(content) != {TABLE}:
        raise UsageError(
            f"{path} is not one table [{TABLE}]", hint='e.g. [classes] and "traffic light" = "*"'
        )
    entries = []
    for name, value in table.items():
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not values or not all(isinstance(one, str) for one in values):
            raise UsageError(
                f"{name} in {path} is not a class or a list of classes", hint='e.g. ["red", "green"]'
            )
        entries.append((name, values))
    return entries


def _grouped(entries: Sequence[tuple[str, list[str]]], model: Sequence[str], data: Sequence[str]) -> ClassMap:
    """The map of entries: the connected parts of the graph between the classes of both."""
    named_model = {_index(name, model, "model") for name, _ in entries if name != ANY}
    named_data = {_index(name, data, "data set") for _, names in entries for name in names if name != ANY}
    of_model, of_data = np.full(len(model), NONE), np.full(len(data), NONE)
    for k, (name, names) in enumerate(entries):
        ours = _ids(name, model, "model", named_model)
        theirs = [i for one in names for i in _ids(one, data, "data set", named_data)]
        if not ours or not theirs:
            raise UsageError(
                f"--class-map {name}={','.join(names)} maps nothing",
                hint=f"* is any class that no entry names; write {FORM}",
            )
        earlier = {int(g) for g in (*of_model[ours], *of_data[theirs]) if g != NONE}
        of_model[ours], of_data[theirs] = k, k
        for group in earlier:
            of_model[of_model == group] = k
            of_data[of_data == group] = k
    groups = sorted({int(g) for g in of_data if g != NONE}, key=lambda g: int(np.argmax(of_data == g)))
    scored = _group_names(groups, of_model, of_data, model, data)
    number = {NONE: NONE, **{group: k for k, group in enumerate(groups)}}
    return ClassMap(
        classes=scored,
        of_model=np.array([number[int(g)] for g in of_model], np.int64),
        of_data=np.array([number[int(g)] for g in of_data], np.int64),
    )


def _group_names(
    groups: Sequence[int], of_model: Ids, of_data: Ids, model: Sequence[str], data: Sequence[str]
) -> tuple[str, ...]:
    """The data's name of a group of one label class, else the names of the model's classes."""
    found: list[str] = []
    for group in groups:
        labels = _members(data, of_data, group)
        found.append(labels[0] if len(labels) == 1 else "+".join(_members(model, of_model, group)))
    return tuple(f"{name} ({k})" if found.count(name) > 1 else name for k, name in enumerate(found))


def _members(classes: Sequence[str], groups: Ids, group: int) -> list[str]:
    """The names of the classes of a group."""
    return [name for name, its in zip(classes, groups.tolist(), strict=True) if its == group]


def _ids(name: str, classes: Sequence[str], of_what: str, named: set[int]) -> list[int]:
    if name == ANY:
        return [k for k in range(len(classes)) if k not in named]
    return [_index(name, classes, of_what)]


def _index(name: str, classes: Sequence[str], of_what: str) -> int:
    """The id of a class, of equal case first."""
    if name in classes:
        return classes.index(name)
    folded = [one.casefold() for one in classes]
    if name.casefold() in folded:
        return folded.index(name.casefold())
    close = closest(name, classes)
    guess = f"did you mean {close!r}? " if close else ""
    raise UsageError(
        f"--class-map: the {of_what} has no class {name!r}", hint=f"{guess}its classes: {', '.join(classes)}"
    )
