"""One training step: forward passes of teacher and student, losses, backward pass, optimiser, EMA.

Conventions: every loss term is multiplied by the batch size, as the detection loss is, so a weight in a
recipe means the same at every batch size. Distillation losses are computed in float32. There is one optimiser
step per batch; gradients are not accumulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from distill.data.loader import Batch
from distill.models.feature_hooks import forward_features
from distill.training import distributed
from distill.training.setup import TrainingRun
from edgestill.errors import UsageError


def step(run: TrainingRun, batch: Batch, method_weights: Mapping[str, float]) -> dict[str, float]:
    """Do one optimiser step.

    Args:
        run: The training; its networks, optimiser and moving average are updated.
        batch: This process's part of the batch.
        method_weights: Factor on each distillation method in this epoch; 0 switches it off.

    Returns:
        Every part of the loss by name, per image, mean over all processes.

    Raises:
        UsageError: A part of the loss or the gradient is not finite; the weights are unchanged.
    """
    total, parts = losses(run, batch, method_weights)
    run.optimiser.zero_grad(set_to_none=True)
    # Gradients are averaged over the processes, and each process has only a part of the batch.
    run.scaler.scale(total * distributed.world_size()).backward()
    norm = _clip(run)
    # One transfer for all values: each transfer waits for the device.
    *values, gradient_norm = distributed.all_reduce_mean(torch.stack([*parts.values(), norm])).tolist()
    found = dict(zip(parts, values, strict=True))
    _check_finite(run, found, gradient_norm)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    run.ema.update(run.model)
    return found


def losses(
    run: TrainingRun, batch: Batch, method_weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch times its size (a scalar with a gradient), and its detached parts per image."""
    compute = run.compute
    images = compute.images(batch.images, run.spec.scale)
    targets = batch.targets.to(compute.device, non_blocking=True)
    active = {name: factor for name, factor in method_weights.items() if factor}
    distilled: dict[str, Tensor] = {}
    if active and run.teacher is not None:
        # The teacher gets the same augmented tensor as the student.
        teacher_outputs = run.teacher.forward_features(images, compute)
        with compute.autocast():
            student_outputs = forward_features(run.model, images, run.spec.head)
        student_outputs = student_outputs.in_float32()
        raw = student_outputs.raw
        for name, factor in active.items():
            for part, value in run.method_losses[name](student_outputs, teacher_outputs, targets).items():
                distilled[f"{name}_{part}"] = factor * value
    else:
        with compute.autocast():
            raw = run.model(images)
    total, parts = _detection(run, raw, targets, batch.labelled)
    if distilled:
        total = total + len(images) * torch.stack(list(distilled.values())).sum()
    return total, {name: part.detach() for name, part in {**parts, **distilled}.items()}


def _detection(
    run: TrainingRun, raw: Sequence[Tensor], targets: Tensor, labelled: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The detection loss of the labelled images times their number, and its parts per labelled image.

    The numbers of labelled images in two processes may differ by one, and the weights of their boxes
    accordingly.
    """
    if labelled is None:
        return run.loss(raw, targets)
    if not labelled.any():  # still computed: the loss contains collective operations
        total, parts = run.loss(raw, targets)
        return 0.0 * total, {name: 0.0 * part for name, part in parts.items()}
    number = labelled.cumsum(0) - 1  # index among the labelled images
    rows = labelled.nonzero().flatten().to(raw[0].device)
    moved = targets.clone()
    moved[:, 0] = number.to(targets)[targets[:, 0].long()]
    return run.loss([level.index_select(0, rows) for level in raw], moved)


def _clip(run: TrainingRun) -> Tensor:
    """Average the gradients over the processes and clip them; returns the norm before clipping."""
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    distributed.average_gradients(parameters)
    run.scaler.unscale_(run.optimiser)
    return nn.utils.clip_grad_norm_(parameters, run.recipe.optimiser.clip)


def _check_finite(run: TrainingRun, parts: Mapping[str, float], norm: float) -> None:
    """Raise UsageError before a step that would make the weights non-finite."""
    bad = next(
        (f"the loss part {name} is {value}" for name, value in parts.items() if not isfinite(value)), None
    )
    # An overflow in FP16 is expected: the scaler skips the step and lowers its scale.
    if bad is None and not isfinite(norm) and not run.scaler.is_enabled():
        bad = f"the gradient is {norm}"
    if bad is None:
        return
    kept = next((name for name in ("last", "best") if (run.folder / name).is_dir()), None)
    start = f"start from --set student.init={run.folder / kept} with another --out, " if kept else ""
    raise UsageError(
        f"{bad} in epoch {run.counters.epoch + 1}, step {run.counters.step + 1}",
        hint=f"{start}use a lower optimiser.lr or weight of that part, or --set precision=fp32",
    )
