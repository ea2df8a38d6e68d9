"""Detection loss of a ``dfl`` head: CIoU of the boxes, distribution focal loss of the distances, classes.

Cells that are assigned to a box (``distill.losses.task_aligned_assigner``) count with their weight in all
three terms; the class target of the others is 0. The values are those of YOLOv5u's training. Boxes and
targets of unassigned cells are not computed, which saves most of the work.

Convention: as for anchor heads, the total is multiplied by the batch size.

Source: Li et al., Generalized Focal Loss, https://arxiv.org/abs/2006.04388 (distances); ``v8DetectionLoss``
of ultralytics/utils/loss.py, https://github.com/ultralytics/ultralytics (formulas only).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.anchor_loss import ciou
from distill.losses.task_aligned_assigner import Positives, assign, predicted_boxes, rows_of
from distill.models.head_outputs import BINS, SIDES, split_columns
from distill.training.distributed import denominator
from edgestill.spec import ModelSpec

MAX_DISTANCE = BINS - 1 - 0.01  # cells; below the last bin, because the target lies between two bins


@dataclass(frozen=True, slots=True, kw_only=True)
class DflGains:
    """Weights of the terms.

    Attributes:
        box: Weight of the CIoU term.
        cls: Weight of the class term.
        dfl: Weight of the distribution focal loss.
    """

    box: float = 7.5
    cls: float = 0.5
    dfl: float = 1.5


class DflLoss:
    """Loss of raw maps and true boxes, computed in float32 for any dtype of the network.

    Args:
        spec: The model's contract: classes and strides.
        hyp: Weights of the terms.
    """

    def __init__(self, spec: ModelSpec, hyp: DflGains | None = None) -> None:
        self.spec = spec
        self.hyp = DflGains() if hyp is None else hyp

    def __call__(self, raw: Sequence[Tensor], targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss of a batch.

        Args:
            raw: ``[B, 1, h, w, 64 + nc]`` by level, any float type.
            targets: Image, class, cx, cy, w, h (normalised to the input); float32 ``[n, 6]``, n may be 0.

        Returns:
            The total times the batch size (a scalar with a gradient), and its detached, weighted terms
            ``box``, ``cls``, ``dfl`` per image.
        """
        with torch.autocast(raw[0].device.type, enabled=False):
            match = assign(raw, targets.to(raw[0].device, torch.float32), self.spec.strides)
            size = denominator(match.weight.sum())
            row = split_columns(rows_of(raw, match.row), "dfl")
            assert row.box is not None
            overlap = ciou(predicted_boxes(row.box, match.centre), match.box)
            terms = {
                "box": ((1 - overlap) * match.weight).sum() * (self.hyp.box / size),
                "cls": (_background_loss(raw) - _target_logits(row.cls, match)) * (self.hyp.cls / size),
                "dfl": (_distribution_focal_loss(row.box, match) * match.weight).sum()
                * (self.hyp.dfl / size),
            }
            total = (terms["box"] + terms["cls"] + terms["dfl"]) * len(raw[0])
        return total, {name: term.detach() for name, term in terms.items()}


def _background_loss(raw: Sequence[Tensor]) -> Tensor:
    """Binary cross entropy of all class logits with the target 0: the sum of softplus(logit)."""
    return torch.stack([F.softplus(split_columns(level, "dfl").cls.float()).sum() for level in raw]).sum()


def _target_logits(logits: Tensor, match: Positives) -> Tensor:
    """Sum of target * logit over the assigned cells: the loss less than with all targets 0."""
    return (logits.gather(1, match.class_id[:, None]).squeeze(1) * match.weight).sum()


def _distribution_focal_loss(logits: Tensor, match: Positives) -> Tensor:
    """Cross entropy with the two bins around a true distance, mean over the sides; ``[M, 64]`` to ``[M]``."""
    centre, half = match.box[:, :2], match.box[:, 2:] / 2
    low, high = match.centre - (centre - half), centre + half - match.centre
    wanted = torch.cat((low, high), 1).clamp(0, MAX_DISTANCE)
    below = wanted.floor()
    share = wanted - below  # weight of the upper bin
    log_p = logits.unflatten(1, (SIDES, BINS)).log_softmax(2)
    near, far = (log_p.gather(2, bins.long()[..., None]).squeeze(2) for bins in (below, below + 1))
    cost: Tensor = ((share - 1) * near - share * far).mean(1)
    return cost
