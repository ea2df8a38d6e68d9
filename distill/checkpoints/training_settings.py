"""The input size that a third-party checkpoint was trained at, from the settings that training stored in it.

YOLOv5 stores its command line as ``opt`` from v6.2 on, the ``ultralytics`` package its settings as
``train_args``, and as ``args`` of the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from distill.checkpoints.safe_unpickle import ModuleStub, SettingsStub

DEFAULT_SIDE = 640  # of files that name no size: all published P5 weights were trained at it
MAX_SIDE = 8192  # a larger value is not believed
SIZE_KEYS = ("imgsz", "img_size")  # the second one is of older releases: sizes of training and of validation


def trained_hw(content: Mapping[str, Any], root: ModuleStub, stride: int) -> tuple[tuple[int, int], str]:
    """Input height and width of a checkpoint, pixels, and what told them.

    The size is rounded up to the stride and is two strides at least, as YOLOv5's ``check_img_size`` and the
    package's ``check_imgsz`` do before they train.

    Args:
        content: The top-level dictionary of the file.
        root: Its network.
        stride: The largest of the network.
    """
    for name, settings in _settings(content, root):
        for key in SIZE_KEYS:
            if side := _side(settings.get(key), first=key == "img_size"):
                rounded = max(math.ceil(side / stride), 2) * stride
                return (rounded, rounded), f"{name}.{key} = {side}"
    return (DEFAULT_SIDE, DEFAULT_SIDE), "the default: the file names no input size"


def _settings(content: Mapping[str, Any], root: ModuleStub) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    places = {
        "train_args": content.get("train_args"),
        "opt": content.get("opt"),
        "model.args": root.__dict__.get("args"),
    }
    for name, value in places.items():
        found = value.__dict__ if isinstance(value, SettingsStub) else value
        if isinstance(found, dict):
            yield name, found


def _side(value: object, *, first: bool) -> int | None:
    """The first or the largest of the sizes in a setting, which is one or a list; None if it holds none."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    sides = [side for item in listed if (side := _pixels(item))]
    return (sides[0] if first else max(sides)) if sides else None


def _pixels(value: object) -> int | None:
    """A whole number or its text; None for others."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and 0 < value <= MAX_SIDE else None  # type: ignore[call-overload,operator]
