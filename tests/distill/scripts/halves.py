"""Run by torchrun in two processes: does every loss of two half batches give that of the whole batch?

Prints, by name, the largest relative error of the values and of the gradients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from distill.losses.anchor_loss import AnchorLoss
from distill.losses.dfl_loss import DflLoss
from distill.method import NetworkOutputs, StudentTeacherInfo
from distill.recipe import METHODS
from distill.training import distributed
from edgestill.spec import COCO_ANCHORS_PX, HeadKind, ModelSpec

STRIDES, HW, NC, BATCH = (8, 16, 32), (64, 96), 3, 4
LEVELS = ("p3", "p4", "p5")
COLUMNS: Mapping[HeadKind, tuple[int, int]] = {"coupled": (3, 5 + NC), "dfl": (1, 64 + NC)}
TARGETS = torch.tensor(
    [
        [0, 1, 0.3, 0.4, 0.2, 0.3],
        [1, 0, 0.7, 0.6, 0.1, 0.1],
        [1, 2, 0.2, 0.8, 0.3, 0.2],
        [1, 2, 0.5, 0.5, 0.9, 0.9],  # the second process, images 2 and 3, has no object at all
    ]
)
Measure = Callable[[NetworkOutputs, NetworkOutputs, Tensor], Mapping[str, Tensor]]
torch.rand = lambda n, *shape: _same(shape).expand(n, *shape)  # type: ignore[assignment]


def _same(shape: tuple[int, ...]) -> Tensor:
    """Random numbers that every image gets, so that halves and whole draw the same ones."""
    return torch.empty(1, *shape).uniform_(generator=torch.Generator().manual_seed(sum(shape)))


def pair(head: HeadKind) -> StudentTeacherInfo:
    return StudentTeacherInfo(
        student_channels=dict.fromkeys(LEVELS, 4),
        teacher_channels=dict.fromkeys(LEVELS, 6),
        strides=STRIDES,
        anchors_px=() if head == "dfl" else COCO_ANCHORS_PX,
        nc=NC,
        input_hw=HW,
        head=head,
        teacher_head=head,
    )


def view(head: HeadKind, channels: int, seed: int) -> NetworkOutputs:
    random = torch.Generator().manual_seed(seed)
    grids = [(HW[0] // s, HW[1] // s) for s in STRIDES]
    anchors, columns = COLUMNS[head]
    return NetworkOutputs(
        {n: torch.randn(BATCH, channels, *g, generator=random) for n, g in zip(LEVELS, grids, strict=True)},
        [torch.randn(BATCH, anchors, *grid, columns, generator=random) for grid in grids],
        head,
    )


def part(of: NetworkOutputs, first: int, last: int) -> NetworkOutputs:
    """Some images, with leaves that gather gradients."""
    return NetworkOutputs(
        {name: m[first:last].clone().requires_grad_() for name, m in of.features.items()},
        [level[first:last].clone().requires_grad_() for level in of.raw],
        of.head,
    )


def measure(loss: Any, head: HeadKind, first: int, last: int) -> dict[str, Tensor]:
    """Values of the terms and gradients of maps and parameters over some images of the batch."""
    student, teacher = part(view(head, 4, 0), first, last), part(view(head, 6, 1), first, last)
    targets = TARGETS[(TARGETS[:, 0] >= first) & (TARGETS[:, 0] < last)].clone()
    targets[:, 0] -= first
    terms = loss(student, teacher, targets)
    torch.stack(list(terms.values())).sum().backward()
    found = {f"value {name}": term.detach() for name, term in terms.items()}
    leaves = {**student.features, **{f"raw {i}": level for i, level in enumerate(student.raw)}}
    for name, leaf in leaves.items():
        found[f"map {name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    for name, parameter in getattr(loss, "named_parameters", dict)():
        found[f"parameter {name}"] = parameter.grad
    return found


def losses() -> dict[str, Callable[[], tuple[Any, HeadKind]]]:
    """What builds each loss."""

    def detection(kind: Any, head: HeadKind) -> Any:
        spec = ModelSpec(
            name="yolov5n",
            input_hw=HW,
            classes=("a", "b", "c"),
            head=head,
            layout="yolov8" if head == "dfl" else "yolov5",
            anchors_px=pair(head).anchors_px,
        )
        loss = kind(spec)
        return lambda student, _, targets: {"total": loss(student.raw, targets)[0] / len(student.raw[0])}

    made: dict[str, Callable[[], tuple[Any, HeadKind]]] = {
        "AnchorLoss": lambda: (detection(AnchorLoss, "coupled"), "coupled"),
        "DflLoss": lambda: (detection(DflLoss, "dfl"), "dfl"),
    }
    for name in METHODS.names():
        heads: tuple[HeadKind, ...] = (
            ("coupled", "dfl") if METHODS.load(name).INPUTS == "predictions" else ("coupled",)
        )
        for head in heads:
            made[f"{name} {head}"] = lambda name=name, head=head: (build(name, head), head)
    return made


def build(name: str, head: HeadKind) -> Any:
    torch.manual_seed(0)
    module = METHODS.load(name)
    loss = module.Loss(module.Config(), pair(head))
    distributed.convert_batch_norms(loss)
    return loss


def error(name: str, halves: Tensor, whole: Tensor) -> float:
    """Largest difference against the largest value."""
    if name.startswith("map"):
        own = BATCH // 2
        whole, halves = whole[distributed.rank() * own :][:own], halves / distributed.world_size()
    else:
        halves = distributed.all_reduce_mean(halves)
    return float((halves - whole).abs().max() / whole.abs().max().clamp(min=1e-6))


def main() -> None:
    wholes = {name: measure(*make(), 0, BATCH) for name, make in losses().items()}
    found = {}
    with distributed.process_group("cpu"):
        own = BATCH // 2
        for name, make in losses().items():
            first = distributed.rank() * own
            halves = measure(*make(), first, first + own)
            errors = [error(part, halves[part], whole) for part, whole in wholes[name].items()]
            found[name] = max(float(e) for e in distributed.all_gather(torch.tensor(max(errors))))
    if distributed.is_main_process():
        print(json.dumps(found))


main()
