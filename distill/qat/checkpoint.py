"""Networks to and from disk with their roundings, where they have some."""

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
    """Write a checkpoint folder; of a network with roundings an ordinary one, and its scales beside it.

    Raises:
        ArtifactError: See ``distill.checkpoints.native.save``.
    """
    if not isinstance(model, QuantizedYolov5):
        native.save(folder, model, spec, about)
        return
    plain, scheme = model.settled(spec)
    native.save(folder, plain, spec, about, scheme=scheme)


def load(path: Path, *, speed: float = 1.0) -> tuple[Yolov5, ModelSpec]:
    """A network as it was trained, with its roundings if it has some.

    It is float32, on the CPU, in evaluation mode.

    Args:
        path: A checkpoint folder, or an original ``.pt`` file.
        speed: See ``settings.Quantisation.step_speed``; of no meaning where nothing is trained.

    Raises:
        ArtifactError: See ``distill.checkpoints.native.load``; or the scales are those of another network.
    """
    model, spec, _ = native.load(path)
    scheme = read_checkpoint(path).scheme if path.is_dir() else None
    if scheme is None:
        return model, spec
    try:
        return QuantizedYolov5(model, scheme, speed=speed).eval(), spec
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ArtifactError(
            f"{path}: the scales are of another network: {error!r}",
            hint="weights and spec must come from the same training: copy both again",
        ) from error
