"""``data.yaml`` in the forms that YOLOv5, the ``ultralytics`` package and Roboflow write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from edgestill.dataset_files.image_folder import kind_of
from edgestill.errors import DataError
from edgestill.files import is_text, read_text

HINT = "a data.yaml holds path, train, val, test and names; `edgestill data synth` writes one"
SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
UP = "../"


class _Loader(yaml.SafeLoader):
    """The safe loader, but ``off``, ``on``, ``yes`` and ``no`` are strings: ``off`` is a class name."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML declares it, and not as ClassVar)
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; ConstructorError if a key is there twice, where PyYAML keeps the last."""
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((value for tag, value in keys if keys.count((tag, value)) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is there twice", node.start_mark)
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class DataYaml:
    """The content of a ``data.yaml``.

    Attributes:
        classes: Class names; the position is the class id.
        root: The folder of the data set.
        splits: Image folders, lists of images and images by split name (``train``, ``val``, ``test``).
        keypoint_columns: Columns of keypoints in a row of a label file for poses; 0 for boxes.
        has_download: Whether it has a ``download`` entry, which is never run.
        notes: What a person should know about how the paths were read.
    """

    classes: tuple[str, ...]
    root: Path
    splits: Mapping[str, tuple[Path, ...]]
    keypoint_columns: int
    has_download: bool
    notes: tuple[str, ...]


def read_data_yaml(path: Path) -> DataYaml:
    """Parse a ``data.yaml``.

    Raises:
        DataError: It is missing, not YAML, lacks names or splits, or contradicts itself.
    """
    data = _load(path)
    classes = _classes(data.get("names"), data.get("nc"), path)
    roots, notes = _roots(data.get("path"), path)
    splits = {}
    for split, keys in SPLITS.items():
        texts = next((found for key in keys if (found := _texts(data.get(key), key, path))), [])
        if texts:
            splits[split] = tuple(_resolve(text, roots) for text in texts)
    if not splits:
        raise DataError(f"{path} has none of train, val, test", hint=HINT)
    return DataYaml(
        classes=classes,
        root=roots[0],
        splits=splits,
        keypoint_columns=_keypoint_columns(data.get("kpt_shape"), path),
        has_download=bool(data.get("download")),
        notes=notes,
    )


def _load(path: Path) -> dict[Any, Any]:
    if kind_of(path) == "folder":
        inside = sorted((*path.glob("*.yaml"), *path.glob("*.yml")))
        hint = f"give {inside[0]}" if inside else "give the data.yaml of the data set"
        raise DataError(f"{path} is a folder", hint=hint)
    try:
        data = yaml.load(read_text(path), _Loader)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", hint=HINT) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not readable YAML: {error}", hint=HINT) from error
    if not isinstance(data, dict):
        raise DataError(f"{path} names no classes", hint=HINT)
    return data


def _classes(names: object, nc: object, path: Path) -> tuple[str, ...]:
    if names is None and nc is not None:
        raise DataError(
            f"{path} says nc: {nc} and names no classes", hint=f"add names: a list of {nc} class names"
        )
    if isinstance(names, dict):
        names = _in_order(names, path)
    if not isinstance(names, list) or not names:
        raise DataError(f"{path} names no classes", hint=HINT)
    for class_id, name in enumerate(names):
        if not isinstance(name, (str, int, float)) or not str(name).strip():
            raise DataError(
                f"{path} has no plain name for class {class_id}: {name!r}", hint="write each name in quotes"
            )
    classes = tuple(str(name) for name in names)
    if odd := [name for name in classes if not is_text(name)]:
        raise DataError(f"{path} has a class name that is no text: {odd[0]!r}", hint=HINT)
    equal = [name for name in classes if classes.count(name) > 1]
    if equal:
        raise DataError(
            f"{path} names {equal.count(equal[0])} classes {equal[0]!r}",
            hint="give each class a name of its own, or merge them in the label files",
        )
    if nc is not None and _whole(nc) != len(classes):
        raise DataError(
            f"{path} says nc: {nc} and names {len(classes)} classes", hint="make nc and names agree"
        )
    return classes


def _in_order(names: Mapping[Any, Any], path: Path) -> list[Any]:
    """The names of a mapping from class ids, which are numbers or all of them text."""
    kinds = {type(key) for key in names}
    if not kinds <= {int} and not kinds <= {str}:
        raise DataError(
            f"{path} mixes numbers and text in the class ids of names: {', '.join(map(repr, names))}",
            hint="write all class ids without quotes",
        )
    ids = [_whole(key) for key in names]
    by_id = dict(zip(ids, names.values(), strict=True))
    if set(by_id) != set(range(len(names))):
        raise DataError(
            f"{path} numbers its classes {', '.join(map(str, names))}, not 0 to {len(names) - 1}", hint=HINT
        )
    return [by_id[class_id] for class_id in range(len(names))]


def _whole(value: object) -> int | None:
    """A whole number that is written as a number or as text; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(float(value)) if float(value) == int(float(value)) else None
    except (ValueError, OverflowError):
        return None


def _texts(value: object, key: str, path: Path) -> list[str]:
    """A path or a list of them."""
    values: list[object] = value if isinstance(value, list) else [] if value is None else [value]
    texts: list[str] = []
    for text in values:
        if not isinstance(text, str) or "\0" in text:
            raise DataError(
                f"{path} says {key}: {value}, which is no folder", hint="write a folder, or a list of folders"
            )
        texts += [text] if text else []
    return texts


def _roots(value: object, path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Where relative folders are looked for, and a note if the folder of the data set is not there."""
    beside = path.parent
    texts = _texts(value, "path", path)
    if len(texts) > 1:
        raise DataError(
            f"{path} says path: {value}", hint="path is one folder; train, val and test may be lists"
        )
    text = texts[0] if texts else "."
    given = beside / Path(text).expanduser()
    if kind_of(given) == "folder":
        return [given], ()
    # YOLOv5's own files say ../datasets/NAME, relative to where it runs.
    others = [root for root in (Path(text), beside) if kind_of(root) == "folder"]
    notes = (f"path: {text} is not there; the folders are looked for in {others[0]}",) if others else ()
    return [*others[:1], given], notes


def _resolve(text: str, roots: list[Path]) -> Path:
    """The place of a split: as written, and where nothing is there without ``../``, as YOLOv5 does."""
    written = dict.fromkeys((text, text.replace("\\", "/")))
    forms = [form for one in written for form in dict.fromkeys((one, one.removeprefix(UP)))]
    places = [root / Path(form).expanduser() for root in roots for form in forms]
    return next((place for place in places if kind_of(place)), places[0])


def _keypoint_columns(shape: object, path: Path) -> int:
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        raise DataError(f"{path} says kpt_shape: {shape}", hint="it is [number of keypoints, 2 or 3]")
    return int(shape[0] * shape[1])
