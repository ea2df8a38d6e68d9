"""Torch files of others, read without running any of their code.

Such a file is a pickle of whole modules. Unpickling may call anything that the file names, so three walls
stand before it: the zip must be of sane size; every name in the pickle outside torch's own allow list must be
one that the caller expects; and what these map to are inert stubs, also for torch's layer classes. No class
of the file is imported. The tensors are then taken out by name, for a network that is built from code of
this machine.

Source: torch.serialization (``weights_only``), https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgestill.errors import ArtifactError

MAX_FILE_BYTES = 2 << 30  # an unstripped yolov5x with optimiser state is about 0.7 GiB
MAX_PICKLE_BYTES = 16 << 20  # the structure without the tensors; real files stay under 1 MiB

#: What unstripped files hold beside the modules (fitness, paths, options); read and thrown away.
EXTRAS = frozenset(
    {
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray._reconstruct",
        "numpy.ndarray",
        "numpy.dtype",
        "numpy.dtypes.Float64DType",
        "_codecs.encode",
        "pathlib.Path",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib.PurePosixPath",
        "pathlib.PureWindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "argparse.Namespace",
    }
)
_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64})


class Stub:
    """Stands for a module class of the file: keeps the pickled attributes, can do nothing.

    Attributes:
        of: The class that it stands for.
    """

    of: ClassVar[str]

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Ignored:
    """Stands for what is thrown away."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def names_in(path: Path) -> frozenset[str]:
    """Every name outside torch's allow list that a torch file wants to use; nothing of the file runs.

    Raises:
        ArtifactError: The file is missing, broken or too large.
    """
    _check_zip(path)
    try:
        return frozenset(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # a hostile file may break the scanner in any way
        raise _broken(path, error) from error


def read(path: Path, modules: Iterable[str], ignored: Iterable[str] = EXTRAS) -> Mapping[str, Any]:
    """Unpickle a file with stubs for the classes that it names; every other name stops it.

    Args:
        path: A file that ``names_in`` found nothing wrong with.
        modules: Names that become a ``Stub``.
        ignored: Names whose objects are thrown away.

    Returns:
        Its dictionary; empty if it holds something else.

    Raises:
        ArtifactError: It is broken, or names anything else.
    """
    stubs: list[Any] = [(type("Stub", (Stub,), {"of": name}), name) for name in modules]
    stubs += [(_Ignored, name) for name in ignored]
    try:
        with torch.serialization.safe_globals(stubs):
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # a hostile file may break the unpickler in any way
        raise _broken(path, error) from error
    return content if isinstance(content, dict) else {}


def root_of(content: Mapping[str, Any]) -> Stub | None:
    """The network of a checkpoint: its moving average, where it has one."""
    return next((m for key in ("ema", "model") if isinstance(m := content.get(key), Stub)), None)


def child(node: Stub, name: str) -> Stub | None:
    """A module's submodule; None where the file has no such one."""
    found = dict(_entries(node, "_modules")).get(name)
    return found if isinstance(found, Stub) else None


def tensors(root: Stub) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a stub tree, read from its attributes; no method or hook of the file is called."""
    waiting, seen = [("", root)], {id(root)}  # a hostile tree may be deep, or hold itself
    while waiting:
        prefix, node = waiting.pop()
        for name, value in (*_entries(node, "_parameters"), *_entries(node, "_buffers")):
            if isinstance(value, Tensor) and value.dtype in _DTYPES and _is_plain(value):
                yield f"{prefix}{name}", value.detach()
        for name, below in _entries(node, "_modules"):
            if isinstance(below, Stub) and id(below) not in seen:
                seen.add(id(below))
                waiting.append((f"{prefix}{name}.", below))


def class_names(path: Path, root: Stub, nc: int) -> tuple[str, ...]:
    """The class names, one for each of the ``nc`` classes of the head.

    Raises:
        ArtifactError: There are more, fewer, or some are not words.
    """
    names = root.__dict__.get("names")
    listed = list(names.values()) if isinstance(names, dict) else names
    found = listed if isinstance(listed, list) else []
    if len(found) != nc:
        raise ArtifactError(
            f"{path} names {len(found) or 'no'} classes, but its head predicts {nc}",
            hint="get the file again",
        )
    if not all(isinstance(name, str) for name in found):
        raise ArtifactError(
            f"{path} names {nc} classes that are not all words: {found[:3]}", hint="get the file again"
        )
    return tuple(found)


def _check_zip(path: Path) -> None:
    """Refuse what is not a torch zip file of sane size, before any of it is read."""
    if not path.is_file():
        raise ArtifactError(f"{path} does not exist", hint="name a .pt file or a checkpoint folder")
    if not zipfile.is_zipfile(path):
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) is not a torch zip file, or it is cut off",
            hint="copy the file again; files of torch before 1.6 must be saved again by a newer one",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} is a broken zip file: {error}", hint="copy the file again") from error
    total = sum(entry.file_size for entry in entries)
    pickles = [entry.file_size for entry in entries if entry.filename.endswith(".pkl")]
    if total > MAX_FILE_BYTES or max(pickles, default=0) > MAX_PICKLE_BYTES:
        raise ArtifactError(
            f"{path} unpacks to {total} bytes with a pickle of {max(pickles, default=0)}, "
            f"the limits are {MAX_FILE_BYTES} and {MAX_PICKLE_BYTES}",
            hint="strip the optimizer from the checkpoint where it was trained",
        )


def _broken(path: Path, error: Exception) -> ArtifactError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return ArtifactError(
        f"{path} is not a readable torch checkpoint: {first_line}", hint="copy the file again"
    )


def _entries(node: Stub, kind: str) -> tuple[tuple[object, object], ...]:
    """The items of one of a module's dictionaries; none where the file has something else there."""
    found = node.__dict__.get(kind)
    return tuple(found.items()) if isinstance(found, dict) else ()


def _is_plain(tensor: Tensor) -> bool:
    """Whether NumPy can hold the tensor; a file may also hold sparse ones, or ones without values."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu"
