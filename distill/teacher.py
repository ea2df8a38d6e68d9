"""Builds the networks of a training: the frozen teacher, and the student from weights or random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from distill.checkpoints import native
from distill.checkpoints.ultralytics_pt import is_ultralytics_pt, load_ultralytics_pt
from distill.compatibility import check_comparable
from distill.method import NetworkOutputs
from distill.models.frozen import FrozenTeacher, TeacherInfo, teacher_info
from distill.models.yolov5 import Yolov5, build, from_spec, model_spec
from distill.recipe import Recipe, TeacherMode
from distill.training import distributed
from distill.training.precision import ComputeConfig
from edgestill.architecture import size_of
from edgestill.errors import UsageError
from edgestill.shipped import checkpoint_folder, hint_for_missing
from edgestill.spec import ModelSpec

SEED_OFFSET = 1_000_003  # without it, a random teacher of the student's architecture would equal the student
CHECKSUMS = 3  # number of hashed tensors: the first, the middle and the last of the network
HEAD = "model.24."  # prefix of the head's tensors
ANCHORS = f"{HEAD}anchors"
LICENCE = "weights_licence"  # in what a checkpoint says about its training
#: Of the published YOLOv5 weights: releases up to 2023 were under GPL-3.0, later ones are under AGPL-3.0.
YOLOV5_LICENCE = "AGPL-3.0 or GPL-3.0, from initial weights of YOLOv5"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """The teacher of a training; ``random`` and ``shuffled`` are control experiments.

    Attributes:
        model: The network: frozen, in evaluation mode, batch norms folded.
        path: Source of its weights; for a ``random`` teacher of its architecture only.
        checksums: First 12 hex digits of the SHA-256 of three tensors as loaded, by name.
        teaching: ``trained``: the weights at ``path``. ``random``: new weights from the recipe's seed. Batch
            norms then have mean 0 and variance 1, so the feature maps vanish with depth (YOLOv5s: standard
            deviation 4e-6 at p3, 5e-10 at p5). ``shuffled``: the weights at ``path``, but each image gets the
            outputs of the image before it in the batch, so they have the usual size and no relation to it.
    """

    model: FrozenTeacher
    path: Path
    checksums: Mapping[str, str]
    teaching: TeacherMode = "trained"

    @property
    def info(self) -> TeacherInfo:
        """Properties of the network."""
        return self.model.info

    def forward_features(self, images: Tensor, compute: ComputeConfig) -> NetworkOutputs:
        """The teacher's outputs for a batch.

        They are computed in the student's precision. Measured on 64 street images, YOLOv5s to YOLOv5n at
        320 x 320: a teacher in bf16 instead of fp32 changes the losses of cwd, logits and fgfi by 0.04, 0.14
        and 0.6 %, and the gradients of the student's feature maps by 1.7, 2.1 and 0.7 %.

        Args:
            images: The student's input, RGB in [0, 1], float32 ``[B, 3, H, W]``.
            compute: Device and precision.

        Returns:
            Outputs in float32, without gradients.

        Raises:
            UsageError: ``teaching`` is ``shuffled`` and the batch has one image.
        """
        if self.teaching == "shuffled":
            _check_another(len(images))
        with torch.no_grad(), compute.autocast():
            outputs: NetworkOutputs = self.model(images)
        return (outputs.rolled() if self.teaching == "shuffled" else outputs).in_float32()

    def describe(self) -> str:
        """Text for the log: name, source and checksums."""
        sums = ", ".join(f"{name} {digest}" for name, digest in self.checksums.items())
        how = {
            "trained": "",
            "random": "random weights, architecture of ",
            "shuffled": "outputs of another image of the batch, ",
        }[self.teaching]
        return f"teacher {self.info.name}, {how}{self.path}: {sums}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InitialStudent:
    """The student before its first step.

    Attributes:
        model: The network.
        spec: Its contract, at the recipe's ``input_hw``.
        unmatched: Tensors that keep random values because ``init`` has none of that name and shape.
        licence: Licence of the weights in ``init``, which holds for what is trained from them; empty for
            those of this project.
    """

    model: Yolov5
    spec: ModelSpec
    unmatched: Sequence[str] = field(default_factory=tuple)
    licence: str = ""

    @property
    def unmatched_layers(self) -> list[str]:
        """The modules of the tensors in ``unmatched``, e.g. ``model.24.cv2``."""
        return list(dict.fromkeys(".".join(name.split(".")[:3]) for name in self.unmatched))


def weights_path(name: str) -> Path:
    """Path of the weights that a recipe names: shipped ones, or a path of the user.

    Raises:
        UsageError: The path does not exist.
    """
    path = checkpoint_folder(name)
    if not path.exists():
        raise UsageError(
            f"no weights at {path}",
            hint=hint_for_missing(
                path, "name a checkpoint folder of `edgestill distill`, a .pt file, `student` or `teacher`"
            ),
        )
    return path


def make_teacher(recipe: Recipe, student: ModelSpec) -> Teacher:
    """Load the teacher of a recipe and check that the recipe's methods can compare it with the student.

    Raises:
        UsageError: The weights do not exist, a method cannot compare the two networks, or ``shuffled`` has
            batches of one image.
        DataError: A method compares predictions, and teacher and student have different classes.
        ArtifactError: The weights are broken, or not those of a detector.
    """
    if recipe.teaching == "shuffled":
        _check_another(recipe.batch // distributed.world_size())
    teacher = load_teacher(recipe.teacher_weights, recipe.teaching, recipe.seed)
    check_comparable(recipe.methods, teacher.info, teacher.path, student)
    return teacher


def load_teacher(name: str, teaching: TeacherMode = "trained", seed: int = 0) -> Teacher:
    """Load a teacher and freeze it. The architecture is read from the checkpoint.

    Args:
        name: A path, or ``student`` or ``teacher``.
        teaching: Source of its outputs, see ``Teacher``.
        seed: Seed of the weights of a ``random`` teacher.

    Raises:
        UsageError: The path does not exist.
        ArtifactError: The weights are not exactly those of the network.
    """
    path = weights_path(name)
    load = load_ultralytics_pt if path.is_file() and is_ultralytics_pt(path) else _load_native
    # Building a network draws random numbers. The fork keeps later ones independent of the teacher.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + SEED_OFFSET)  # CPU only, like the fork
        network, info = load(path, random_weights=teaching == "random")
    return Teacher(
        model=FrozenTeacher(network, info), path=path, checksums=checksums(network), teaching=teaching
    )


def _load_native(path: Path, *, random_weights: bool) -> tuple[torch.nn.Module, TeacherInfo]:
    """A network of this project and its properties; with ``random_weights`` it keeps its random weights."""
    network, contract, _ = native.load(path)
    return from_spec(contract) if random_weights else network, teacher_info(network, contract)


def _check_another(images: int) -> None:
    """Refuse ``shuffled`` for a batch of one image."""
    if images < 2:
        raise UsageError(
            "teaching = shuffled needs a second image in the batch of each process, and it has one",
            hint="--set batch=2 or more for each process, and at least two training images",
        )


def checksums(model: torch.nn.Module) -> dict[str, str]:
    """Hashes of a few weight tensors, by name; they identify the loaded weights."""
    weights = [(name, t) for name, t in model.state_dict().items() if name.endswith("weight")]
    picked = [weights[i * (len(weights) - 1) // (CHECKSUMS - 1)] for i in range(CHECKSUMS)]
    return {name: sha256(t.cpu().contiguous().numpy().tobytes()).hexdigest()[:12] for name, t in picked}


def make_student(recipe: Recipe, classes: Sequence[str]) -> InitialStudent:
    """Build the student of a recipe and load its initial weights, if ``init`` names some.

    From weights of a network with another head it takes backbone and neck; the head keeps random weights.

    Raises:
        UsageError: The architecture is unknown, ``init`` does not exist or has another architecture, or
            ``share_levels`` is set for a head other than ``decoupled``.
        ArtifactError: ``init`` is not a checkpoint.
        DeviceError: The head needs a library that is not installed.
    """
    torch.manual_seed(recipe.seed)
    student = recipe.student
    model = build(
        size_of(student.model),
        len(classes),
        student.anchors_px,
        head=student.head,
        share_levels=student.share_levels,
    )
    contract = model_spec(model, classes, recipe.input_hw)
    if not recipe.student.init:
        return InitialStudent(model=model, spec=contract)
    path = weights_path(recipe.student.init)
    source, _, about = native.load(path)
    if source.name != model.name:
        raise UsageError(
            f"the weights {recipe.student.init} are of {source.name}, but student.model is {model.name}",
            hint=f"--set student.model={source.name}, or name weights of {model.name}",
        )
    return InitialStudent(
        model=model,
        spec=contract,
        unmatched=_copy_matching(model, source, reset_head=recipe.student.reset_head),
        licence=f"{YOLOV5_LICENCE}: {path.name}" if path.is_file() else str(about.get(LICENCE, "")),
    )


@torch.no_grad()
def _copy_matching(model: Yolov5, source: Yolov5, *, reset_head: bool) -> tuple[str, ...]:
    """Copy each tensor of the same name and shape except the anchors; returns the names of the others."""
    loaded = source.state_dict()
    unmatched = []
    for name, tensor in model.state_dict().items():
        if name == ANCHORS:
            continue
        is_wanted = not (reset_head and name.startswith(HEAD))
        if is_wanted and name in loaded and loaded[name].shape == tensor.shape:
            tensor.copy_(loaded[name])
        else:
            unmatched.append(name)
    return tuple(unmatched)
