"""One step of a training: both networks on a batch, the losses, and what follows from their gradients.

Conventions: every term is multiplied by the batch size, as the detection loss is, so that a weight in a
recipe means the same at every batch size. Distillation terms are computed in float32. One batch is one step:
gradients are not accumulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from distill.data.loader import Batch
from distill.models.feature_hooks import forward_features
from distill.training import distributed
from distill.training.setup import Run
from edgestill.errors import UsageError


def step(run: Run, batch: Batch, strengths: Mapping[str, float]) -> dict[str, float]:
    """One step of the optimiser.

    Args:
        run: The training; its networks, optimiser and moving average change.
        batch: What to learn from; of several processes, this one's part of it.
        strengths: Factor on each distillation method in this epoch; 0 switches it off.

    Returns:
        Every part of the loss, per image, over all processes.

    Raises:
        UsageError: A part of the loss or the gradient is not finite; the weights are as they were.
    """
    total, parts = losses(run, batch, strengths)
    run.optimiser.zero_grad(set_to_none=True)
    # Each process saw a part of the batch, and its gradients are a part of a mean.
    run.scaler.scale(total * distributed.processes()).backward()
    norm = _clip(run)
    # All numbers at once: each alone would wait for the device.
    *values, length = distributed.mean(torch.stack([*parts.values(), norm])).tolist()
    found = dict(zip(parts, values, strict=True))
    _check_finite(run, found, length)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    run.ema.update(run.model)
    return found


def losses(run: Run, batch: Batch, strengths: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, times its size, and its detached parts per image."""
    compute = run.compute
    images = compute.images(batch.images, run.spec.scale)
    targets = batch.targets.to(compute.device, non_blocking=True)
    active = {name: factor for name, factor in strengths.items() if factor}
    distilled: dict[str, Tensor] = {}
    if active and run.teacher is not None:
        # The teacher sees the tensor that the student sees, augmentation included.
        teacher_outputs = run.teacher.forward_features(images, compute)
        with compute.autocast():
            student_outputs = forward_features(run.model, images, run.spec.head)
        student_outputs = student_outputs.in_float32()
        raw = student_outputs.raw
        for name, factor in active.items():
            for part, value in run.terms[name](student_outputs, teacher_outputs, targets).items():
                distilled[f"{name}_{part}"] = factor * value
    else:
        with compute.autocast():
            raw = run.model(images)
    total, parts = _detection(run, raw, targets, batch.labelled)
    if distilled:
        total = total + len(images) * torch.stack(list(distilled.values())).sum()
    return total, {name: part.detach() for name, part in {**parts, **distilled}.items()}


def _detection(
    run: Run, raw: Sequence[Tensor], targets: Tensor, labelled: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The detection loss of the labelled images, times their number, and its parts for each of them.

    Of several processes, the weight of a box may differ from one process to the next as the numbers of
    labelled images do, by one.
    """
    if labelled is None:
        return run.loss(raw, targets)
    if not labelled.any():  # the loss is computed all the same: processes meet in it
        total, parts = run.loss(raw, targets)
        return 0.0 * total, {name: 0.0 * part for name, part in parts.items()}
    number = labelled.cumsum(0) - 1  # among the labelled images
    rows = labelled.nonzero().flatten().to(raw[0].device)
    moved = targets.clone()
    moved[:, 0] = number.to(targets)[targets[:, 0].long()]
    return run.loss([level.index_select(0, rows) for level in raw], moved)


def _clip(run: Run) -> Tensor:
    """Bring all processes' gradients together, limit their length, and give what it was."""
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    distributed.average_gradients(parameters)
    run.scaler.unscale_(run.optimiser)
    return nn.utils.clip_grad_norm_(parameters, run.recipe.optimiser.clip)


def _check_finite(run: Run, parts: Mapping[str, float], norm: float) -> None:
    """Stop before a step that would spoil the weights."""
    bad = next(
        (f"the loss part {name} is {value}" for name, value in parts.items() if not isfinite(value)), None
    )
    # A gradient that FP16 cannot hold is routine: the scaler leaves out the step and scales less.
    if bad is None and not isfinite(norm) and not run.scaler.is_enabled():
        bad = f"the gradient is {norm}"
    if bad is None:
        return
    kept = next((name for name in ("last", "best") if (run.out / name).is_dir()), None)
    start = f"--set student.init={run.out / kept} and another --out go on from its weights, " if kept else ""
    raise UsageError(
        f"{bad} in epoch {run.at.epoch + 1}, step {run.at.step + 1}",
        hint=f"{start}with a lower optimiser.lr or weight of that part, or --set precision=fp32",
    )
