"""The folder of files that can be made again: converted models, calibration statistics, engines, images."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """``$XDG_CACHE_HOME/edgestill``, or ``~/.cache/edgestill`` where that is not set; nothing is created."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgestill"


def cache_folder(name: str = "") -> Path:
    """The cache, or one of its folders; what does not exist is created, with access for this user only.

    Models and engines in it are opened without a check of who wrote them, so that nobody else may write here.

    Args:
        name: A folder of the cache, e.g. ``"engines"``.
    """
    root = cache_root()
    for folder in (root, root / name):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root / name
