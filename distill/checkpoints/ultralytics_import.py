"""Lazy import of the ``ultralytics`` package.

That package is AGPL-3.0. Only code that needs its networks imports it, through this module.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from edgestill.errors import missing_library

#: Environment variables that the package reads once, at import. The first prevents DNS requests that test for
#: a network; the second prevents automatic installation of missing packages.
ENVIRONMENT = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


def import_ultralytics(module: str, noun: str) -> Any:
    """Import a module of ``ultralytics`` and restore the process-wide settings that its import changes.

    Args:
        module: Name below the package, e.g. ``"nn.modules.head"``.
        noun: The feature that needs it, for the error message.

    Raises:
        DeviceError: The package is not installed.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    threads, printing = cv2.getNumThreads(), np.get_printoptions()
    os.environ.update(ENVIRONMENT)
    try:
        return import_module(f"ultralytics.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "ultralytics":
            raise  # a broken installation: keep the original message
        raise missing_library(noun, "ultralytics", "train") from error
    finally:
        cv2.setNumThreads(threads)
        np.set_printoptions(**printing)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
