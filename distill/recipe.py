"""Training recipes: TOML files with all settings of a training.

Missing keys have the defaults below, and unknown keys are errors. Paths are relative to the working
directory. ``student`` and ``teacher`` name the weights that ship with the project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from distill.data.augment import Augment, LateAugment
from distill.losses.anchor_loss import LossGains
from distill.losses.dfl_loss import DflGains
from distill.qat.settings import QatConfig
from distill.training.schedule import OptimiserConfig, WeightSchedule
from edgestill.errors import UsageError
from edgestill.files import to_json_text
from edgestill.registry import Registry
from edgestill.spec import COCO_ANCHORS_PX, HeadKind
from runtime.tiling import Tiling

METHODS = Registry("distill.methods", "distillation method")

#: The smallest value of whole numbers.
_LEAST = {
    **dict.fromkeys(("epochs", "batch", "eval_every", "loader_threads"), 1),
    **dict.fromkeys(("seed", "patience", "save_every_steps", "threads", "cache_mib", "disk_cache_mib"), 0),
}

#: Settings of ``[augment]`` that lie between 0 and 1.
FRACTIONS = ("mosaic", "focus", "unscaled", "flip", "visible", "hue", "saturation", "value", "turn")

LEAST_ALPHA = 0.01  # of MixUp: with less, nearly every weight is 0 or 1

TeacherMode = Literal["trained", "random", "shuffled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentConfig:
    """The ``[student]`` table: the network that is trained.

    Attributes:
        model: Architecture, e.g. ``yolov5n``.
        init: Initial weights: a checkpoint folder, an original YOLOv5 ``.pt`` file, ``student`` or
            ``teacher``. Tensors of another shape (e.g. another number of classes) keep random values. Empty:
            random weights.
        reset_head: Whether the detection head starts from random weights even if those of ``init`` fit.
        freeze_body: Whether backbone and neck keep the weights of ``init``, so that only the head is trained.
        head: Kind of detection head.
        share_levels: Whether all levels share the towers of a ``decoupled`` head.
        anchors_px: Anchor width and height in input pixels, three levels of three.
        auto_anchor: Whether anchors that match too few boxes of the data are replaced, see
            ``distill.data.auto_anchor``.
    """

    model: str = "yolov5n"
    init: str = ""
    reset_head: bool = False
    freeze_body: bool = False
    head: HeadKind = "coupled"
    share_levels: bool = False
    anchors_px: tuple[tuple[tuple[float, float], ...], ...] = COCO_ANCHORS_PX
    auto_anchor: bool = False

    def __post_init__(self) -> None:
        if self.auto_anchor and self.head == "dfl":
            raise UsageError(
                "student.auto_anchor with student.head = dfl, which has no anchors", hint="leave it out"
            )
        if self.freeze_body and not self.init:
            raise UsageError(
                "student.freeze_body without student.init: backbone and neck would keep random weights",
                hint="--set student.init=student, or another checkpoint",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodConfig:
    """A ``[methods.NAME]`` table: one distillation method.

    Attributes:
        course: Schedule of a factor on its loss over the epochs: ``constant``, or ``cosine`` from 1 to
            ``floor``.
        floor: Factor in the last epoch of ``cosine``.
        off_at: First epoch, from 0, in which the method is off; 0 for never.
        config: Settings of the method, its ``Config``.
    """

    course: WeightSchedule = "constant"
    floor: float = 0.1
    off_at: int = 0
    config: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of a training.

    Attributes:
        name: File name of the recipe without ``.toml``.
        data: ``data.yaml`` files of the training data; they are combined.
        unlabelled: Folders of images without labels, e.g. frames of the target camera. They take part in the
            distillation losses only, not in the detection loss.
        leave_out: Sources whose images take no part in training and validation, e.g. to measure the model on
            them afterwards. The source of an image is its file name before the first ``_``.
        repeat: How often an epoch has the labelled images of a source, for sources with few of them.
        input_hw: Input of the deployed model, height and width in pixels; used for validation.
        tiling: Tiles on which the deployed model runs (``--tile`` of the other verbs). Training windows then
            have the scale of a tile, and validation uses tiles too.
        train_hw: Height and width of the training windows, pixels; they are cut at the scale of ``input_hw``.
        epochs: Number of epochs.
        batch: Global batch size: images in a step over all processes.
        seed: Seed of random weights, sample order and augmentation.
        eval_every: Epochs between validations.
        patience: Early stop after this number of epochs without a better mAP; 0 for never.
        save_every_steps: Steps between two saved states within an epoch; 0 saves at the end of an epoch only.
        device: ``auto`` is a GPU if there is one.
        precision: ``auto`` is fp16 on a GPU, bf16 on a CPU with bf16 instructions, else fp32.
        threads: Threads of torch on the CPU; 0 for torch's default.
        loader_threads: Threads that decode and augment images.
        cache_mib: Memory for decoded training images, MiB; validation images take up to a quarter of it more.
        disk_cache_mib: Disk space for decoded images at the scale of ``input_hw``, MiB, for data sets that do
            not fit in memory; 0 writes none. Processes with the same folder share its files.
        disk_cache: Folder of the disk cache; empty is ``edgestill/images`` in the user's cache folder.
        teacher: Weights of the teacher: a checkpoint folder, an original YOLOv5 ``.pt`` file, a detector's
            ``.pt`` file of ``ultralytics``, ``student`` or ``teacher``. Empty, with ``quantisation``: the
            float weights of the student.
        teaching: Source of the teacher's outputs. ``trained``: the teacher, for the student's image. As
            control
            experiments: a network with ``random`` weights, or the teacher for another image of the batch
            (``shuffled``).
        student: The network that is trained.
        optimiser: Optimiser and learning rate schedule.
        loss: Weights of the detection loss of a student with anchors.
        loss_dfl: Weights of the detection loss of a ``dfl`` student.
        augment: Data augmentation.
        augment_late: Data augmentation of the last epochs.
        methods: Distillation methods by name; without any, no teacher is needed.
        quantisation: INT8 quantisation-aware training.
    """

    name: str
    data: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    repeat: Mapping[str, int] = field(default_factory=dict)
    input_hw: tuple[int, int] = (384, 640)
    tiling: Tiling = field(default_factory=Tiling)
    train_hw: tuple[int, int] = (320, 320)
    epochs: int = 100
    batch: int = 16
    seed: int = 0
    eval_every: int = 5
    patience: int = 0
    save_every_steps: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    threads: int = 0
    loader_threads: int = 2
    cache_mib: int = 4096
    disk_cache_mib: int = 0
    disk_cache: str = ""
    teacher: str = ""
    teaching: TeacherMode = "trained"
    student: StudentConfig = field(default_factory=StudentConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    loss: LossGains = field(default_factory=LossGains)
    loss_dfl: DflGains = field(default_factory=DflGains)
    augment: Augment = field(default_factory=Augment)
    augment_late: LateAugment = field(default_factory=LateAugment)
    methods: Mapping[str, MethodConfig] = field(default_factory=dict)
    quantisation: QatConfig = field(default_factory=QatConfig)

    def __post_init__(self) -> None:
        for key, least in _LEAST.items():
            if getattr(self, key) < least:
                raise UsageError(
                    f"{key} = {getattr(self, key)} in recipe {self.name}", hint=f"{least} or more"
                )
        for key in ("input_hw", "train_hw"):
            if any(side < 32 or side % 32 for side in getattr(self, key)):
                raise UsageError(
                    f"{key} = {list(getattr(self, key))} in recipe {self.name}",
                    hint="height and width in steps of 32, e.g. [384, 640]",
                )
        self._check_augment()
        if len(self.loss.balance) != len(self.student.anchors_px):
            raise UsageError(
                f"loss.balance = {list(self.loss.balance)} in recipe {self.name}",
                hint=f"one number for each of the {len(self.student.anchors_px)} levels",
            )
        if self.unlabelled and not self.methods:
            raise UsageError(
                f"recipe {self.name} has unlabelled images, which need a distillation method, and no method",
                hint="--set 'unlabelled=[]', or add a method, e.g. --set methods.logits.weight=1",
            )
        if self.quantisation.family and not self.student.init:
            raise UsageError(
                f"recipe {self.name} quantises a student with random weights: student.init is empty",
                hint="train it in float first, then --set student.init=runs/x/best",
            )
        if self.quantisation.family and self.student.freeze_body:
            raise UsageError(
                f"recipe {self.name} has student.freeze_body and [quantisation], which trains all layers",
                hint="--set student.freeze_body=false",
            )
        if self.methods and not self.teacher_weights:
            raise UsageError(
                f"recipe {self.name} has the methods {', '.join(self.methods)} and no teacher",
                hint="--set teacher=runs/x/best, or --set methods={} to train without one",
            )

    def _check_augment(self) -> None:
        """Refuse values of ``augment`` and ``repeat`` that have no meaning."""
        for key, value in self._fractions().items():
            if not 0 <= value <= 1:
                raise UsageError(f"{key} = {value} in recipe {self.name}", hint="from 0 to 1")
        for source, times in self.repeat.items():
            if not isinstance(times, int) or isinstance(times, bool) or times < 1:
                raise UsageError(f"repeat.{source} = {times!r} in recipe {self.name}", hint="1 or more times")
        if self.augment_late.at < 0:
            raise UsageError(
                f"augment_late.at = {self.augment_late.at} in recipe {self.name}", hint="0 for never, or more"
            )
        for table, augment in self._augments().items():
            low, high = augment.zoom
            if not 0 < low <= high:
                raise UsageError(
                    f"{table}.zoom = {[low, high]} in recipe {self.name}", hint="e.g. [0.6, 1.7]"
                )
            if not augment.mixup.alpha >= LEAST_ALPHA:
                raise UsageError(
                    f"{table}.mixup.alpha = {augment.mixup.alpha} in recipe {self.name}",
                    hint=f"{LEAST_ALPHA:g} or more; 32 as in YOLOv5",
                )

    def _augments(self) -> dict[str, Augment]:
        """The tables of augmentation by name."""
        return {"augment": self.augment, "augment_late": self.augment_late}

    def _fractions(self) -> dict[str, float]:
        """The settings that lie between 0 and 1, by key."""
        found: dict[str, float] = {}
        for table, augment in self._augments().items():
            keys = {
                table: (augment, FRACTIONS),
                f"{table}.mixup": (augment.mixup, ("share",)),
                f"{table}.paste": (augment.paste, ("share", "turn")),
                f"{table}.camera": (augment.camera, tuple(f.name for f in fields(augment.camera))),
            }
            for prefix, (owner, names) in keys.items():
                found |= {f"{prefix}.{name}": getattr(owner, name) for name in names}
        return found

    @property
    def teacher_weights(self) -> str:
        """Weights of the teacher; with ``quantisation`` the default is the student's initial weights."""
        return self.teacher or (self.student.init if self.quantisation.family else "")

    def to_json(self) -> dict[str, Any]:
        """The recipe as JSON data, as stored in checkpoints and results."""
        plain: dict[str, Any] = json.loads(to_json_text(self))
        return plain
