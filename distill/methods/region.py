"""Region distillation: classes on objects, localisation on objects and around them.

The key region (KDR) has the predictions that the head assigns to a true box. The expandable region (ELR) is
the ring of priors around it with a smaller overlap (``distill.methods._regions``; the two are disjoint).
Classes are compared on the key region, boxes on both. Each sum is divided by the sum of its weights over all
levels, so a term does not depend on the number of objects or the batch size: the training loop multiplies it
by the batch size.

Localisation, ``box``: ``ld`` compares the box outputs of the head. A ``dfl`` head has a distribution over 16
bins for each side, as in localisation distillation. An anchor head has one sigmoid for each coordinate,
compared as a Bernoulli distribution. ``soft_bins`` converts that sigmoid to a distribution over bins; inside
of the range it is ``T * difference^2 / (2 * bin_width^2)``, a scaled squared distance. ``iou`` is 1 - GIoU of
the decoded boxes, without a temperature. An auxiliary branch of bins beside an anchor head (as in YOLOv6) is
not implemented: the frozen teacher would need one too, and no published YOLOv5 has it.

Limitations. The paper does not define its regions; the definitions here are those of localisation
distillation. Its best temperature, 45, has no effect of its own (``distill.methods._divergence``): with
``compensate`` all temperatures from 25 to 45 give the same loss within 0.1 %, or 3 % where the teacher puts
all probability on one bin; without it 45 instead of 25 is a weight of 0.31. A softmax over the classes does
not match the sigmoids of a YOLO head and is 0 with one class. ``reduction = "reference"`` grows with the
number of objects and the batch size, as in the published code (whose authors warn of batches above 3).

Measured before the first step on rendered scenes (random yolov5n, trained yolov5s, 320 x 320 pixels,
detection loss 0.2; ``distill.profiling.term_size``): the terms sum to 1.8 times the detection loss, with 1.6
times its gradient on the student's feature maps.

Source: Knowledge distillation of YOLOv5s by regions, https://arxiv.org/abs/2410.12259 (regions, split,
temperatures); Zheng et al., Localization Distillation for Dense Object Detection, CVPR 2022,
https://arxiv.org/abs/2102.12252 (formulas); Yang et al., ICCV 2023, https://arxiv.org/abs/2308.14286 (iou).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn

from distill.method import MethodInputs, NetworkOutputs, StudentTeacherInfo
from distill.methods._divergence import bernoulli, categorical
from distill.methods._regions import anchor_assigned, atss_regions, giou, grids_of, priors_px, task_aligned
from distill.models.head_outputs import BINS, SIDES, HeadColumns, cell_centres, corners_px, split_columns
from distill.training.distributed import denominator, world_size
from edgestill.errors import UsageError

INPUTS: MethodInputs = "predictions"
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they are added to the detection loss.
        cls: Gain of the classes on the key region. The paper has no gains; these make the gradient of each
            term similar to that of the detection loss, for a yolov5n pretrained on other images.
        obj: Gain of objectness on the key region; unused for heads without objectness.
        kdr: Gain of localisation on the key region; localisation distillation has the same gain on both
            regions and a factor of a quarter on the ring.
        elr: Gain of localisation on the ring.
        mode: Definition of the key region. ``yolo``: predictions assigned by the head, by anchors for an
            anchor head, by task alignment of the teacher's predictions for ``dfl``. ``atss``: positives of
            ATSS.
        gamma: Lower end of the ring as a fraction of ATSS's threshold; 1 for no ring. Localisation
            distillation has 0.25.
        kdr_weight: Weight of each prediction of the key region: 1, or the confidence of the student (as in
            the reference) or of the teacher.
        elr_weight: Weight of each prediction of the ring: IoU of its prior with the box, or 1.
        box: Comparison of boxes, see above; ``soft_bins`` is for anchor heads.
        temperature: Temperature of localisation in the first and last epoch, with half a cosine between them.
            Localisation distillation has 10; the paper's range is (25, 45), or (45, 25) for a falling one.
        compensate: Whether divergences are multiplied by the square of the temperature.
        classes: ``bernoulli`` compares each class and sums; ``softmax`` is the reference's.
        cls_temperature: Temperature of classes and objectness; the reference has 2 with its softmax.
        reduction: ``normalised``, or ``reference``: localisation is summed, with the mean over the bins and a
            factor of a quarter on the ring; the reference then has ``kdr_weight = "student"``.
        bins: Number of intervals of ``soft_bins``.
        bin_width: Standard deviation of a ``soft_bins`` distribution at temperature 1; the range is [0, 1].
        anchor_t: With ``yolo``, the maximum ratio between the sides of box and anchor, as in the detection
            loss.
    """

    weight: float = 1.0
    cls: float = 0.1
    obj: float = 0.1
    kdr: float = 1.0
    elr: float = 0.25
    mode: Literal["yolo", "atss"] = "yolo"
    gamma: float = 0.25
    kdr_weight: Literal["uniform", "student", "teacher"] = "uniform"
    elr_weight: Literal["overlap", "uniform"] = "overlap"
    box: Literal["ld", "soft_bins", "iou"] = "ld"
    temperature: tuple[float, float] = (10.0, 10.0)
    compensate: bool = True
    classes: Literal["bernoulli", "softmax"] = "bernoulli"
    cls_temperature: float = 1.0
    reduction: Literal["normalised", "reference"] = "normalised"
    bins: int = 16
    bin_width: float = 0.0625
    anchor_t: float = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class _Selection:
    """The M predictions of one region over all levels."""

    student: HeadColumns
    teacher: HeadColumns
    weight: Tensor  # [M]
    centre: Tensor  # [M, 2], input pixels
    prior: Tensor  # [M, 2], input pixels
    stride: Tensor  # [M, 1]


class Loss(nn.Module):
    """Divergence of the classes on objects, and of the boxes on and around them."""

    def __init__(self, config: Config, info: StudentTeacherInfo) -> None:
        super().__init__()
        if config.box == "soft_bins" and info.head == "dfl":
            raise UsageError(
                "box = soft_bins needs an anchor head; a dfl head already has bins",
                hint="--set methods.region.box=ld",
            )
        if min(config.temperature) <= 0 or config.cls_temperature <= 0:
            raise UsageError(
                f"temperature = {list(config.temperature)}, cls_temperature = {config.cls_temperature}",
                hint="above 0",
            )
        self.config = config
        self._info = info
        self._priors = priors_px(info.anchors_px, info.strides)
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """Set the temperature for the fraction ``done`` of the training, in [0, 1]."""
        first, last = self.config.temperature
        self.temperature = first + (last - first) * (1 - cos(pi * done)) / 2

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls``, ``obj`` (if the head has it), ``kdr``, ``elr``.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; detached.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config = self.config
        key, ring = self._regions(teacher, targets)
        kdr, elr = self._select(student, teacher, key), self._select(student, teacher, ring)
        confident = {"student": kdr.student, "teacher": kdr.teacher}.get(config.kdr_weight)
        on_key = kdr.weight if confident is None else _confidence(confident)
        on_ring = elr.weight if config.elr_weight == "overlap" else torch.ones_like(elr.weight)
        terms = {
            "cls": config.cls * _mean(self._classes(kdr), kdr.weight),
            "kdr": config.kdr * self._reduced(self._boxes(kdr), on_key, 1.0),
            "elr": config.elr * self._reduced(self._boxes(elr), on_ring, 0.25),
        }
        if kdr.student.obj is not None and kdr.teacher.obj is not None:
            divergence = bernoulli(kdr.student.obj, kdr.teacher.obj, config.cls_temperature)
            terms["obj"] = config.obj * _mean(self._squared(config.cls_temperature) * divergence, kdr.weight)
        return {name: config.weight * value for name, value in terms.items()}

    @torch.no_grad()
    def _regions(self, teacher: NetworkOutputs, targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Weights of the predictions in the key region and in the ring, ``[B, A, h, w]`` by level."""
        config, info = self.config, self._info
        grids, batch = grids_of(teacher), len(teacher.raw[0])
        atss = atss_regions(targets, batch, grids, self._priors, info.strides, gamma=config.gamma)
        if config.mode == "atss":
            key = atss.positive
        elif info.head == "dfl":
            key = task_aligned(targets, teacher, info.strides)
        else:
            key = anchor_assigned(
                targets, batch, grids, info.anchors_px, info.strides, anchor_t=config.anchor_t
            )
        ring = [level.masked_fill(mask, 0) for level, mask in zip(atss.ring, key, strict=True)]
        return [mask.float() for mask in key], ring

    def _select(
        self, student: NetworkOutputs, teacher: NetworkOutputs, region: Sequence[Tensor]
    ) -> _Selection:
        """The predictions with a weight above 0 in the region."""
        rows: list[list[Tensor]] = []
        for level, weights in enumerate(region):
            index = weights.flatten().nonzero()[:, 0]
            _, anchors, height, width = weights.shape
            stride = self._info.strides[level]
            centres = cell_centres(height, width, weights).view(-1, 2) * stride
            sides = weights.new_tensor(self._priors[level])
            rows.append(
                [
                    # index_select of whole rows has a cheaper backward pass than masking.
                    student.raw[level].flatten(0, 3).index_select(0, index),
                    teacher.raw[level].detach().flatten(0, 3).index_select(0, index),
                    weights.flatten()[index],
                    centres[index % (height * width)],
                    sides[index // (height * width) % anchors],
                    weights.new_full((len(index), 1), stride),
                ]
            )
        s, t, *rest = (torch.cat(column) for column in zip(*rows, strict=True))
        return _Selection(split_columns(s, self._info.head), split_columns(t, self._info.head), *rest)

    def _classes(self, selected: _Selection) -> Tensor:
        """Divergence of the classes, ``[M]``."""
        t = self.config.cls_temperature
        if self.config.classes == "softmax":
            divergence = categorical(selected.student.cls, selected.teacher.cls, t)
        else:
            divergence = bernoulli(selected.student.cls, selected.teacher.cls, t).sum(-1)
        return self._squared(t) * divergence

    def _boxes(self, selected: _Selection) -> Tensor:
        """Divergence of the boxes, mean over four sides or coordinates (except ``iou``); ``[M]``."""
        config, t = self.config, self.temperature
        student, teacher = selected.student.box, selected.teacher.box
        assert student is not None
        assert teacher is not None
        if config.box == "iou":
            boxes = [
                corners_px(box, self._info.head, selected.centre, selected.stride, selected.prior)
                for box in (student, teacher)
            ]
            return 1 - giou(*boxes)
        if config.box == "soft_bins":
            student, teacher = (soft_bins(box, config.bins, config.bin_width) for box in (student, teacher))
        elif self._info.head == "dfl":
            student, teacher = (box.unflatten(-1, (SIDES, BINS)) for box in (student, teacher))
        else:
            return self._squared(t) * bernoulli(student, teacher, t).mean(-1)
        over_bins = categorical(student, teacher, t)  # [M, 4]
        if config.reduction == "reference":
            over_bins = over_bins / student.shape[-1]
        return self._squared(t) * over_bins.mean(-1)

    def _squared(self, temperature: float) -> float:
        return temperature**2 if self.config.compensate else 1.0

    def _reduced(self, values: Tensor, weights: Tensor, share: float) -> Tensor:
        """Weighted mean, or with ``reference`` the weighted sum times ``share``."""
        if self.config.reduction == "reference":
            return (values * weights).sum() * (share * world_size())
        return _mean(values, weights)


def soft_bins(box: Tensor, bins: int, width: float) -> Tensor:
    """Logits of a Gaussian around each sigmoid, at ``bins + 1`` points from 0 to 1; ``[M, 4, bins + 1]``."""
    points = torch.linspace(0, 1, bins + 1, device=box.device, dtype=box.dtype)
    return -((box.sigmoid()[..., None] - points) ** 2) / (2 * width**2)


def _confidence(part: HeadColumns) -> Tensor:
    """Confidence of predictions, detached: class probability times objectness, if any; ``[M]``."""
    best = part.cls.detach().sigmoid().amax(-1)
    return best if part.obj is None else best * part.obj.detach().sigmoid()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0 with a gradient if there are no values."""
    return (values * weights).sum() / denominator(weights.sum(), TINY)
