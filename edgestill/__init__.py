"""edgestill: distil, quantise, export, run and measure compact object detectors.

This module holds the version and the names that an application imports. They are resolved on first use, so
that importing the package loads no other module.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Detector": "runtime.detector",
    "open_detector": "runtime.detector",
    "open_source": "runtime.frames",
}

__all__ = ["Detector", "__version__", "open_detector", "open_source"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgestill' has no attribute {name!r}")
