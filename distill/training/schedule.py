"""Schedules of learning rate, momentum and method weights, as pure functions of step or epoch."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from edgestill.errors import UsageError

DecayShape = Literal["cosine", "linear"]
WeightSchedule = Literal["constant", "cosine"]
OptimiserKind = Literal["sgd", "adamw"]

#: Smallest and largest value of a setting with which the optimisers compute.
_RANGES = {
    "lr": (1e-12, 100.0),
    "final": (0.0, 1000.0),
    "flat": (0.0, 1.0),
    "momentum": (0.0, 0.9999),
    "weight_decay": (0.0, 100.0),
    "warmup_epochs": (0.0, 1e6),
    "warmup_bias_lr": (0.0, 100.0),
    "warmup_momentum": (0.0, 0.9999),
    "clip": (1e-9, 1e9),
    "ema_decay": (0.0, 1.0),
    "ema_steps": (1, 1e9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """Optimiser and its schedule: SGD with Nesterov momentum as in the original YOLOv5, or AdamW.

    There is one optimiser step per batch. The loss is multiplied by the batch size, so SGD's ``lr`` means the
    same as in the original, which accumulates gradients over 64 images. AdamW does not depend on the scale of
    the loss and learns more in a few thousand steps; its ``lr`` is about a tenth of SGD's.

    Attributes:
        kind: ``sgd`` or ``adamw``.
        lr: Learning rate after the warm-up.
        final: Final learning rate as a fraction of ``lr``.
        shape: Decay of the learning rate: ``cosine`` or ``linear``.
        flat: Fraction of the training before the decay begins. RTMDet's "flat-cosine" is ``cosine`` with 0.5.
        momentum: Momentum after the warm-up; for AdamW the first beta.
        weight_decay: Weight decay; applied to convolution weights only.
        warmup_epochs: Length of the warm-up in epochs; may be fractional.
        warmup_bias_lr: Initial learning rate of the biases; the others start at 0.
        warmup_momentum: Initial momentum.
        clip: Maximum L2 norm of the gradient over all parameters.
        ema_decay: Final decay of the exponential moving average of the weights.
        ema_steps: Steps until the decay reaches 63 % of ``ema_decay``.
    """

    kind: OptimiserKind = "sgd"
    lr: float = 0.01
    final: float = 0.05
    shape: DecayShape = "cosine"
    flat: float = 0.0
    momentum: float = 0.937
    weight_decay: float = 5e-4
    warmup_epochs: float = 2.0
    warmup_bias_lr: float = 0.1
    warmup_momentum: float = 0.8
    clip: float = 10.0
    ema_decay: float = 0.9998
    ema_steps: int = 1000

    def __post_init__(self) -> None:
        for key, (least, most) in _RANGES.items():
            value = getattr(self, key)
            if not least <= value <= most:
                raise UsageError(f"optimiser.{key} = {value}", hint=f"from {least:g} to {most:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Learning rates and momentum of one step.

    Attributes:
        lr: Learning rate of weights and norms.
        bias_lr: Learning rate of the student's biases.
        momentum: Momentum, or AdamW's first beta.
    """

    lr: float
    bias_lr: float
    momentum: float


def decay(shape: DecayShape, final: float, done: float, flat: float = 0.0) -> float:
    """Decay factor after the fraction ``done`` of the training, in [0, 1]: from 1 down to ``final``.

    Args:
        shape: Of the decay.
        final: The last value.
        done: In [0, 1].
        flat: The fraction until which the factor stays 1, in [0, 1].
    """
    if done <= flat:
        return 1.0
    done = (done - flat) / (1 - flat)
    left = (1 + cos(pi * done)) / 2 if shape == "cosine" else 1 - done
    return final + (1 - final) * left


def rates(optimiser: OptimiserConfig, step: int, steps_per_epoch: int, epochs: int) -> Rates:
    """Learning rates and momentum of a step; steps count from 0 over all epochs."""
    done = step / (steps_per_epoch * epochs)
    lr = optimiser.lr * decay(optimiser.shape, optimiser.final, done, optimiser.flat)
    warmup = round(optimiser.warmup_epochs * steps_per_epoch)
    if step >= warmup:
        return Rates(lr=lr, bias_lr=lr, momentum=optimiser.momentum)
    risen = step / warmup
    start, span = optimiser.warmup_momentum, optimiser.momentum - optimiser.warmup_momentum
    return Rates(
        lr=lr * risen,
        bias_lr=optimiser.warmup_bias_lr + (lr - optimiser.warmup_bias_lr) * risen,
        momentum=start + span * risen,
    )


def method_weight(course: WeightSchedule, floor: float, off_at: int, epoch: int, epochs: int) -> float:
    """Factor on the loss of a distillation method in an epoch.

    Args:
        course: ``constant``, or ``cosine`` from 1 down to ``floor`` in the last epoch.
        floor: Final factor of ``cosine``.
        off_at: First epoch in which the method is off; 0 for never.
        epoch: Current epoch, from 0.
        epochs: Number of epochs.
    """
    if off_at and epoch >= off_at:
        return 0.0
    if course == "constant":
        return 1.0
    return decay("cosine", floor, epoch / max(epochs - 1, 1))
