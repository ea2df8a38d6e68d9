"""What CUDA is called by: pycuda where it can be imported, else our own calls of the driver."""

from __future__ import annotations

import warnings
from importlib import import_module, metadata
from types import ModuleType

from runtime.tensorrt.cuda_ctypes import CtypesSession
from runtime.tensorrt.cuda_driver import LIBRARY, Driver
from runtime.tensorrt.cuda_pycuda import PycudaSession
from runtime.tensorrt.cuda_session import Session


def open_session(driver: Driver) -> Session:
    """Open a session on a device.

    Raises:
        DeviceError: The context or the stream cannot be created.
    """
    pycuda, name = _find()
    return CtypesSession(driver, name) if pycuda is None else PycudaSession(driver, name, pycuda)


def binding_in_use() -> str:
    """What ``open_session`` uses, and why if that is not pycuda; no driver is needed to ask."""
    return _find()[1]


def _find() -> tuple[ModuleType | None, str]:
    """The module ``pycuda.driver`` or None, and the name of what is used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pycuda, beside the error that is told below
            return import_module("pycuda.driver"), f"pycuda {metadata.version('pycuda')}"
    except Exception as error:  # importing runs the package's code, which may raise anything
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == "pycuda"
        why = "pycuda is not installed" if is_missing else f"pycuda cannot be imported: {error}"
        return None, f"ctypes on {LIBRARY}; {why}"
