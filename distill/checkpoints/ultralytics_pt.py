"""Detection checkpoints of the ``ultralytics`` package as teachers, read without running any of their code.

Such a file holds a pickled network, its weights, and the table of layers that it was built from. The network
is not unpickled (see ``distill.checkpoints.safe_unpickle``): its table is copied piece by piece, as far as it
names known layers with plain arguments, the installed package builds a network from the copy, and the weights
must fit strictly. The copy matters: the package looks layers up by name among everything that it imports, and
evaluates the name of an activation as code.

Its maps are read where the head reads them. Of the head only its branch of raw predictions runs: of networks
that need no suppression (YOLOv10, YOLO26) the one-to-many branch, in which neighbours of an object speak too.

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
    EXTRAS,
    Stub,
    child,
    class_names,
    names_in,
    read,
    root_of,
    tensors,
)
from distill.checkpoints.ultralytics_import import borrow
from distill.models.frozen import Facts
from distill.models.head_outputs import BINS
from edgestill.errors import ArtifactError, UsageError

PACKAGE = "ultralytics."
STUBBED = (PACKAGE, "torch.nn.modules.")
IGNORED = EXTRAS | {"builtins.getattr"}  # some files pickle a method by it
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
WORDS = frozenset({"nc", "None", "nearest"})  # arguments that are text
ACTIVATION = re.compile(r"(torch\.)?nn\.(SiLU|ReLU|ReLU6|LeakyReLU|GELU|Hardswish|Mish)\([\d.]*\)")
NAME = re.compile(r"[\w.-]{1,64}")
BROKEN = "it was changed by hand, or written by a newer release: pip install -U ultralytics"


class RawHead(nn.Module):
    """The raw branch of a foreign head, in our form.

    Attributes:
        f: Indices of the layers that it reads; the package's forward pass asks for it.
        i: Its own index.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.f, self.i = head.f, head.i
        self.cv2 = head.cv2 if head.reg_max == BINS else None
        self.cv3 = head.cv3

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """``[B, 1, h, w, 64 + nc]`` by level, of the ``dfl`` head; or ``[B, 1, h, w, nc]``, class logits."""
        raw = []
        for level, feature in enumerate(features):
            towers = [tower[level](feature) for tower in (self.cv2, self.cv3) if tower is not None]
            raw.append(torch.cat(towers, 1).permute(0, 2, 3, 1).unsqueeze(1))
        return raw


def is_foreign(path: Path) -> bool:
    """Whether a ``.pt`` file was written by the ``ultralytics`` package.

    Raises:
        ArtifactError: The file is broken or too large.
    """
    return any(name.startswith(PACKAGE) for name in names_in(path))


def load_foreign(path: Path, *, fresh: bool = False) -> tuple[nn.Module, Facts]:
    """Build the network of a detection checkpoint.

    Args:
        path: The ``.pt`` file.
        fresh: Whether to leave the weights behind: random ones, as the package starts a training.

    Returns:
        The network, float32 and in evaluation mode, with ``RawHead`` as its last layer; and what it is.

    Raises:
        UsageError: It is no detector: it segments, classifies or finds poses.
        ArtifactError: The file is broken, wants to run code, or the package builds another network.
        DeviceError: ``ultralytics`` is not installed.
    """
    root = _root(path)
    plan = _plan(path, root.__dict__.get("yaml"))
    weights = {name: t if t.dtype == torch.int64 else t.float() for name, t in tensors(root)}
    network = _build(path, plan, weights)
    if not fresh:
        network.load_state_dict(weights)
    head = network.model[-1]
    strides = tuple(round(float(stride)) for stride in head.stride)
    levels = [f"p{stride.bit_length() - 1}" for stride in strides]
    facts = Facts(
        name=_name(path, root),
        classes=class_names(path, root, plan["nc"]),
        strides=strides,
        anchors_px=(),
        channels={level: tower[0].conv.in_channels for level, tower in zip(levels, head.cv2, strict=True)},
        layers=dict(zip(levels, head.f, strict=True)),
        head="dfl" if head.reg_max == BINS else None,
    )
    network.model[-1] = RawHead(head)
    return network.eval(), facts


def _root(path: Path) -> Stub:
    """The stub of the checkpoint's detection network."""
    named = names_in(path)
    modules = {name for name in named if name.startswith(STUBBED)}
    if unknown := sorted(named - modules - IGNORED):
        raise ArtifactError(
            f"{path} wants to use code that no detection checkpoint needs: {', '.join(unknown)}",
            hint="do not open this file with other tools; get the weights from their publisher",
        )
    root = root_of(read(path, modules, IGNORED))
    if root is not None and root.of == DISTILLED:
        root = child(root, "student_model")
    if root is None:
        raise ArtifactError(
            f"{path} holds no network under 'ema' or 'model'", hint="name the best.pt of a training"
        )
    if root.of not in DETECTORS:
        raise UsageError(
            f"{path} holds a {root.of.rpartition('.')[2]}, which is no plain detector",
            hint="name a detection checkpoint: without -seg, -pose, -obb, -cls, -world in its name",
        )
    return root


def _build(path: Path, plan: dict[str, Any], weights: Mapping[str, Tensor]) -> Any:
    """The package's network for a table of layers, fresh, if the weights fit it."""
    tasks = borrow("nn.tasks", "a teacher of the ultralytics package")
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        with torch.device("meta"):  # a table may ask for more memory than there is: its shapes come first
            layers, _ = tasks.parse_model(deepcopy(plan), ch=3, verbose=False)
        wanted = {f"model.{name}": tuple(tensor.shape) for name, tensor in layers.state_dict().items()}
        network = tasks.DetectionModel(plan, verbose=False) if wanted == found else None
    except Exception as error:  # the package checks nothing: a wrong table fails anywhere
        raise ArtifactError(
            f"the installed ultralytics cannot build the network of {path}: {error!r}", hint=BROKEN
        ) from error
    if network is None:
        odd = next(iter(sorted(name for name in {**wanted, **found} if wanted.get(name) != found.get(name))))
        raise ArtifactError(
            f"{path} is not the network that the installed ultralytics builds from its table: {odd} is "
            f"{_shape(found.get(odd))}, expected {_shape(wanted.get(odd))}",
            hint=f"name a checkpoint that is not fused, pruned or quantised; or {BROKEN}",
        )
    return network


def _plan(path: Path, given: object) -> dict[str, Any]:
    """A copy of a table of layers in which nothing can surprise the package that builds from it."""
    table = given if isinstance(given, dict) else {}

    def take(key: str, fits: Callable[[Any], bool], default: Any) -> Any:
        value = table.get(key, default)
        if not fits(value):
            raise ArtifactError(f"{path}: its table of layers has {key} = {value!r:.80}", hint=BROKEN)
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
    plan: dict[str, Any] = {
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
            raise ArtifactError(f"{path}: its table of layers has the scale {gains!r:.80}", hint=BROKEN)
        plan |= {"scale": scale, "scales": {scale: list(gains)}}
    last = plan["head"][-1]
    if last[2] not in HEADS or not _is_list(last[0]):
        raise UsageError(
            f"{path} ends in {last[2]}, which is no plain detection head", hint="name a detection checkpoint"
        )
    return plan


def _row(path: Path, row: Any) -> list[Any]:
    """A copy of one layer: where its input comes from, repeats, its class, arguments."""
    if _is_list(row) and len(row) == 4:
        source, repeats, layer, arguments = row
        sources = source if _is_list(source) else [source]
        plain = all(type(s) is int for s in sources) and type(repeats) is int and 0 < repeats <= 100
        known = isinstance(layer, str) and layer in LAYERS
        if plain and known and _is_list(arguments) and all(map(_is_argument, arguments)):
            return deepcopy([source, repeats, layer, arguments])
    raise ArtifactError(f"{path}: its table of layers has the row {row!r:.120}", hint=BROKEN)


def _is_argument(value: Any) -> bool:
    if _is_list(value):
        return all(_is_argument(item) and not _is_list(item) for item in value)
    return value is None or type(value) in {int, float, bool} or (type(value) is str and value in WORDS)


def _is_list(value: Any) -> bool:
    return type(value) is list  # a subclass could do anything when it is read


def _name(path: Path, root: Stub) -> str:
    """What the network was built from, e.g. ``"yolov8n"``; else the name of the file."""
    table = root.__dict__["yaml"]
    stem = Path(str(table.get("yaml_file", ""))[:255]).stem
    return stem if NAME.fullmatch(stem) else path.stem


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
