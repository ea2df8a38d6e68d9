"""Where a training with rounding begins: with the scales that an export would choose without it.

Where a family of engines rounds is known to ``export``, which is on the same floor as training: the command
line hands it down as a function. What it gave is kept as a checkpoint in the run's folder, ``begin``: other
processes and a run that goes on read it there, and its export shows what the training gained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distill.models.yolov5 import Yolov5
from distill.qat.checkpoint import load, save
from distill.qat.network import QuantizedYolov5
from distill.qat.settings import Quantisation
from distill.teacher import Start
from distill.training import distributed
from edgestill.checkpoint import Checkpoint
from edgestill.errors import UsageError
from edgestill.quantization import PostTraining

BEGIN = "begin"

#: Says where the family of a recipe rounds a network, given the recipe's data sets.
Place = Callable[[Checkpoint, Quantisation, tuple[str, ...]], PostTraining]


def begin(
    student: Start, settings: Quantisation, data: tuple[str, ...], folder: Path, place: Place | None
) -> Yolov5:
    """A student with the roundings of a recipe.

    Args:
        student: In float.
        settings: The recipe's.
        data: The recipe's data sets.
        folder: Where the beginning is kept; what is there already is used, None of it if ``place`` is given.
        place: Finds the roundings; None for a run that goes on.

    Raises:
        UsageError: Nobody said where to round.
    """
    if place is not None:
        if distributed.is_first():
            _keep(student, place(_checkpoint(student), settings, data), folder)
        distributed.wait()
    elif not folder.is_dir():
        raise UsageError(
            "a recipe with [quantisation] must be told where an export rounds, and nobody told it",
            hint="edgestill distill RECIPE, or --set quantisation.family=''",
        )
    return load(folder, speed=settings.step_speed)[0]


def _checkpoint(student: Start) -> Checkpoint:
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in student.model.state_dict().items()}
    return Checkpoint(spec=student.spec, weights=weights)


def _keep(student: Start, found: PostTraining, folder: Path) -> None:
    """Write the student as an export would, with the weights and biases that it would choose."""
    network = QuantizedYolov5(student.model, found.scheme)
    network.put(found.weights, found.biases)
    save(folder, network, student.spec, {"calibration": dict(found.record)})
