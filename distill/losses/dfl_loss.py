"""The ordinary detection loss of a ``dfl`` head: boxes by CIoU, distances by their bins, classes.

Every cell that answers for a box (``distill.losses.task_aligned_assigner``) counts by its weight, in all
three terms; a cell that does not should score 0. The values are those of YOLOv5u's own training. The boxes of
cells that answer for nothing are never computed, and no target is held for them, which makes it a fraction of
the work.

Convention: as with the anchor heads' loss, the total is multiplied by the batch size.

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
from distill.models.head_outputs import BINS, SIDES, parts
from distill.training.distributed import denominator
from edgestill.spec import ModelSpec

FARTHEST = BINS - 1 - 0.01  # cells: the last bin needs a neighbour


@dataclass(frozen=True, slots=True, kw_only=True)
class DflGains:
    """Weights of the terms.

    Attributes:
        box: Weight of the overlap.
        cls: Weight of the classes.
        dfl: Weight of the binned distances.
    """

    box: float = 7.5
    cls: float = 0.5
    dfl: float = 1.5


class DflLoss:
    """Loss of raw maps against true boxes, in float32 whatever the network ran in.

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
            row = parts(rows_of(raw, match.row), "dfl")
            assert row.box is not None
            overlap = ciou(predicted_boxes(row.box, match.centre), match.box)
            terms = {
                "box": ((1 - overlap) * match.weight).sum() * (self.hyp.box / size),
                "cls": (_as_if_empty(raw) - _answered(row.cls, match)) * (self.hyp.cls / size),
                "dfl": (_distances(row.box, match) * match.weight).sum() * (self.hyp.dfl / size),
            }
            total = (terms["box"] + terms["cls"] + terms["dfl"]) * len(raw[0])
        return total, {name: term.detach() for name, term in terms.items()}


def _as_if_empty(raw: Sequence[Tensor]) -> Tensor:
    """Binary cross entropy of all class logits against 0: softplus, summed."""
    return torch.stack([F.softplus(parts(level, "dfl").cls.float()).sum() for level in raw]).sum()


def _answered(logits: Tensor, match: Positives) -> Tensor:
    """What the class targets t take off it, ``t * logit`` each: they are 0 but for the answering cells."""
    return (logits.gather(1, match.class_id[:, None]).squeeze(1) * match.weight).sum()


def _distances(logits: Tensor, match: Positives) -> Tensor:
    """Cross entropy of the two bins around a true distance, mean over the sides; ``[M, 64]`` to ``[M]``."""
    centre, half = match.box[:, :2], match.box[:, 2:] / 2
    low, high = match.centre - (centre - half), centre + half - match.centre
    wanted = torch.cat((low, high), 1).clamp(0, FARTHEST)
    below = wanted.floor()
    share = wanted - below  # of the bin above
    log_p = logits.unflatten(1, (SIDES, BINS)).log_softmax(2)
    near, far = (log_p.gather(2, bins.long()[..., None]).squeeze(2) for bins in (below, below + 1))
    cost: Tensor = ((share - 1) * near - share * far).mean(1)
    return cost
