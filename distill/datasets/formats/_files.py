"""Readers of label files that neither execute nor fetch anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from distill.datasets.formats._records import UnreadableError, UnusableError
from edgestill.errors import DataError
from edgestill.files import read_bytes

try:
    from yaml import CSafeLoader as _Safe  # libyaml: many times faster, and DTLD's files are long
except ImportError:
    from yaml import SafeLoader as _Safe  # type: ignore[assignment]


MAX_DEPTH = 100  # of nested collections: libyaml composes them recursively and does not look at its stack


class _StringLoader(_Safe):
    """The safe loader without booleans: ``off`` stays a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML declares it, and not as ClassVar)
        first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:bool"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(path: Path) -> Any:
    """A YAML file as plain values; ``off`` and ``true`` stay strings.

    Raises:
        DataError: It cannot be read, or is not plain YAML.
    """
    try:
        data = read_bytes(path)
        _refuse_deep(data)
        return yaml.load(data, _StringLoader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not readable YAML: {error}", hint="download the labels again") from error


def _refuse_deep(data: bytes) -> None:
    depth = 0
    for event in yaml.parse(data, _StringLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def read_json(path: Path, each_object: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """A JSON file as plain values.

    Args:
        path: The file.
        each_object: Applied to each JSON object, innermost first.

    Raises:
        DataError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_bytes(path), object_hook=each_object)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not readable JSON: {error}", hint="download the labels again") from error


def list_of(value: Any, path: Path, what: str) -> list[Any]:
    """``value`` if it is a list.

    Raises:
        DataError: It is not; ``path`` contains other labels.
    """
    if not isinstance(value, list):
        raise DataError(f"{path} is no list of {what}", hint="are these the labels of another data set?")
    return value


def fields(value: Any) -> dict[str, Any]:
    """``value`` if it is an object with named fields.

    Raises:
        UnreadableError: It is none.
    """
    if not isinstance(value, dict):
        raise UnreadableError("a label is not an object with fields")
    return value


def raw_12_bit(path: Path) -> NDArray[np.uint16]:
    """An image of 12 bits in words of 16, uint16 ``[H, W]``.

    Raises:
        UnusableError: It is missing, broken, or not such an image.
    """
    try:
        data = np.frombuffer(read_bytes(path), np.uint8)
    except OSError as error:
        raise UnusableError("the image cannot be read") from error
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise UnusableError("the image cannot be decoded")
    if image.ndim != 2 or image.dtype != np.uint16:
        raise UnusableError("the image is not one channel of 16 bits")
    return np.asarray(image, np.uint16)
