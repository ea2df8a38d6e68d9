"""Save and load networks together with their quantisation scheme, if they have one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.checkpoints import native
from distill.models.yolov5 import Yolov5
from distill.qat.network import QuantizedYolov5
from edgestill.checkpoint import read_checkpoint
from edgestill.errors import ArtifactError
from edgestill.spec import ModelSpec


def save(folder: Path, model: Yolov5, spec: ModelSpec, about: Mapping[str, Any]) -> None:
    """Write a checkpoint folder; a quantised network is saved as float weights plus its scheme.

    Raises:
        ArtifactError: See ``distill.checkpoints.native.save``.
    """
    if not isinstance(model, QuantizedYolov5):
        native.save(folder, model, spec, about)
        return
    float_model, scheme = model.to_float(spec)
    native.save(folder, float_model, spec, about, scheme=scheme)


def load(path: Path, *, speed: float = 1.0) -> tuple[Yolov5, ModelSpec]:
    """Load a network, with fake quantisation if the checkpoint has a scheme.

    The network is float32, on the CPU, in evaluation mode.

    Args:
        path: A checkpoint folder, or an original YOLOv5 ``.pt`` file.
        speed: See ``settings.QatConfig.step_speed``; matters for training only.

    Raises:
        ArtifactError: See ``distill.checkpoints.native.load``; or the scheme does not fit the network.
    """
    model, spec, _ = native.load(path)
    scheme = read_checkpoint(path).scheme if path.is_dir() else None
    if scheme is None:
        return model, spec
    try:
        return QuantizedYolov5(model, scheme, speed=speed).eval(), spec
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: the quantisation scheme does not fit the network: {error!r}",
            hint="weights and spec must come from the same training: copy both again",
        ) from error
