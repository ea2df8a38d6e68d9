"""Region distillation: classes on the objects, localisation on them and around them.

The key region (KDR) is where the head answers for a true box, the expandable region (ELR) the ring of priors
around it that overlap it, but less (``distill.methods._regions``; the two are disjoint). What the teacher
knows of the class counts on the key region alone, where it puts the box on both. Every sum is divided by the
sum of its weights over all levels, so that neither the number of objects nor the batch size changes what a
term means: the loop multiplies it by the batch size.

Localisation, ``box``: ``ld`` is the divergence of what the head itself gives. A ``dfl`` head has a
distribution over 16 bins for each side: localisation distillation proper. An anchor head has one sigmoid a
coordinate, each compared as a Bernoulli distribution. ``soft_bins`` spreads that sigmoid over bins, which is
``T * difference^2 / (2 * bin_width^2)`` inside of the range, a squared distance with a hidden factor: for
completeness. ``iou`` is 1 - GIoU of the decoded boxes and knows no temperature. A branch of bins beside an
anchor head, trained along and thrown away (YOLOv6's way), is left out: the frozen teacher would have to have
one, trained with it, and no published YOLOv5 does.

Known traps. The paper names the regions and defines neither; the definitions here are those of localisation
distillation. Its best temperature, 45, is no finding (``distill.methods._divergence``): with ``compensate``
all temperatures from 25 to 45 give the same loss to 0.1 %, or 3 % where the teacher is sure of one bin;
without it 45 against 25 is a weight of 0.31. A softmax over the classes fits no head of YOLO and is 0 with
one class. ``reduction = "reference"`` grows with objects and batch size, as the published code does (whose
authors warn of batches above 3).

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
from distill.methods._regions import aligned, assigned, giou, grids_of, priors_px, surroundings
from distill.models.head_outputs import BINS, SIDES, Parts, cell_centres, corners_px, parts
from distill.training.distributed import denominator, processes
from edgestill.errors import UsageError

INPUTS: MethodInputs = "predictions"
TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings.

    Attributes:
        weight: Multiplies all terms before they join the detection loss.
        cls: Gain of the class knowledge on the key region. The gains are ours, the paper has none: they bring
            each term's gradient near that of the detection loss, for a yolov5n that begins from other images.
        obj: Gain of objectness there; heads without it have no such term.
        kdr: Gain of localisation on the key region; localisation distillation has the same on both regions,
            and sums over the ring with a quarter.
        elr: Gain of localisation on the ring.
        mode: What the key region is. ``yolo``: where the head answers, by anchors for an anchor head, by task
            alignment on the teacher's predictions for ``dfl``. ``atss``: the positives of ATSS.
        gamma: Where the ring ends, as a fraction of ATSS's threshold; 1 is no ring. Localisation
            distillation's 0.25.
        kdr_weight: Of each prediction of the key region: 1, or how sure the student (the reference's) or
            the teacher is of it.
        elr_weight: Of each prediction of the ring: its prior's overlap with the box, or 1.
        box: How localisation is compared, see above; ``soft_bins`` is for anchor heads.
        temperature: Of localisation, from the first epoch to the last on half a cosine. Localisation
            distillation has 10; the paper's sweep is (25, 45), falling is (45, 25).
        compensate: Whether divergences are multiplied by the temperature's square.
        classes: ``bernoulli`` compares class by class and adds them up, ``softmax`` is the reference's.
        cls_temperature: Of classes and objectness; the reference has 2 with its softmax.
        reduction: ``normalised``, or ``reference``: localisation is summed, with the mean over the bins and,
            on the ring, a quarter; ``kdr_weight`` is then ``student`` in the reference.
        bins: Of ``soft_bins``.
        bin_width: Standard deviation of a ``soft_bins`` distribution at temperature 1; the range is 1.
        anchor_t: In mode ``yolo`` an anchor answers for boxes within this ratio, as in the detection loss.
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
class _Picked:
    """Predictions of one region over all levels, M of them."""

    student: Parts
    teacher: Parts
    weight: Tensor  # [M]
    centre: Tensor  # [M, 2], input pixels
    prior: Tensor  # [M, 2], input pixels
    stride: Tensor  # [M, 1]


class Loss(nn.Module):
    """Divergence from the teacher's classes on objects, and from its boxes on and around them."""

    def __init__(self, config: Config, pair: StudentTeacherInfo) -> None:
        super().__init__()
        if config.box == "soft_bins" and pair.head == "dfl":
            raise UsageError(
                "box = soft_bins is for anchor heads; a dfl head has bins of its own",
                hint="--set methods.region.box=ld",
            )
        if min(config.temperature) <= 0 or config.cls_temperature <= 0:
            raise UsageError(
                f"temperature = {list(config.temperature)}, cls_temperature = {config.cls_temperature}",
                hint="above 0",
            )
        self.config = config
        self._pair = pair
        self._priors = priors_px(pair.anchors_px, pair.strides)
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """Bring the temperature to where it is after the fraction ``done`` of the training."""
        first, last = self.config.temperature
        self.temperature = first + (last - first) * (1 - cos(pi * done)) / 2

    def forward(self, student: NetworkOutputs, teacher: NetworkOutputs, targets: Tensor) -> dict[str, Tensor]:
        """Scalars ``cls``, ``obj`` (if the head has it), ``kdr``, ``elr``.

        Args:
            student: Raw maps ``[B, A, h, w, columns]``.
            teacher: Raw maps of the same shapes; no gradient goes there.
            targets: image, class, cx, cy, w, h, normalised; float32 ``[n, 6]``, n may be 0.
        """
        config = self.config
        key, ring = self._regions(teacher, targets)
        kdr, elr = self._pick(student, teacher, key), self._pick(student, teacher, ring)
        sure = {"student": kdr.student, "teacher": kdr.teacher}.get(config.kdr_weight)
        on_key = kdr.weight if sure is None else _confidence(sure)
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
        config, pair = self.config, self._pair
        grids, batch = grids_of(teacher), len(teacher.raw[0])
        around = surroundings(targets, batch, grids, self._priors, pair.strides, gamma=config.gamma)
        if config.mode == "atss":
            key = around.positive
        elif pair.head == "dfl":
            key = aligned(targets, teacher, pair.strides)
        else:
            key = assigned(targets, batch, grids, pair.anchors_px, pair.strides, anchor_t=config.anchor_t)
        ring = [level.masked_fill(mask, 0) for level, mask in zip(around.ring, key, strict=True)]
        return [mask.float() for mask in key], ring

    def _pick(self, student: NetworkOutputs, teacher: NetworkOutputs, region: Sequence[Tensor]) -> _Picked:
        """The predictions whose weight in the region is above 0."""
        rows: list[list[Tensor]] = []
        for level, weights in enumerate(region):
            place = weights.flatten().nonzero()[:, 0]
            _, anchors, height, width = weights.shape
            stride = self._pair.strides[level]
            centres = cell_centres(height, width, weights).view(-1, 2) * stride
            sides = weights.new_tensor(self._priors[level])
            rows.append(
                [
                    # Picking whole rows has a cheaper backward than masking all columns of all rows.
                    student.raw[level].flatten(0, 3).index_select(0, place),
                    teacher.raw[level].detach().flatten(0, 3).index_select(0, place),
                    weights.flatten()[place],
                    centres[place % (height * width)],
                    sides[place // (height * width) % anchors],
                    weights.new_full((len(place), 1), stride),
                ]
            )
        s, t, *rest = (torch.cat(column) for column in zip(*rows, strict=True))
        return _Picked(parts(s, self._pair.head), parts(t, self._pair.head), *rest)

    def _classes(self, picked: _Picked) -> Tensor:
        """Divergence of the classes, ``[M]``."""
        t = self.config.cls_temperature
        if self.config.classes == "softmax":
            divergence = categorical(picked.student.cls, picked.teacher.cls, t)
        else:
            divergence = bernoulli(picked.student.cls, picked.teacher.cls, t).sum(-1)
        return self._squared(t) * divergence

    def _boxes(self, picked: _Picked) -> Tensor:
        """Divergence of the boxes, the mean of four sides or coordinates (but for ``iou``); ``[M]``."""
        config, t = self.config, self.temperature
        student, teacher = picked.student.box, picked.teacher.box
        assert student is not None
        assert teacher is not None
        if config.box == "iou":
            boxes = [
                corners_px(box, self._pair.head, picked.centre, picked.stride, picked.prior)
                for box in (student, teacher)
            ]
            return 1 - giou(*boxes)
        if config.box == "soft_bins":
            student, teacher = (soft_bins(box, config.bins, config.bin_width) for box in (student, teacher))
        elif self._pair.head == "dfl":
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
        """Weighted mean, or the reference's sum, of which ``share`` counts."""
        if self.config.reduction == "reference":
            return (values * weights).sum() * (share * processes())
        return _mean(values, weights)


def soft_bins(box: Tensor, bins: int, width: float) -> Tensor:
    """Logits of a bell around each sigmoid, on ``bins + 1`` points from 0 to 1; ``[M, 4, bins + 1]``."""
    points = torch.linspace(0, 1, bins + 1, device=box.device, dtype=box.dtype)
    return -((box.sigmoid()[..., None] - points) ** 2) / (2 * width**2)


def _confidence(part: Parts) -> Tensor:
    """How sure a network is of its predictions, without a gradient; ``[M]``."""
    best = part.cls.detach().sigmoid().amax(-1)
    return best if part.obj is None else best * part.obj.detach().sigmoid()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; a zero with a graph over nothing."""
    return (values * weights).sum() / denominator(weights.sum(), TINY)
