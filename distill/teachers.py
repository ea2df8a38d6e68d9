"""Where networks come from: a teacher, loaded and frozen, and a student, fresh or from weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch

import edgestill
from distill import checkpoint
from distill.models.yolov5 import Yolov5, build, fused, spec
from distill.recipe import Recipe
from edgestill.architecture import size_of
from edgestill.errors import DataError, UsageError
from edgestill.spec import ModelSpec

SHIPPED = ("student", "teacher")
CHECKSUMS = 3  # tensors that prove what was loaded: the first, the middle and the last of the network
ANCHORS = "model.24.anchors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A network that is only looked at: eval mode, no gradients, batch norms folded.

    Attributes:
        model: The network.
        spec: Its contract.
        path: Where its weights came from.
        checksums: SHA-256 of three of its tensors as loaded, by name, first 12 digits.
    """

    model: Yolov5
    spec: ModelSpec
    path: Path
    checksums: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A student before its first step.

    Attributes:
        model: The network.
        spec: Its contract, at the recipe's ``input_hw``.
        left_out: Tensors of ``init`` that did not fit and start fresh.
    """

    model: Yolov5
    spec: ModelSpec
    left_out: Sequence[str] = field(default_factory=tuple)


def weights_path(name: str) -> Path:
    """The weights behind a name in a recipe: those that ship, or a path.

    Raises:
        UsageError: Nothing is there.
    """
    path = Path(edgestill.__file__).parent / "weights" / name if name in SHIPPED else Path(name)
    if not path.exists():
        raise UsageError(
            f"there are no weights at {path}",
            hint="name a folder that `edgestill distill` wrote, a .pt file, or student or teacher",
        )
    return path


def load_teacher(name: str, student: ModelSpec) -> Teacher:
    """Load a teacher and freeze it. Its architecture is the one that its own checkpoint states.

    Args:
        name: A path, or ``student`` or ``teacher``.
        student: What it will teach; classes and anchors must be the same.

    Raises:
        UsageError: There is no such file, or its anchors differ from the student's.
        DataError: Its classes differ from the student's.
        ArtifactError: The file does not hold every weight of the network, or others.
    """
    path = weights_path(name)
    model, teacher, _ = checkpoint.load(path)
    if teacher.classes != student.classes:
        raise DataError(
            f"the teacher {path} has {teacher.nc} classes ({', '.join(teacher.classes[:6])}); the data has "
            f"{student.nc} ({', '.join(student.classes[:6])})",
            hint="train a teacher on this data first: edgestill distill traffic-lights-teacher",
        )
    if teacher.anchors_px != student.anchors_px or teacher.strides != student.strides:
        raise UsageError(
            f"the teacher {path} has other anchors than the student",
            hint=f"--set 'student.anchors_px={[list(map(list, level)) for level in teacher.anchors_px]}'",
        )
    tensors = checksums(model)
    frozen = fused(model).requires_grad_(False)
    return Teacher(model=frozen, spec=teacher, path=path, checksums=tensors)


def checksums(model: torch.nn.Module) -> dict[str, str]:
    """Hashes of a few weight tensors, which tell a loaded network from a fresh one."""
    weights = [(name, t) for name, t in model.state_dict().items() if name.endswith("weight")]
    picked = [weights[i * (len(weights) - 1) // (CHECKSUMS - 1)] for i in range(CHECKSUMS)]
    return {name: sha256(t.cpu().contiguous().numpy().tobytes()).hexdigest()[:12] for name, t in picked}


def make_student(recipe: Recipe, classes: Sequence[str]) -> Start:
    """Build the student of a recipe and load its initial weights, where it names some.

    Raises:
        UsageError: No architecture has that name, nothing is at ``init``, or it is of another architecture.
        ArtifactError: ``init`` is not a checkpoint.
    """
    torch.manual_seed(recipe.seed)
    model = build(size_of(recipe.student.model), len(classes), recipe.student.anchors_px)
    contract = spec(model, classes, recipe.input_hw)
    if not recipe.student.init:
        return Start(model=model, spec=contract)
    source, _, _ = checkpoint.load(weights_path(recipe.student.init))
    if source.name != model.name:
        raise UsageError(
            f"the weights {recipe.student.init} are {source.name}, but student.model is {model.name}",
            hint=f"--set student.model={source.name}, or weights of {model.name}",
        )
    return Start(model=model, spec=contract, left_out=_adopt(model, source))


@torch.no_grad()
def _adopt(model: Yolov5, source: Yolov5) -> tuple[str, ...]:
    """Copy every tensor of the same shape and name the others. Anchors stay the model's own."""
    given = source.state_dict()
    left_out = []
    for name, tensor in model.state_dict().items():
        if name == ANCHORS:
            continue
        if given[name].shape == tensor.shape:
            tensor.copy_(given[name])
        else:
            left_out.append(name)
    return tuple(left_out)
