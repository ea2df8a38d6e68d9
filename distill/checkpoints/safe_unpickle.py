"""Reads third-party torch files without executing code from them.

Such a file is a pickle of whole modules, and unpickling may call any function that the file names. There are
three protections. The zip file must be below size limits. Every global name in the pickle outside of torch's
allow list must be one that the caller expects. These names map to inert stub classes, also for torch's own
layer classes, so no class named in the file is imported. The tensors are then read by name, for a network
that is built from installed code.

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
from edgestill.shipped import hint_for_missing

MAX_FILE_BYTES = 2 << 30  # an unstripped yolov5x with optimiser state is about 0.7 GiB
MAX_PICKLE_BYTES = 16 << 20  # the pickle without tensors; real files are below 1 MiB

#: Globals of other data in unstripped files (fitness, paths, options), which is ignored.
IGNORED_GLOBALS = frozenset(
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
    }
)
#: Containers of training settings, whose plain values may be read.
SETTINGS_GLOBALS = frozenset(
    {
        "argparse.Namespace",
        "types.SimpleNamespace",
        "ultralytics.utils.IterableSimpleNamespace",
        "ultralytics.yolo.utils.IterableSimpleNamespace",
    }
)
_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64})


class ModuleStub:
    """Replacement for a module class of the file: it stores the pickled attributes and has no behaviour.

    Attributes:
        class_name: Full name of the replaced class.
    """

    class_name: ClassVar[str]

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class SettingsStub:
    """Replacement for a container of settings: it stores them as attributes and has no behaviour."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Ignored:
    """Replacement for a class whose objects are ignored."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def pickle_globals(path: Path) -> frozenset[str]:
    """Global names in the pickle of a torch file outside of torch's allow list; executes nothing of it.

    Raises:
        ArtifactError: The file is missing, broken or too large.
    """
    _check_zip(path)
    try:
        return frozenset(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # a malicious file may cause any exception in the scanner
        raise _broken(path, error) from error


def unpickle(
    path: Path, modules: Iterable[str], ignored: Iterable[str] = IGNORED_GLOBALS
) -> Mapping[str, Any]:
    """Unpickle a file with stubs in place of the classes that it names.

    Args:
        path: A file whose names were checked with ``pickle_globals``.
        modules: Names of classes that become a ``ModuleStub``.
        ignored: Names of classes whose objects are ignored. ``SETTINGS_GLOBALS`` become a ``SettingsStub``.

    Returns:
        The top-level dictionary; empty if the file holds something else.

    Raises:
        ArtifactError: The file is broken, or uses any other name.
    """
    stubs: list[Any] = [(type("ModuleStub", (ModuleStub,), {"class_name": name}), name) for name in modules]
    stubs += [(SettingsStub, name) for name in SETTINGS_GLOBALS.difference(modules)]
    stubs += [(_Ignored, name) for name in ignored]
    try:
        with torch.serialization.safe_globals(stubs):
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # a malicious file may cause any exception in the unpickler
        raise _broken(path, error) from error
    return content if isinstance(content, dict) else {}


def network_stub(content: Mapping[str, Any]) -> ModuleStub | None:
    """The stub of the network of a checkpoint: the EMA if it has one, else the model."""
    return next((m for key in ("ema", "model") if isinstance(m := content.get(key), ModuleStub)), None)


def submodule_stub(node: ModuleStub, name: str) -> ModuleStub | None:
    """A submodule; None if the file has none of that name."""
    found = dict(_entries(node, "_modules")).get(name)
    return found if isinstance(found, ModuleStub) else None


def stub_tensors(root: ModuleStub) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a stub tree, read from its attributes; no method or hook of the file is called."""
    for prefix, node in stub_modules(root):
        for name, value in (*_entries(node, "_parameters"), *_entries(node, "_buffers")):
            if isinstance(value, Tensor) and value.dtype in _DTYPES and _is_plain(value):
                yield f"{prefix}{name}", value.detach()


def stub_modules(root: ModuleStub) -> Iterator[tuple[str, ModuleStub]]:
    """The modules of a stub tree, each once, with the prefix of the names of their tensors."""
    stack, seen = [("", root)], {id(root)}  # no recursion: a malicious tree may be deep or cyclic
    while stack:
        prefix, node = stack.pop()
        yield prefix, node
        for name, module in _entries(node, "_modules"):
            if isinstance(module, ModuleStub) and id(module) not in seen:
                seen.add(id(module))
                stack.append((f"{prefix}{name}.", module))


def class_names(path: Path, root: ModuleStub, nc: int) -> tuple[str, ...]:
    """The class names of a checkpoint whose head has ``nc`` classes.

    Raises:
        ArtifactError: The number of names is not ``nc``, or some are not strings.
    """
    names = root.__dict__.get("names")
    listed = _by_id(names) if isinstance(names, dict) else names
    found = listed if isinstance(listed, list) else []
    if len(found) != nc:
        raise ArtifactError(
            f"{path} has {len(found) or 'no'} class names, but its head has {nc} classes",
            hint="download or copy the file again",
        )
    if not all(isinstance(name, str) for name in found):
        raise ArtifactError(
            f"{path} has class names that are not strings: {found[:3]}",
            hint="download or copy the file again",
        )
    return tuple(found)


def _by_id(names: dict[object, object]) -> list[object]:
    """The names in the order of their ids, where the keys are 0 to n - 1; else in the order of the file."""
    in_order = [names.get(i) for i in range(len(names))]
    return list(names.values()) if None in in_order else in_order


def _check_zip(path: Path) -> None:
    """Raise ArtifactError unless the path is a torch zip file below the size limits; reads no content."""
    if not path.is_file():
        raise ArtifactError(
            f"{path} does not exist", hint=hint_for_missing(path, "name a .pt file or a checkpoint folder")
        )
    if not zipfile.is_zipfile(path):
        raise ArtifactError(
            f"{path} ({path.stat().st_size} bytes) is not a torch zip file, or it is truncated",
            hint="copy the file again; a file of torch before 1.6 must be saved again with a newer release",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception as error:  # also of names that are not UTF-8, or of a version or method it does not know
        raise ArtifactError(f"{path} is a broken zip file: {error}", hint="copy the file again") from error
    total = sum(entry.file_size for entry in entries)
    pickles = [entry.file_size for entry in entries if entry.filename.endswith(".pkl")]
    if total > MAX_FILE_BYTES or max(pickles, default=0) > MAX_PICKLE_BYTES:
        raise ArtifactError(
            f"{path} has {total} bytes unpacked and a pickle of {max(pickles, default=0)} bytes; "
            f"the limits are {MAX_FILE_BYTES} and {MAX_PICKLE_BYTES}",
            hint="strip the optimizer from the checkpoint with the tool that trained it",
        )


def _broken(path: Path, error: Exception) -> ArtifactError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return ArtifactError(
        f"{path} is not a readable torch checkpoint: {first_line}", hint="copy the file again"
    )


def _entries(node: ModuleStub, kind: str) -> tuple[tuple[object, object], ...]:
    """The items of one of a module's dictionaries; empty if the attribute is not a dictionary."""
    found = node.__dict__.get(kind)
    return tuple(found.items()) if isinstance(found, dict) else ()


def _is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is dense and on the CPU; a file may also hold sparse or meta tensors."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu"
