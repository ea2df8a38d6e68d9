"""The objects of a training, and how they are built before the first step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distill.losses.select import DetectionLoss, select_loss
from distill.method import StudentTeacherInfo
from distill.models.yolov5 import Yolov5
from distill.qat.initialization import INITIAL_CHECKPOINT, Calibrate, quantize_student
from distill.recipe import METHODS, Recipe
from distill.teacher import InitialStudent, Teacher, make_student, make_teacher
from distill.training import distributed
from distill.training.adapter_precision import autocast_adapters
from distill.training.ema import Ema
from distill.training.precision import ComputeConfig, resolve
from distill.training.schedule import OptimiserConfig, Rates
from edgestill.history import Row
from edgestill.progress import say
from edgestill.spec import ModelSpec

ADAMW_BETA2 = 0.999


@dataclass(slots=True, kw_only=True, eq=False)
class RunCounters:
    """Progress of a run; all fields are stored in the state file.

    Attributes:
        epoch: Current epoch, from 0.
        step: Steps done in this epoch.
        sums: Sums of the loss parts over these steps.
        rows: History rows of the finished epochs.
        best: Epoch (from 1) and scores of the best validation; empty before the first one.
        before: Scores of a quantised student before its first step; empty without quantisation.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRun:
    """All objects of one training.

    Attributes:
        recipe: The recipe.
        folder: The run folder.
        spec: Contract of the student at the deployed input size.
        compute: Device and precision.
        model: The student.
        teacher: The teacher; None without distillation methods.
        method_losses: Distillation losses by method, with their adapters.
        loss: The detection loss at the size of the training windows.
        optimiser: Optimiser over the parameters of student and adapters.
        scaler: Gradient scaler; enabled for fp16 only.
        ema: Moving average of the student.
        counters: Progress of the run.
        licence: Licence of the initial weights, see ``distill.teacher.InitialStudent``.
    """

    recipe: Recipe
    folder: Path
    spec: ModelSpec
    compute: ComputeConfig
    model: Yolov5
    teacher: Teacher | None
    method_losses: nn.ModuleDict
    loss: DetectionLoss
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema[Yolov5]
    counters: RunCounters
    licence: str = ""


def build_run(
    recipe: Recipe, folder: Path, classes: tuple[str, ...], calibrate: Calibrate | None = None
) -> TrainingRun:
    """Build the networks, the losses and the optimiser of a recipe.

    Args:
        recipe: The recipe.
        folder: The run folder.
        classes: Class names of the data.
        calibrate: Finds the initial scales of a quantised student; None to read them from the folder.
    """
    compute = resolve(recipe.device, recipe.precision)
    student = make_student(recipe, classes)
    if student.unmatched:
        say(
            f"randomly initialised (not taken from {recipe.student.init}): "
            f"{', '.join(student.unmatched_layers)}"
        )
    if recipe.quantisation.family:
        quantized = quantize_student(
            student, recipe.quantisation, recipe.data, folder / INITIAL_CHECKPOINT, calibrate
        )
        student = replace(student, model=quantized)
    teacher = make_teacher(recipe, student.spec) if recipe.methods else None
    method_losses = build_method_losses(recipe, student, teacher)
    compute.to_device(student.model)
    compute.to_device(method_losses)
    autocast_adapters(method_losses, compute)
    if teacher is not None:
        compute.to_device(teacher.model)
        say(teacher.describe())
    say(f"{student.spec.name}, {compute.describe()}, {torch.get_num_threads()} threads")
    if recipe.student.freeze_body:
        student.model.freeze_body()
    # Copied before the batch norms are converted: the average is only evaluated.
    ema = Ema(student.model, recipe.optimiser.ema_decay, recipe.optimiser.ema_steps)
    for module in (student.model, method_losses):
        distributed.convert_batch_norms(module)
    distributed.broadcast_state(student.model, method_losses)
    return TrainingRun(
        recipe=recipe,
        folder=folder,
        spec=student.spec,
        compute=compute,
        model=student.model.train(),
        teacher=teacher,
        method_losses=method_losses.train(),
        loss=select_loss(student.spec.resized(recipe.train_hw), recipe.loss, recipe.loss_dfl),
        optimiser=make_optimiser(student.model, method_losses, recipe.optimiser),
        scaler=torch.amp.GradScaler(compute.device.type, enabled=compute.scales_gradients),
        ema=ema,
        counters=RunCounters(),
        licence=student.licence,
    )


def build_method_losses(recipe: Recipe, student: InitialStudent, teacher: Teacher | None) -> nn.ModuleDict:
    """The distillation losses of a recipe, by method."""
    if teacher is None:
        return nn.ModuleDict()
    info = StudentTeacherInfo(
        student_channels=student.model.channels,
        teacher_channels=teacher.info.channels,
        strides=student.spec.strides,
        anchors_px=student.spec.anchors_px,
        nc=student.spec.nc,
        input_hw=recipe.train_hw,
        head=student.spec.head,
        teacher_head=teacher.info.head,
    )
    return nn.ModuleDict(
        {name: METHODS.load(name).Loss(method.config, info) for name, method in recipe.methods.items()}
    )


def make_optimiser(
    model: nn.Module, method_losses: nn.Module, settings: OptimiserConfig
) -> torch.optim.Optimizer:
    """The optimiser, with three parameter groups: biases of the student, weights with decay, all others.

    Only the student's biases warm up from a high learning rate; biases of adapters are in the third group.
    """
    biases, weights, others = [], [], []
    for module in (model, method_losses):
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                weights.append(parameter)
            elif module is model and name.endswith(".bias"):
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
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0)


def set_rates(optimiser: torch.optim.Optimizer, now: Rates) -> None:
    """Set learning rates and momentum in the parameter groups of ``make_optimiser``."""
    for group, lr in zip(optimiser.param_groups, (now.bias_lr, now.lr, now.lr), strict=True):
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (now.momentum, ADAMW_BETA2)
        else:
            group["momentum"] = now.momentum
