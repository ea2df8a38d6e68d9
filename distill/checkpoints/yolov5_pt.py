"""``.pt`` files of the original YOLOv5 and of YOLOv5u, read without executing code from them.

See ``distill.checkpoints.safe_unpickle``. The tensors must be exactly those of an architecture of this
project.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from distill.checkpoints.safe_unpickle import (
    IGNORED_GLOBALS,
    SETTINGS_GLOBALS,
    ModuleStub,
    class_names,
    network_stub,
    pickle_globals,
    stub_modules,
    stub_tensors,
    unpickle,
)
from distill.checkpoints.training_settings import trained_hw
from distill.models.head_outputs import BINS, SIDES
from distill.models.yolov5 import weight_mismatch
from edgestill.architecture import BN_EPS, HEAD_INDEX, PREFIX, SIZES, STRIDES, layers
from edgestill.checkpoint import Checkpoint
from edgestill.errors import ArtifactError
from edgestill.files import sha256_file
from edgestill.spec import ModelSpec

_TORCH = (
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.upsampling.Upsample",
)
_ORIGINAL = (
    "models.yolo.Model",
    "models.yolo.DetectionModel",
    "models.yolo.Detect",
    "models.common.Conv",
    "models.common.C3",
    "models.common.Bottleneck",
    "models.common.SPPF",
    "models.common.Concat",
)
#: YOLOv5u: the same layers in the ``ultralytics`` package, with another head.
_ULTRALYTICS = (
    "ultralytics.nn.tasks.DetectionModel",
    "ultralytics.nn.modules.head.Detect",
    "ultralytics.nn.modules.conv.Conv",
    "ultralytics.nn.modules.conv.Concat",
    "ultralytics.nn.modules.block.C3",
    "ultralytics.nn.modules.block.Bottleneck",
    "ultralytics.nn.modules.block.SPPF",
    "ultralytics.nn.modules.block.DFL",
    "torch.nn.modules.linear.Identity",
)
_MODULES = frozenset((*_TORCH, *_ORIGINAL, *_ULTRALYTICS))
_KNOWN = _MODULES | IGNORED_GLOBALS | SETTINGS_GLOBALS
#: Networks of YOLOv5 and of the ``ultralytics`` package that are no detectors, by their class.
_OTHER_TASKS = {
    "SegmentationModel": "segmentation",
    "ClassificationModel": "classification",
    "PoseModel": "poses",
    "OBBModel": "rotated boxes",
}
#: Layers of releases before v6.0, which have another architecture.
_OLDER = frozenset({"models.common.Focus", "models.common.SPP", "models.common.BottleneckCSP"})


def load_yolov5_pt(path: Path) -> Checkpoint:
    """Read an original YOLOv5 v6/v7 P5 checkpoint, or one of YOLOv5u.

    Args:
        path: The ``.pt`` file.

    Returns:
        All tensors as float32 (or int64) with the original names. The input size of the spec is the one of
        the training, see ``distill.checkpoints.training_settings``.

    Raises:
        ArtifactError: The file is missing, broken or too large, names unexpected code, or has another
            network.
    """
    _check_names(path)
    content = unpickle(path, _MODULES)
    root = network_stub(content)
    if root is None:
        raise ArtifactError(
            f"{path} has no YOLOv5 model under 'ema' or 'model'",
            hint="name a .pt file of the original YOLOv5 train.py",
        )
    found = dict(stub_tensors(root))
    input_hw, told_by = trained_hw(content, root, max(STRIDES))
    spec = _spec(path, root, found, input_hw)
    if difference := weight_mismatch(spec, {name: tuple(t.shape) for name, t in found.items()}):
        raise ArtifactError(
            f"{path} is not a {spec.name} v6/v7 with {spec.nc} classes: {difference}",
            hint="only the unmodified P5 architectures n, s, m, l and x are supported",
        )
    _check_batch_norm(path, root)
    weights = {n: (t if t.dtype == torch.int64 else t.float()).numpy() for n, t in found.items()}
    return Checkpoint(
        spec=spec,
        weights=weights,
        about={
            "source": path.name,
            "format": "YOLOv5u" if spec.head == "dfl" else "original YOLOv5 checkpoint",
            "input_size": f"{input_hw[0]}x{input_hw[1]}, {told_by}",
        },
        sha256=sha256_file(path),
    )


def _check_names(path: Path) -> None:
    """Raise ArtifactError if the pickle names anything outside of the allow lists."""
    named = pickle_globals(path)
    if named & _OLDER:
        raise ArtifactError(
            f"{path} is of a YOLOv5 release before v6.0: it uses {', '.join(sorted(named & _OLDER))}",
            hint="use the weights of a release from v6.0 to v7.0",
        )
    unknown = sorted(named - _KNOWN)
    if tasks := [task for name in unknown if (task := _OTHER_TASKS.get(name.rpartition(".")[2]))]:
        raise ArtifactError(
            f"{path} is a network for {tasks[0]}, not a detector",
            hint="name a detection checkpoint: without -seg, -cls, -pose or -obb in its name",
        )
    if unknown and all(name.startswith(("ultralytics.nn.", "torch.nn.modules.")) for name in unknown):
        raise ArtifactError(
            f"{path} is not a YOLOv5 network: it uses {', '.join(unknown)}",
            hint="use it as a teacher (--set teacher=...); students must be YOLOv5",
        )
    if unknown:
        raise ArtifactError(
            f"{path} uses code that no YOLOv5 checkpoint needs: {', '.join(unknown)}",
            hint="do not open this file with other tools; download the weights from their publisher",
        )


def _check_batch_norm(path: Path, root: ModuleStub) -> None:
    """Raise ArtifactError if a batch norm divides by another epsilon than YOLOv5's, which no tensor shows."""
    for name, module in stub_modules(root):
        eps = module.__dict__.get("eps", BN_EPS)
        if module.class_name.endswith("BatchNorm2d") and not (isinstance(eps, float) and eps == BN_EPS):
            raise ArtifactError(
                f"{path}: the batch norm {name.rstrip('.')} has eps {eps}, YOLOv5's have {BN_EPS}",
                hint="only the unmodified P5 architectures n, s, m, l and x are supported",
            )


def _spec(path: Path, root: ModuleStub, found: Mapping[str, Tensor], input_hw: tuple[int, int]) -> ModelSpec:
    """The contract, from the shapes of the tensors and the class names."""
    head = f"model.{HEAD_INDEX}"
    stem, anchors = found.get("model.0.conv.weight"), found.get(f"{head}.anchors")
    predictor, box = (found.get(f"{head}.{name}.weight") for name in ("m.0", "cv2.0.2"))
    classes = found.get(f"{head}.cv3.0.2.weight")
    by_width = {layers(size)[0].out_channels: size for size in SIZES}
    size = by_width.get(len(stem)) if stem is not None and stem.dim() else None
    if size and classes is not None and box is not None and tuple(box.shape[:1]) == (SIDES * BINS,):
        return ModelSpec(
            name=PREFIX + size,
            input_hw=input_hw,
            classes=class_names(path, root, classes.shape[0] if classes.dim() else 0),
            anchors_px=(),
            head="dfl",
            layout="yolov8",
        )
    if size is None or anchors is None or predictor is None or tuple(anchors.shape) != (len(STRIDES), 3, 2):
        raise ArtifactError(
            f"{path} has no YOLOv5 v6/v7 P5 network: "
            f"stem {_shape(stem)}, anchors {_shape(anchors)}, head {_shape(predictor)}",
            hint="only the unmodified P5 architectures n, s, m, l and x are supported",
        )
    cells = torch.tensor(STRIDES).view(-1, 1, 1)
    return ModelSpec(
        name=PREFIX + size,
        input_hw=input_hw,
        classes=class_names(path, root, predictor.shape[0] // anchors.shape[1] - 5),
        anchors_px=tuple(tuple((w, h) for w, h in level) for level in (anchors.float() * cells).tolist()),
    )


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
