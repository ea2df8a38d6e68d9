"""Selects the detection loss for the head of the student."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from distill.losses.anchor_loss import AnchorLoss, LossGains
from distill.losses.dfl_loss import DflGains, DflLoss
from edgestill.spec import ModelSpec


class DetectionLoss(Protocol):
    """A detection loss."""

    def __call__(self, raw: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The total times the batch size, with a gradient, and its detached, weighted terms per image.

        Args:
            raw: The head's raw maps, by level, any float type.
            targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.
        """
        ...


def select_loss(
    spec: ModelSpec, gains: LossGains | None = None, dfl: DflGains | None = None
) -> DetectionLoss:
    """The detection loss for a student.

    Args:
        spec: Contract of the student, at the size of the training images.
        gains: Weights of the terms for an anchor head.
        dfl: Weights of the terms for a ``dfl`` head.

    Raises:
        UsageError: ``gains.balance`` has the wrong number of entries.
    """
    return DflLoss(spec, dfl) if spec.head == "dfl" else AnchorLoss(spec, gains)
