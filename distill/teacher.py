"""Where networks come from: a teacher, loaded and frozen, and a student, fresh or from weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from distill.checkpoints import native
from distill.checkpoints.ultralytics_pt import is_foreign, load_foreign
from distill.compatibility import check_comparable
from distill.method import NetworkOutputs
from distill.models.frozen import Facts, FrozenTeacher, facts_of
from distill.models.yolov5 import Yolov5, build, from_spec, spec
from distill.recipe import Recipe, Teaching
from distill.training import distributed
from distill.training.precision import ComputeConfig
from edgestill.architecture import size_of
from edgestill.errors import UsageError
from edgestill.shipped import checkpoint_folder
from edgestill.spec import ModelSpec

OWN_STREAM = 1_000_003  # with the student's own seed, a random twin of it would start as its copy
CHECKSUMS = 3  # tensors that prove what was loaded: the first, the middle and the last of the network
ANCHORS = "model.24.anchors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Teacher:
    """A network that shows a student what it makes of the student's images, or, as a control, of others.

    Attributes:
        model: The network: frozen, in evaluation mode, batch norms folded.
        path: Where its weights came from; of a ``random`` teacher its architecture alone.
        checksums: SHA-256 of three of its tensors as loaded, by name, first 12 digits.
        teaching: ``trained``: its weights are those at ``path``. ``random``: they are fresh, drawn from the
            recipe's seed, and its batch norms have the statistics of fresh layers (mean 0, variance 1), so
            that its maps fade with depth (of YOLOv5s a standard deviation of 4e-6 at p3, 5e-10 at p5): what
            a run gains from it, it did not gain from knowledge. ``shuffled``: as ``trained``, but every image
            gets the maps of the image before it in the batch; the control with a lively teacher.
    """

    model: FrozenTeacher
    path: Path
    checksums: Mapping[str, str]
    teaching: Teaching = "trained"

    @property
    def facts(self) -> Facts:
        """What the network is."""
        return self.model.facts

    def forward_features(self, images: Tensor, compute: ComputeConfig) -> NetworkOutputs:
        """What the student is to learn from a batch.

        It is computed as the student is. Measured on 64 street images, YOLOv5s to YOLOv5n at 320 x 320: in
        bf16 instead of fp32 the teacher changes the losses of cwd, logits and fgfi by 0.04, 0.14 and 0.6 %,
        and what they ask of the student (the gradient of its maps) by 1.7, 2.1 and 0.7 %.

        Args:
            images: The tensor that the student sees, RGB in [0, 1], float32 ``[B, 3, H, W]``.
            compute: How to compute.

        Returns:
            float32, without gradients.

        Raises:
            UsageError: ``shuffled`` teaching of a batch of one image.
        """
        if self.teaching == "shuffled":
            _check_another(len(images))
        with torch.no_grad(), compute.autocast():
            view: NetworkOutputs = self.model(images)
        return (view.rolled() if self.teaching == "shuffled" else view).in_float32()

    def describe(self) -> str:
        """For the log: what it is, from where, and the checksums."""
        sums = ", ".join(f"{name} {digest}" for name, digest in self.checksums.items())
        how = {
            "trained": "",
            "random": "random weights in the architecture of ",
            "shuffled": "shown another image of the batch, ",
        }[self.teaching]
        return f"teacher {self.facts.name}, {how}{self.path}: {sums}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A student before its first step.

    Attributes:
        model: The network.
        spec: Its contract, at the recipe's ``input_hw``.
        left_out: Tensors that start fresh because ``init`` has none of that name and shape.
    """

    model: Yolov5
    spec: ModelSpec
    left_out: Sequence[str] = field(default_factory=tuple)

    @property
    def fresh(self) -> list[str]:
        """The parts of layers that ``left_out`` belongs to, e.g. ``model.24.cv2``."""
        return list(dict.fromkeys(".".join(name.split(".")[:3]) for name in self.left_out))


def weights_path(name: str) -> Path:
    """The weights behind a name in a recipe, see ``edgestill.shipped``.

    Raises:
        UsageError: Nothing is there.
    """
    path = checkpoint_folder(name)
    if not path.exists():
        raise UsageError(
            f"there are no weights at {path}",
            hint="name a folder that `edgestill distill` wrote, a .pt file, or student or teacher",
        )
    return path


def make_teacher(recipe: Recipe, student: ModelSpec) -> Teacher:
    """The teacher of a recipe, which its methods can compare with the student.

    Raises:
        UsageError: There are no such weights, a method cannot compare the two networks, or there is no other
            image to show in ``shuffled`` teaching.
        DataError: A method compares predictions, and the teacher's classes are not the student's.
        ArtifactError: The weights are broken, or not those of a detector.
    """
    if recipe.teaching == "shuffled":
        _check_another(recipe.batch // distributed.processes())
    teacher = load_teacher(recipe.taught_by, recipe.teaching, recipe.seed)
    check_comparable(recipe.methods, teacher.facts, teacher.path, student)
    return teacher


def load_teacher(name: str, teaching: Teaching = "trained", seed: int = 0) -> Teacher:
    """Load a teacher and freeze it. Its architecture is the one that its own checkpoint states.

    Args:
        name: A path, or ``student`` or ``teacher``.
        teaching: What it shows, see ``Teacher``.
        seed: Of the weights of a ``random`` one.

    Raises:
        UsageError: There is no such file.
        ArtifactError: The file does not hold every weight of the network, or others.
    """
    path = weights_path(name)
    read = load_foreign if path.is_file() and is_foreign(path) else _load_own
    # Building networks draws random numbers: what is built after the teacher must not depend on which it is.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed + OWN_STREAM)  # of the CPU alone, as the fork is
        network, facts = read(path, fresh=teaching == "random")
    return Teacher(
        model=FrozenTeacher(network, facts), path=path, checksums=checksums(network), teaching=teaching
    )


def _load_own(path: Path, *, fresh: bool) -> tuple[torch.nn.Module, Facts]:
    """A network of this project and what is known of it; ``fresh`` leaves its weights behind."""
    network, contract, _ = native.load(path)
    return from_spec(contract) if fresh else network, facts_of(network, contract)


def _check_another(images: int) -> None:
    """Refuse to pass an image off as another one."""
    if images < 2:
        raise UsageError(
            "teaching = shuffled shows another image of the batch, and a batch holds one image here",
            hint="--set batch=2 or more for each process, and two images to train on",
        )


def checksums(model: torch.nn.Module) -> dict[str, str]:
    """Hashes of a few weight tensors, which tell a loaded network from a fresh one."""
    weights = [(name, t) for name, t in model.state_dict().items() if name.endswith("weight")]
    picked = [weights[i * (len(weights) - 1) // (CHECKSUMS - 1)] for i in range(CHECKSUMS)]
    return {name: sha256(t.cpu().contiguous().numpy().tobytes()).hexdigest()[:12] for name, t in picked}


def make_student(recipe: Recipe, classes: Sequence[str]) -> Start:
    """Build the student of a recipe and load its initial weights, where it names some.

    Weights of a network with another head give it backbone and neck; its own head starts fresh.

    Raises:
        UsageError: No architecture has that name, nothing is at ``init``, it is of another architecture, or
            ``share_levels`` is asked of another head than ``decoupled``.
        ArtifactError: ``init`` is not a checkpoint.
        DeviceError: The head needs a library that is not installed.
    """
    torch.manual_seed(recipe.seed)
    wanted = recipe.student
    model = build(
        size_of(wanted.model),
        len(classes),
        wanted.anchors_px,
        head=wanted.head,
        share_levels=wanted.share_levels,
    )
    contract = spec(model, classes, recipe.input_hw)
    if not recipe.student.init:
        return Start(model=model, spec=contract)
    source, _, _ = native.load(weights_path(recipe.student.init))
    if source.name != model.name:
        raise UsageError(
            f"the weights {recipe.student.init} are {source.name}, but student.model is {model.name}",
            hint=f"--set student.model={source.name}, or weights of {model.name}",
        )
    return Start(model=model, spec=contract, left_out=_adopt(model, source))


@torch.no_grad()
def _adopt(model: Yolov5, source: Yolov5) -> tuple[str, ...]:
    """Copy every tensor of the same name and shape, and name the others. Anchors stay the model's own."""
    given = source.state_dict()
    left_out = []
    for name, tensor in model.state_dict().items():
        if name == ANCHORS:
            continue
        if name in given and given[name].shape == tensor.shape:
            tensor.copy_(given[name])
        else:
            left_out.append(name)
    return tuple(left_out)
