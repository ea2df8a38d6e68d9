"""Save and load networks as checkpoint folders; also loads original YOLOv5 ``.pt`` files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill.checkpoints.yolov5_pt import load_yolov5_pt
from distill.models.head import AnchorHead
from distill.models.yolov5 import Yolov5, from_spec, weight_mismatch
from edgestill.architecture import HEAD_INDEX
from edgestill.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from edgestill.errors import ArtifactError
from edgestill.quantization import QuantizationScheme
from edgestill.spec import ModelSpec

ANCHOR_TOLERANCE = 1e-3  # relative; twice the rounding error of FP16 storage
HINT = "weights and spec must come from the same training; copy both again"


def save(
    folder: Path,
    model: Yolov5,
    spec: ModelSpec,
    about: Mapping[str, Any],
    *,
    half: bool = False,
    scheme: QuantizationScheme | None = None,
) -> None:
    """Write a checkpoint folder with every tensor of the network.

    Args:
        folder: Checkpoint folder; its files are replaced.
        model: The network, on any device.
        spec: Its contract.
        about: Information about the training; JSON data.
        half: Whether to store float weights as FP16.
        scheme: Quantisation scheme of a QAT student; its scales stay float32.

    Raises:
        ArtifactError: The spec does not describe the network, or a value is not finite in the stored type.
    """
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    _check(spec, weights, where=str(folder))
    limit = np.finfo(np.float16 if half else np.float32).max
    for name, array in weights.items():
        if array.dtype == np.float32 and not np.all(np.abs(array) <= limit):  # also catches NaN
            raise ArtifactError(
                f"{folder} was not written: {name} is not finite in {'FP16' if half else 'FP32'}",
                hint="store the weights as FP32"
                if half
                else "the training diverged: lower the learning rate",
            )
    made = Checkpoint(spec=spec, weights=weights, about=about, scheme=scheme)
    write_checkpoint(folder, made, half=half)


def load(path: Path) -> tuple[Yolov5, ModelSpec, Mapping[str, Any]]:
    """Read a checkpoint folder, or an original YOLOv5 ``.pt`` file.

    Returns:
        The network (float32, on the CPU, in evaluation mode), its contract, and information about the
        training.

    Raises:
        ArtifactError: The path is missing or broken, or weights and spec do not match.
    """
    checkpoint = read_checkpoint(path) if path.is_dir() else load_yolov5_pt(path)
    _check(checkpoint.spec, checkpoint.weights, where=str(path))
    model = from_spec(checkpoint.spec)
    exact = model.head.anchors.clone() if isinstance(model.head, AnchorHead) else None
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    if isinstance(model.head, AnchorHead) and exact is not None:
        model.head.anchors.copy_(
            exact
        )  # those of the spec have full precision, and the runtime decodes with them
    return model.eval(), checkpoint.spec, checkpoint.about


def _check(spec: ModelSpec, weights: Mapping[str, Any], *, where: str) -> None:
    """Raise ArtifactError if weights and spec are not of the same network."""
    shapes = {name: tuple(array.shape) for name, array in weights.items()}
    if difference := weight_mismatch(spec, shapes):
        raise ArtifactError(
            f"{where}: the weights are not those of {spec.name} with a {spec.head} head and "
            f"{spec.nc} classes: {difference}",
            hint=HINT,
        )
    if not spec.anchors_px:
        return
    stored = weights[f"model.{HEAD_INDEX}.anchors"] * np.reshape(spec.strides, (-1, 1, 1))
    if not np.allclose(stored, spec.anchors_px, rtol=ANCHOR_TOLERANCE):
        raise ArtifactError(
            f"{where}: the weights were trained with anchors {stored.tolist()}, "
            f"the spec has {spec.anchors_px}",
            hint=HINT,
        )
