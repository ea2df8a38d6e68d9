"""The ``data.yaml`` that this project writes, for its own reader and for the ``ultralytics`` package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from edgestill.files import write_bytes

REQUIRED = ("train", "val")  # the package refuses a file without these keys; a null is a split without images


def write_data_yaml(path: Path, splits: Sequence[str], classes: Sequence[str]) -> None:
    """Write the ``data.yaml`` of a folder with ``images/SPLIT`` for each of ``splits``.

    It has no key ``path``: readers then start from the folder of the file, so the data set can be moved. With
    ``path: .`` the package would start from the current directory.
    """
    named = sorted({*splits, *REQUIRED}, key=["train", "val", "test"].index)
    data: dict[str, object] = {split: f"images/{split}" if split in splits else None for split in named}
    data |= {"nc": len(classes), "names": dict(enumerate(classes))}
    write_bytes(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode())
