"""Which detection loss a student is trained with: its head decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from distill.losses.anchor_loss import DetectionLoss, LossGains
from distill.losses.dfl_loss import DflGains, DflLoss
from edgestill.spec import ModelSpec


class Loss(Protocol):
    """A detection loss."""

    def __call__(self, raw: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The total times the batch size, with a gradient, and its detached, weighted terms per image.

        Args:
            raw: The head's raw maps, by level, any float type.
            targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.
        """
        ...


def loss_for(spec: ModelSpec, gains: LossGains | None = None, dfl: DflGains | None = None) -> Loss:
    """The loss of a student.

    Args:
        spec: Its contract, at the size of the training images.
        gains: Weights of the terms of an anchor head.
        dfl: Weights of the terms of a ``dfl`` head.

    Raises:
        UsageError: The weights are not for the student's number of levels.
    """
    return DflLoss(spec, dfl) if spec.head == "dfl" else DetectionLoss(spec, gains)
