"""edgestill: distil, quantise, export, run and measure compact object detectors.

This module holds the version and the few names that a program embeds, resolved on first use, so that
importing it costs nothing and lets one package hold both the ground floor and the roof.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EMBEDDED = {
    "Detector": "runtime.detector",
    "open_detector": "runtime.detector",
    "open_source": "runtime.frames",
}

__all__ = ["Detector", "__version__", "open_detector", "open_source"]


def __getattr__(name: str) -> Any:
    if name in _EMBEDDED:
        return getattr(import_module(_EMBEDDED[name]), name)
    raise AttributeError(f"module 'edgestill' has no attribute {name!r}")
