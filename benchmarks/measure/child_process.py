"""Child processes of Python that import this installation."""

from __future__ import annotations

import os
from pathlib import Path

import edgestill


def child_environment(**variables: str) -> dict[str, str]:
    """The variables of a child process: those of this one, and the folder of these packages on its path.

    Args:
        variables: Set beside them.
    """
    home = str(Path(edgestill.__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
