"""Errors a user can act on.

ToolchainError            exit code
├─ UsageError                     2   the command line or a recipe is wrong
├─ DataError                      3   an image, video or label cannot be read
├─ ArtifactError                  4   a model file is missing, altered or not ours
├─ DeviceError                    5   this machine cannot do what was asked
└─ VerificationError              6   two models disagree by more than the limits
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

from edgestill.installation import pip_command

MOST_CHARS = 2000  # of a message: longer ones quote a whole file


class ToolchainError(Exception):
    """Base of every error that this project raises on purpose.

    Args:
        what: What went wrong, with the values that show it. One line.
        hint: What to do next; a command where there is one. One line.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(what)
        self.what = _line(what)
        self.hint = _line(hint)

    def __str__(self) -> str:
        return f"{self.what}\n  hint: {self.hint}"


def _line(text: str) -> str:
    """A text as one line of at most ``MOST_CHARS``, without the control characters of what it quotes."""
    words = " ".join(text.split())
    if len(words) > MOST_CHARS:
        words = f"{words[: MOST_CHARS * 3 // 4]} ... {words[-MOST_CHARS // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


class UsageError(ToolchainError):
    """The command line or a recipe is wrong."""

    exit_code = 2


class DataError(ToolchainError):
    """An image, video, label or data set cannot be read."""

    exit_code = 3


class ArtifactError(ToolchainError):
    """A model file is missing, altered, or not one that this project can run."""

    exit_code = 4


class DeviceError(ToolchainError):
    """This machine cannot do what was asked of it."""

    exit_code = 5


class VerificationError(ToolchainError):
    """Two models that should agree differ by more than the limits."""

    exit_code = 6


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a misspelt one, without regard to case; None if none is like it."""
    by_folded = {one.casefold(): one for one in known}
    close = get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def unknown_name(noun: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the one "no such thing" message that every lookup uses."""
    names = sorted(known)
    close = closest(name, names)
    hint = f"did you mean {close!r}?" if close else f"known: {', '.join(names) or 'none'}"
    return UsageError(f"no {noun} is called {name!r}", hint=hint)


#: The pip extra that brings a library which the base install lacks, by import name.
EXTRA_OF = {
    "PIL": "train",
    "av": "video",
    "cv2": "opencv",
    "faster_coco_eval": "eval",
    "filelock": "train",
    "jinja2": "report",
    "matplotlib": "report",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "packaging": "bundle",
    "prometheus_client": "web",
    "ray": "cluster",
    "safetensors": "onnx",
    "scipy": "train",
    "starlette": "web",
    "torch": "train",
    "ultralytics": "train",
    "uvicorn": "web",
    "zstandard": "bundle",
}


#: Import names of the libraries of the base install.
BASE_MODULES = frozenset({"argcomplete", "numpy", "rich", "tomli", "yaml"})
#: Appended to the command for a library that a device's system has, too.
_OF_THE_SYSTEM = {
    "cv2": "on a Jetson use the system's, which has GStreamer: sudo apt install python3-opencv, "
    "and a venv made with --system-site-packages"
}
#: Source: NumPy 2.0 migration guide; what ``import cv2`` of Ubuntu's and Debian's OpenCV 4.6 raises.
_BUILT_FOR_NUMPY_1 = ("numpy.core.multiarray failed to import", "_ARRAY_API not found")
FOR_NUMPY_1 = "pip install 'numpy<2'"


def missing_library(noun: str, name: str | None, extra: str | None) -> DeviceError:
    """Build the one "not installed" message: this machine lacks a library, and here is the command."""
    command = pip_command(extra) if extra else f"pip install {name}"
    system = _OF_THE_SYSTEM.get(name or "")
    hint = f"{command}; {system}" if system else command
    return DeviceError(f"{noun} needs {name!r}, which is not installed", hint=hint)


def is_built_for_numpy_1(message: str) -> bool:
    """Whether a message of an import says that a library was built for NumPy 1, and NumPy 2 is installed."""
    return any(text in message for text in _BUILT_FOR_NUMPY_1)


def import_failure(noun: str, error: ImportError) -> DeviceError | None:
    """The error that a user can mend, of a library that is missing or cannot be loaded.

    Args:
        noun: What needs the library.
        error: What importing raised.

    Returns:
        None for an import that is not of a library of this project.
    """
    name = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name in BASE_MODULES:
        return DeviceError(f"{noun} needs {name!r}, which is not installed", hint=pip_command())
    if isinstance(error, ModuleNotFoundError) and name in EXTRA_OF:
        return missing_library(noun, name, EXTRA_OF[name])
    if is_built_for_numpy_1(str(error)):
        what = "a library (most often the system's OpenCV) was built for NumPy 1, NumPy 2 is installed"
        return DeviceError(what, hint=f"{FOR_NUMPY_1}; edgestill doctor says which library it is")
    if ".so" in str(error):
        hint = "edgestill doctor says which package it belongs to, and how to install that again"
        return DeviceError(f"a shared library cannot be loaded: {error}", hint=hint)
    return None
