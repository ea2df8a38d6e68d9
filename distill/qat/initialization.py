"""Initial state of quantisation-aware training: the scales of a post-training calibration.

Which tensors an engine quantises is known to ``export``. Training may not import it, so the command line
passes a function. Its result is saved as the checkpoint ``begin`` in the run folder. Other processes and
resumed runs read it from there, and its export is the baseline of the training.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distill.models.yolov5 import Yolov5
from distill.qat.checkpoint import load, save
from distill.qat.network import QuantizedYolov5
from distill.qat.settings import QatConfig
from distill.teacher import InitialStudent
from distill.training import distributed
from edgestill.checkpoint import Checkpoint
from edgestill.errors import UsageError
from edgestill.quantization import PostTraining

INITIAL_CHECKPOINT = "begin"

#: Post-training quantisation of a network for the recipe's engine family, calibrated on the recipe's data
#: sets.
Calibrate = Callable[[Checkpoint, QatConfig, tuple[str, ...]], PostTraining]


def quantize_student(
    student: InitialStudent,
    settings: QatConfig,
    data: tuple[str, ...],
    folder: Path,
    calibrate: Calibrate | None,
) -> Yolov5:
    """The student with fake quantisation, ready to train.

    Args:
        student: The float student.
        settings: Settings of the recipe.
        data: ``data.yaml`` files of the recipe.
        folder: Initial checkpoint. It is written if ``calibrate`` is given, and read otherwise.
        calibrate: Post-training quantisation; None for a resumed run.

    Raises:
        UsageError: There is neither ``calibrate`` nor an initial checkpoint.
    """
    if calibrate is not None:
        if distributed.is_main_process():
            _save(student, calibrate(_checkpoint(student), settings, data), folder)
        distributed.barrier()
    elif not folder.is_dir():
        raise UsageError(
            f"{folder} does not exist: a recipe with [quantisation] starts from calibrated scales",
            hint="start with `edgestill distill RECIPE`, or train in float: --set quantisation.family=''",
        )
    return load(folder, speed=settings.step_speed)[0]


def _checkpoint(student: InitialStudent) -> Checkpoint:
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in student.model.state_dict().items()}
    return Checkpoint(spec=student.spec, weights=weights)


def _save(student: InitialStudent, found: PostTraining, folder: Path) -> None:
    """Write the student with the scales, weights and biases of the post-training quantisation."""
    network = QuantizedYolov5(student.model, found.scheme)
    network.set_weights(found.weights, found.biases)
    save(folder, network, student.spec, {"calibration": dict(found.record)})
