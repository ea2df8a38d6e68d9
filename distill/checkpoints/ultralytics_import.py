"""Modules of the ``ultralytics`` package, imported when something asks for them and not before.

That package is AGPL-3.0: nothing outside this folder imports it, and here only what needs its networks.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from edgestill.errors import missing_library

#: Read by the package once, at its import: without the first it asks name servers whether there is a network,
#: without the second it installs what it misses (for a picture that Pillow cannot open, too).
QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def borrow(module: str, noun: str) -> Any:
    """Import a module of ``ultralytics``, and put back what its import sets for the whole process.

    Args:
        module: Its name below the package, e.g. ``"nn.modules.head"``.
        noun: What it is needed for, for the message.

    Raises:
        DeviceError: The package is not installed.
    """
    before = {name: os.environ.get(name) for name in QUIET}
    threads, printing = cv2.getNumThreads(), np.get_printoptions()
    os.environ.update(QUIET)
    try:
        return import_module(f"ultralytics.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ultralytics":
            raise  # a broken installation says more by itself
        raise missing_library(noun, "ultralytics", "train") from error
    finally:
        cv2.setNumThreads(threads)
        np.set_printoptions(**printing)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
