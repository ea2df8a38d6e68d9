"""Original YOLOv5 ``.pt`` files, read without running any of their code.

Such a file is a pickle of whole modules. Unpickling may call anything that the file names, so three walls
stand before it: the zip must be of sane size; every name in the pickle outside torch's own allow list must be
on ours; and what ours maps to are inert stubs, also for torch's layer classes. The tensors are then taken out
by name, and must be exactly those of an architecture that we build ourselves.

Source: torch.serialization (``weights_only``), https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.models.yolov5 import misfit
from edgestill.architecture import HEAD_INDEX, PREFIX, SIZES, STRIDES, layers
from edgestill.checkpoint import Checkpoint
from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.spec import ModelSpec

MAX_FILE_BYTES = 2 << 30  # an unstripped yolov5x with optimiser state is about 0.7 GiB
MAX_PICKLE_BYTES = 16 << 20  # the structure without the tensors; real files stay under 1 MiB
INPUT_HW = (640, 640)  # the files do not say; all published P5 weights were trained at this size

_MODULES = (
    "models.yolo.Model",
    "models.yolo.DetectionModel",
    "models.yolo.Detect",
    "models.common.Conv",
    "models.common.C3",
    "models.common.Bottleneck",
    "models.common.SPPF",
    "models.common.Concat",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
)
#: What unstripped files hold beside the modules (fitness, paths, options); read and thrown away.
_EXTRAS = (
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
)
_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64})
#: Layers of releases before v6.0, whose network is another one.
_OLDER = frozenset({"models.common.Focus", "models.common.SPP", "models.common.BottleneckCSP"})


class _Node:
    """Stands for any module class of the file: keeps the pickled attributes, can do nothing."""

    def __setstate__(self, state: object) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Ignored:
    """Stands for what is thrown away."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def load_legacy(path: Path) -> Checkpoint:
    """Read an original YOLOv5 v6/v7 P5 checkpoint.

    Args:
        path: The ``.pt`` file.

    Returns:
        All tensors as float32 (or int64), with the original names; the spec's input size is 640 x 640.

    Raises:
        ArtifactError: The file is missing, broken, too large, wants to run code, or holds another network.
    """
    _check_zip(path)
    _check_names(path)
    content = _read(path)
    root = next((m for key in ("ema", "model") if isinstance(m := content.get(key), _Node)), None)
    if root is None:
        raise ArtifactError(
            f"{path} holds no YOLOv5 model under 'ema' or 'model'",
            hint="name a .pt file that the original YOLOv5 train.py wrote",
        )
    tensors = dict(_tensors(root))
    spec = _spec(path, root, tensors)
    if difference := misfit(spec, {name: tuple(t.shape) for name, t in tensors.items()}):
        raise ArtifactError(
            f"{path} is no {spec.name} v6/v7 with {spec.nc} classes: {difference}",
            hint="only the unmodified P5 architectures n, s, m, l, x can be read",
        )
    weights = {n: (t if t.dtype == torch.int64 else t.float()).numpy() for n, t in tensors.items()}
    return Checkpoint(
        spec=spec,
        weights=weights,
        about={"source": path.name, "format": "original YOLOv5 checkpoint"},
        sha256=sha256_file(path),
    )


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


def _check_names(path: Path) -> None:
    """Refuse a file whose pickle names anything outside the allow lists; nothing of it runs here."""
    try:
        named = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # a hostile file may break the scanner in any way
        raise _broken(path, error) from error
    if named & _OLDER:
        raise ArtifactError(
            f"{path} is of a YOLOv5 release before v6.0: it uses {', '.join(sorted(named & _OLDER))}",
            hint="take the weights of release v6.0 to v7.0",
        )
    if unknown := sorted(named - set(_MODULES) - set(_EXTRAS)):
        raise ArtifactError(
            f"{path} wants to use code that no YOLOv5 checkpoint needs: {', '.join(unknown)}",
            hint="do not open this file with other tools; get the weights from their publisher",
        )


def _read(path: Path) -> Mapping[str, Any]:
    stubs: list[Any] = [(_Node, name) for name in _MODULES] + [(_Ignored, name) for name in _EXTRAS]
    try:
        with torch.serialization.safe_globals(stubs):
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except Exception as error:  # a hostile file may break the unpickler in any way
        raise _broken(path, error) from error
    return content if isinstance(content, dict) else {}


def _broken(path: Path, error: Exception) -> ArtifactError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return ArtifactError(
        f"{path} is not a readable torch checkpoint: {first_line}", hint="copy the file again"
    )


def _tensors(root: _Node) -> Iterator[tuple[str, Tensor]]:
    """The state dict of a stub tree, read from its attributes; no method or hook of the file is called."""
    waiting, seen = [("", root)], {id(root)}  # a hostile tree may be deep, or hold itself
    while waiting:
        prefix, node = waiting.pop()
        for name, value in (*_entries(node, "_parameters"), *_entries(node, "_buffers")):
            if isinstance(value, Tensor) and value.dtype in _DTYPES and _is_plain(value):
                yield f"{prefix}{name}", value.detach()
        for name, child in _entries(node, "_modules"):
            if isinstance(child, _Node) and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{prefix}{name}.", child))


def _entries(node: _Node, kind: str) -> tuple[tuple[object, object], ...]:
    """The items of one of a module's dictionaries; none where the file has something else there."""
    found = node.__dict__.get(kind)
    return tuple(found.items()) if isinstance(found, dict) else ()


def _is_plain(tensor: Tensor) -> bool:
    """Whether NumPy can hold the tensor; a file may also hold sparse ones, or ones without values."""
    return tensor.layout == torch.strided and tensor.device.type == "cpu"


def _spec(path: Path, root: _Node, tensors: Mapping[str, Tensor]) -> ModelSpec:
    """The contract, from the shapes of the tensors and the class names."""
    stem, anchors = tensors.get("model.0.conv.weight"), tensors.get(f"model.{HEAD_INDEX}.anchors")
    predictor = tensors.get(f"model.{HEAD_INDEX}.m.0.weight")
    by_width = {layers(size)[0].out_channels: size for size in SIZES}
    size = by_width.get(len(stem)) if stem is not None and stem.dim() else None
    if size is None or anchors is None or predictor is None or tuple(anchors.shape) != (len(STRIDES), 3, 2):
        raise ArtifactError(
            f"{path} holds no YOLOv5 v6/v7 P5 network: "
            f"stem {_shape(stem)}, anchors {_shape(anchors)}, head {_shape(predictor)}",
            hint="only the unmodified P5 architectures n, s, m, l, x can be read",
        )
    classes = _classes(path, root, predictor.shape[0] // anchors.shape[1] - 5)
    cells = torch.tensor(STRIDES).view(-1, 1, 1)
    return ModelSpec(
        name=PREFIX + size,
        input_hw=INPUT_HW,
        classes=classes,
        anchors_px=tuple(tuple((w, h) for w, h in level) for level in (anchors.float() * cells).tolist()),
    )


def _classes(path: Path, root: _Node, nc: int) -> tuple[str, ...]:
    """The class names, one for each class of the head."""
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


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
