"""Learning rate, momentum and distillation strength as pure functions of how far the training is."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

Shape = Literal["cosine", "linear"]
Course = Literal["constant", "cosine"]
Kind = Literal["sgd", "adamw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimiser:
    """SGD with Nesterov momentum, as the original YOLOv5 sets it up, or AdamW.

    One batch is one step. The loss is multiplied by the batch size, so that SGD's ``lr`` means the same as in
    the original, which adds up batches to 64 images before it steps. AdamW does not mind the loss's scale and
    gets further in a few thousand steps; its ``lr`` is about a tenth.

    Attributes:
        kind: ``sgd`` or ``adamw``.
        lr: Learning rate after the warm-up.
        final: Fraction of ``lr`` that is left at the end.
        shape: How the learning rate falls: ``cosine`` or ``linear``.
        momentum: After the warm-up; AdamW's first beta.
        weight_decay: On convolution weights only.
        warmup_epochs: Length of the warm-up; a fraction is allowed.
        warmup_bias_lr: Where the biases' learning rate starts; that of all else starts at 0.
        warmup_momentum: Where the momentum starts.
        clip: Largest norm of the gradient of all parameters together.
        ema_decay: Decay of the weights' moving average, reached slowly.
        ema_steps: Steps in which the decay reaches 63 % of its final value.
    """

    kind: Kind = "sgd"
    lr: float = 0.01
    final: float = 0.05
    shape: Shape = "cosine"
    momentum: float = 0.937
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    warmup_bias_lr: float = 0.1
    warmup_momentum: float = 0.8
    clip: float = 10.0
    ema_decay: float = 0.9998
    ema_steps: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the optimiser uses in one step."""

    lr: float
    bias_lr: float
    momentum: float


def falling(shape: Shape, final: float, done: float) -> float:
    """Factor on a rate when the fraction ``done`` of a training is over: from 1 down to ``final``."""
    left = (1 + cos(pi * done)) / 2 if shape == "cosine" else 1 - done
    return final + (1 - final) * left


def rates(optimiser: Optimiser, step: int, steps_per_epoch: int, epochs: int) -> Rates:
    """Learning rates and momentum of a step, counted from 0 over all epochs."""
    lr = optimiser.lr * falling(optimiser.shape, optimiser.final, step / (steps_per_epoch * epochs))
    warmup = round(optimiser.warmup_epochs * steps_per_epoch)
    if step >= warmup:
        return Rates(lr=lr, bias_lr=lr, momentum=optimiser.momentum)
    done = step / warmup
    start, span = optimiser.warmup_momentum, optimiser.momentum - optimiser.warmup_momentum
    return Rates(
        lr=lr * done,
        bias_lr=optimiser.warmup_bias_lr + (lr - optimiser.warmup_bias_lr) * done,
        momentum=start + span * done,
    )


def strength(course: Course, floor: float, off_at: int, epoch: int, epochs: int) -> float:
    """Factor on a distillation term in an epoch, counted from 0.

    Args:
        course: ``constant``, or ``cosine`` from 1 down to ``floor`` in the last epoch.
        floor: What is left at the end of ``cosine``.
        off_at: From this epoch on the term is off; 0 never.
        epoch: The epoch.
        epochs: How many there are.
    """
    if off_at and epoch >= off_at:
        return 0.0
    if course == "constant":
        return 1.0
    return falling("cosine", floor, epoch / max(epochs - 1, 1))
