"""What a training consists of, and how it is put together before its first step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.losses.select import Loss, loss_for
from distill.method import StudentTeacherInfo
from distill.models.yolov5 import Yolov5
from distill.qat.begin import BEGIN, Place, begin
from distill.recipe import METHODS, Recipe
from distill.teacher import Start, Teacher, make_student, make_teacher
from distill.training import distributed
from distill.training.adapter_precision import follow
from distill.training.ema import Ema
from distill.training.precision import ComputeConfig, resolve
from distill.training.schedule import Optimiser, Rates
from edgestill.history import Row
from edgestill.progress import say
from edgestill.spec import ModelSpec

ADAMW_BETA2 = 0.999


@dataclass(slots=True, kw_only=True, eq=False)
class Counters:
    """Where a run is; all of it goes into the state file.

    Attributes:
        epoch: The epoch that runs, counted from 0.
        step: Steps done in it.
        sums: Sums of the loss parts over those steps.
        rows: History of the epochs before.
        best: Epoch (counted from 1) and scores of the best validation; empty before the first.
        before: Scores before the first step of a student with rounding; empty of others.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """Everything that a training consists of.

    Attributes:
        recipe: What was asked for.
        out: The folder of the run.
        spec: Contract of the student at the deployed input size.
        compute: How passes are computed.
        model: The student.
        teacher: The teacher; None without methods.
        terms: Distillation losses by method, with their adapters.
        loss: The detection loss at the size of the training windows.
        optimiser: Over student and adapters.
        scaler: Gradient scaling; disabled but for fp16.
        ema: Averaged student.
        at: Where the run is.
    """

    recipe: Recipe
    out: Path
    spec: ModelSpec
    compute: ComputeConfig
    model: Yolov5
    teacher: Teacher | None
    terms: nn.ModuleDict
    loss: Loss
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema[Yolov5]
    at: Counters


def start(recipe: Recipe, out: Path, classes: tuple[str, ...], place: Place | None = None) -> Run:
    """Build the networks, the losses and the optimiser of a recipe.

    Args:
        recipe: What was asked for.
        out: The folder of the run.
        classes: Of the data.
        place: Finds the roundings of a student with rounding; None if they are in the folder.
    """
    compute = resolve(recipe.device, recipe.precision)
    student = make_student(recipe, classes)
    if student.left_out:
        say(f"fresh, because {recipe.student.init} has none that fit: {', '.join(student.fresh)}")
    if recipe.quantisation.family:
        rounded = begin(student, recipe.quantisation, recipe.data, out / BEGIN, place)
        student = replace(student, model=rounded)
    teacher = make_teacher(recipe, student.spec) if recipe.methods else None
    terms = build_terms(recipe, student, teacher)
    compute.to_device(student.model)
    compute.to_device(terms)
    follow(terms, compute)
    if teacher is not None:
        compute.to_device(teacher.model)
        say(teacher.describe())
    say(f"{student.spec.name}, {compute.describe()}, {torch.get_num_threads()} threads")
    # A copy from before: its batch norms look at no batch.
    ema = Ema(student.model, recipe.optimiser.ema_decay, recipe.optimiser.ema_steps)
    for module in (student.model, terms):
        distributed.join_batch_norms(module)
    distributed.begin_alike(student.model, terms)
    return Run(
        recipe=recipe,
        out=out,
        spec=student.spec,
        compute=compute,
        model=student.model.train(),
        teacher=teacher,
        terms=terms.train(),
        loss=loss_for(student.spec.resized(recipe.train_hw), recipe.loss, recipe.loss_dfl),
        # The adapters exist by now, so that they are trained with the student.
        optimiser=make_optimiser(student.model, terms, recipe.optimiser),
        scaler=torch.amp.GradScaler(compute.device.type, enabled=compute.scales_gradients),
        ema=ema,
        at=Counters(),
    )


def build_terms(recipe: Recipe, student: Start, teacher: Teacher | None) -> nn.ModuleDict:
    """The distillation losses of a recipe, by method."""
    if teacher is None:
        return nn.ModuleDict()
    pair = StudentTeacherInfo(
        student_channels=student.model.channels,
        teacher_channels=teacher.facts.channels,
        strides=student.spec.strides,
        anchors_px=student.spec.anchors_px,
        nc=student.spec.nc,
        input_hw=recipe.train_hw,
        head=student.spec.head,
        teacher_head=teacher.facts.head,
    )
    return nn.ModuleDict(
        {name: METHODS.load(name).Loss(term.config, pair) for name, term in recipe.methods.items()}
    )


def make_optimiser(model: nn.Module, terms: nn.Module, settings: Optimiser) -> torch.optim.Optimizer:
    """The optimiser over three groups: the student's biases, convolution weights (decayed), all else.

    Only the student's biases warm up from a high rate; an adapter's bias is "all else".
    """
    biases, weights, others = [], [], []
    for part in (model, terms):
        for name, parameter in part.named_parameters():
            if parameter.ndim > 1:
                weights.append(parameter)
            elif part is model and name.endswith(".bias"):
                biases.append(parameter)
            else:
                others.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": biases},
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others},
    ]
    if settings.kind == "adamw":
        betas = (settings.momentum, ADAMW_BETA2)
        return torch.optim.AdamW(groups, lr=settings.lr, betas=betas, weight_decay=0.0)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=True)


def set_rates(optimiser: torch.optim.Optimizer, now: Rates) -> None:
    """Put the rates of a step into the groups of ``make_optimiser``."""
    for group, lr in zip(optimiser.param_groups, (now.bias_lr, now.lr, now.lr), strict=True):
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (now.momentum, ADAMW_BETA2)
        else:
            group["momentum"] = now.momentum
