"""Detection checkpoints of the ``ultralytics`` package as teachers, read without executing code from them.

Such a file holds a pickled network, its weights, and the table of layers (YAML) from which it was built. The
network is not unpickled (see ``distill.checkpoints.safe_unpickle``). Instead the table is validated and
copied, with known layers and plain arguments only; the installed package builds a network from the copy, and
the weights must match exactly. The validation is needed, because the package looks layer names up among
everything that it imports and evaluates the name of an activation as code.

Feature maps are those that the head reads. Of the head only the raw predictions are computed; for NMS-free
networks (YOLOv10, YOLO26) those of the one-to-many branch, and the class logits of the one-to-one branch.

Source: nn/tasks.py and nn/modules/head.py of https://github.com/ultralytics/ultralytics, used as a library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.checkpoints.safe_unpickle import (
    IGNORED_GLOBALS,
    SETTINGS_GLOBALS,
    ModuleStub,
    class_names,
    network_stub,
    pickle_globals,
    stub_tensors,
    submodule_stub,
    unpickle,
)
from distill.checkpoints.ultralytics_import import import_ultralytics
from distill.models.frozen import TeacherInfo
from distill.models.head_outputs import BINS
from edgestill.errors import ArtifactError, UsageError

PACKAGE = "ultralytics."
STUBBED = (PACKAGE, "torch.nn.modules.")
IGNORED = IGNORED_GLOBALS | {"builtins.getattr"}  # some files pickle a method with it
DISTILLED = "ultralytics.nn.distill_model.DistillationModel"
DETECTORS = ("ultralytics.nn.tasks.DetectionModel", "ultralytics.nn.tasks.YOLOv10DetectionModel")
HEADS = ("Detect", "v10Detect")
LAYERS = frozenset(
    {
        *HEADS,
        *("Conv", "DWConv", "GhostConv", "Focus", "Concat", "Bottleneck", "BottleneckCSP", "GhostBottleneck"),
        *("C1", "C2", "C3", "C3x", "C3TR", "C3Ghost", "C2f", "C2fCIB", "C2fPSA", "C3k2", "C2PSA", "A2C2f"),
        *("SPP", "SPPF", "SPPELAN", "PSA", "SCDown", "AConv", "ADown", "ELAN1", "RepNCSPELAN4", "RepConv"),
        *("CBLinear", "CBFuse", "Silence"),
        *("nn.Upsample", "nn.ConvTranspose2d", "nn.MaxPool2d", "nn.ZeroPad2d", "nn.Identity"),
    }
)
TEXT_ARGUMENTS = frozenset({"nc", "None", "nearest"})
ACTIVATION = re.compile(r"(torch\.)?nn\.(SiLU|ReLU|ReLU6|LeakyReLU|GELU|Hardswish|Mish)\([\d.]*\)")
NAME = re.compile(r"[\w.-]{1,64}")
TABLE_HINT = "the file was edited or written by a newer release: pip install -U ultralytics"


class RawHead(nn.Module):
    """Raw predictions of an ``ultralytics`` head, in the layout of this project.

    Attributes:
        f: Indices of its input layers; read by the forward pass of the package.
        i: Index of this layer.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.f, self.i = head.f, head.i
        self.cv2 = head.cv2 if head.reg_max == BINS else None
        self.cv3 = head.cv3
        self.one2one_cv3 = getattr(head, "one2one_cv3", None)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Raw maps ``[B, 1, h, w, 64 + nc]`` by level as of a ``dfl`` head, or class logits ``[..., nc]``."""
        raw = []
        for level, feature in enumerate(features):
            towers = [tower[level](feature) for tower in (self.cv2, self.cv3) if tower is not None]
            raw.append(torch.cat(towers, 1).permute(0, 2, 3, 1).unsqueeze(1))
        return raw

    def one_to_one_logits(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Class logits ``[B, 1, h, w, nc]`` by level of the one-to-one branch; empty without one."""
        if self.one2one_cv3 is None:
            return []
        logits = [tower(feature) for tower, feature in zip(self.one2one_cv3, features, strict=True)]
        return [level.permute(0, 2, 3, 1).unsqueeze(1) for level in logits]


def is_ultralytics_pt(path: Path) -> bool:
    """Whether a ``.pt`` file was written by the ``ultralytics`` package.

    Raises:
        ArtifactError: The file is broken or too large.
    """
    return any(name.startswith(PACKAGE) for name in pickle_globals(path))


def load_ultralytics_pt(path: Path, *, random_weights: bool = False) -> tuple[nn.Module, TeacherInfo]:
    """Build the network of a detection checkpoint.

    Args:
        path: The ``.pt`` file.
        random_weights: Whether to keep random weights, as the package initialises them, instead of loading
            those of the file.

    Returns:
        The network, float32 and in evaluation mode, with ``RawHead`` as its last layer; and its properties.

    Raises:
        UsageError: The network is not a detector, but e.g. for segmentation, classification or poses.
        ArtifactError: The file is broken or names unexpected code, or its weights do not match the network
            that the package builds.
        DeviceError: ``ultralytics`` is not installed.
    """
    root = _root(path)
    table = _layer_table(path, root.__dict__.get("yaml"))
    weights = {name: t if t.dtype == torch.int64 else t.float() for name, t in stub_tensors(root)}
    network = _build(path, table, weights)
    if not random_weights:
        network.load_state_dict(weights)
    head = network.model[-1]
    strides = tuple(round(float(stride)) for stride in head.stride)
    levels = [f"p{stride.bit_length() - 1}" for stride in strides]
    info = TeacherInfo(
        name=_name(path, root),
        classes=class_names(path, root, table["nc"]),
        strides=strides,
        anchors_px=(),
        channels={level: tower[0].conv.in_channels for level, tower in zip(levels, head.cv2, strict=True)},
        layers=dict(zip(levels, head.f, strict=True)),
        head="dfl" if head.reg_max == BINS else None,
    )
    network.model[-1] = RawHead(head)
    return network.eval(), info


def _root(path: Path) -> ModuleStub:
    """The stub of the detection network in the checkpoint."""
    named = pickle_globals(path)
    modules = {name for name in named if name.startswith(STUBBED)}
    if unknown := sorted(named - modules - IGNORED - SETTINGS_GLOBALS):
        raise ArtifactError(
            f"{path} uses code that no detection checkpoint needs: {', '.join(unknown)}",
            hint="do not open this file with other tools; download the weights from their publisher",
        )
    root = network_stub(unpickle(path, modules, IGNORED))
    if root is not None and root.class_name == DISTILLED:
        root = submodule_stub(root, "student_model")
    if root is None:
        raise ArtifactError(
            f"{path} has no network under 'ema' or 'model'", hint="name the best.pt of a training"
        )
    if root.class_name not in DETECTORS:
        raise UsageError(
            f"{path} has a {root.class_name.rpartition('.')[2]}, which is not a plain detector",
            hint="name a detection checkpoint: without -seg, -pose, -obb, -cls, -world in its name",
        )
    return root


def _build(path: Path, table: dict[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """The network that the package builds from a table of layers; the weights must match it."""
    tasks = import_ultralytics("nn.tasks", "a teacher of the ultralytics package")
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        with torch.device("meta"):  # check shapes without allocating: a table may ask for too much memory
            layers, _ = tasks.parse_model(deepcopy(table), ch=3, verbose=False)
        wanted = {f"model.{name}": tuple(tensor.shape) for name, tensor in layers.state_dict().items()}
        network = tasks.DetectionModel(table, verbose=False) if wanted == found else None
    except Exception as error:  # the package does not validate its input
        raise ArtifactError(
            f"the installed ultralytics cannot build the network of {path}: {error!r}", hint=TABLE_HINT
        ) from error
    if network is None:
        odd = next(iter(sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))))
        raise ArtifactError(
            f"the weights of {path} are not those that the installed ultralytics expects: {odd} is "
            f"{_shape(found.get(odd))}, expected {_shape(wanted.get(odd))}",
            hint=f"use a checkpoint that is not fused, pruned or quantised; or {TABLE_HINT}",
        )
    return network


def _layer_table(path: Path, given: object) -> dict[str, Any]:
    """A validated copy of a table of layers, safe to pass to the package."""
    untrusted = given if isinstance(given, dict) else {}

    def take(key: str, fits: Callable[[Any], bool], default: Any) -> Any:
        value = untrusted.get(key, default)
        if not fits(value):
            raise ArtifactError(f"{path}: the table of layers has {key} = {value!r:.80}", hint=TABLE_HINT)
        return value

    def is_number(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def is_table(value: object) -> bool:
        return _is_list(value) and bool(value)

    take("channels", lambda value: value == 3, 3)
    activation = take(
        "activation",
        lambda v: v is None or (isinstance(v, str) and ACTIVATION.fullmatch(v) is not None),
        None,
    )
    scales = take("scales", lambda v: v is None or isinstance(v, dict), None)
    table: dict[str, Any] = {
        "nc": take("nc", lambda v: type(v) is int and v > 0, 0),
        "reg_max": take("reg_max", lambda v: type(v) is int and 0 < v <= 64, BINS),
        "end2end": take("end2end", lambda v: v is None or isinstance(v, bool), None),
        "depth_multiple": take("depth_multiple", is_number, 1.0),
        "width_multiple": take("width_multiple", is_number, 1.0),
        **{part: [_row(path, row) for row in take(part, is_table, None)] for part in ("backbone", "head")},
        **({"activation": activation} if activation else {}),
    }
    if scales:
        scale = take("scale", lambda v: isinstance(v, str) and v in scales, None)
        gains = scales[scale]
        if not _is_list(gains) or len(gains) != 3 or not all(map(is_number, gains)):
            raise ArtifactError(f"{path}: the table of layers has the scale {gains!r:.80}", hint=TABLE_HINT)
        table |= {"scale": scale, "scales": {scale: list(gains)}}
    last = table["head"][-1]
    if last[2] not in HEADS or not _is_list(last[0]):
        raise UsageError(
            f"{path} has the head {last[2]}, which is not a plain detection head",
            hint="name a detection checkpoint",
        )
    return table


def _row(path: Path, row: Any) -> list[Any]:
    """A validated copy of one row: input layers, repeats, class, arguments."""
    if _is_list(row) and len(row) == 4:
        source, repeats, layer, arguments = row
        sources = source if _is_list(source) else [source]
        plain = all(type(s) is int for s in sources) and type(repeats) is int and 0 < repeats <= 100
        known = isinstance(layer, str) and layer in LAYERS
        if plain and known and _is_list(arguments) and all(map(_is_argument, arguments)):
            return deepcopy([source, repeats, layer, arguments])
    raise ArtifactError(f"{path}: the table of layers has the row {row!r:.120}", hint=TABLE_HINT)


def _is_argument(value: Any) -> bool:
    if _is_list(value):
        return all(_is_argument(item) and not _is_list(item) for item in value)
    return (
        value is None or type(value) in {int, float, bool} or (type(value) is str and value in TEXT_ARGUMENTS)
    )


def _is_list(value: Any) -> bool:
    return type(value) is list  # no subclasses: their methods could run any code


def _name(path: Path, root: ModuleStub) -> str:
    """Name of the architecture from its YAML file, e.g. ``"yolov8n"``; else the name of the checkpoint."""
    table = root.__dict__["yaml"]
    stem = Path(str(table.get("yaml_file", ""))[:255]).stem
    return stem if NAME.fullmatch(stem) else path.stem


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
