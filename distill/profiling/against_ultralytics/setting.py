"""The parameters of the comparison and its files: images, a teacher, our recipe, the package's job."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

from edgestill.dataset import Dataset, label_path

VALIDATION_IMAGES = 8  # both sides require a validation split


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """The parameters of the comparison.

    Attributes:
        student: Architecture, e.g. ``yolov5n``.
        teacher: Architecture.
        size: Side of the square images, pixels.
        batch: Images a step.
        epochs: Passes over the images in each training; the first does not count.
        threads: Of the networks' arithmetic.
        classes: Class names of the data.
        data: The ``data.yaml`` that all train on.
    """

    student: str
    teacher: str
    size: int
    batch: int
    epochs: int
    threads: int
    classes: tuple[str, ...]
    data: Path


def write_images(source: Path, folder: Path, images: int) -> tuple[Path, tuple[str, ...]]:
    """Copy evenly spread training images and a few for validation; the package writes files beside them.

    Args:
        source: A ``data.yaml``.
        folder: Where the copy goes.
        images: How many to train on, at most.

    Returns:
        The ``data.yaml`` of the copy, and the class names.

    Raises:
        DataError: The data cannot be read.
    """
    dataset = Dataset.open(source)
    for split, most in (("train", images), ("val", VALIDATION_IMAGES)):
        every = dataset.images(split)
        count = min(most, len(every))
        for number in range(count):
            image = every[number * len(every) // count]
            _copy(image, folder / "images" / split / f"{number:05d}{image.suffix}")
            _copy(label_path(image), folder / "labels" / split / f"{number:05d}.txt")
    names = list(dataset.classes)
    content = {"path": str(folder), "train": "images/train", "val": "images/val", "names": names}
    # JSON is YAML too, and its quotes keep "off" a string.
    (folder / "data.yaml").write_text(json.dumps(content), "utf-8")
    return folder / "data.yaml", dataset.classes


def _copy(source: Path, target: Path) -> None:
    """Copy a file; an image without objects may have no labels."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.exists():
        copyfile(source, target)


def write_teacher(setting: ComparisonSettings, folder: Path) -> None:
    """A YOLOv5u with random weights, as a checkpoint folder."""
    from distill.checkpoints import native  # noqa: PLC0415 (torch)
    from distill.models.yolov5 import build, model_spec  # noqa: PLC0415
    from edgestill.architecture import size_of  # noqa: PLC0415

    network = build(size_of(setting.teacher), len(setting.classes), head="dfl")
    contract = model_spec(network, setting.classes, (setting.size, setting.size))
    native.save(folder, network, contract, {})


def recipe_text(setting: ComparisonSettings, teacher: Path) -> str:
    """Our side, as a recipe: the package's method, head and optimiser, and mosaic in every sample."""
    return f"""\
data = [{_text(setting.data)}]
teacher = {_text(teacher)}
input_hw = [{setting.size}, {setting.size}]
train_hw = [{setting.size}, {setting.size}]
epochs = {setting.epochs}
eval_every = {setting.epochs}
batch = {setting.batch}
threads = {setting.threads}
device = "cpu"

[student]
model = {_text(setting.student)}
head = "dfl"

[optimiser]
kind = "adamw"
lr = 0.00125
momentum = 0.9

[augment]
mosaic = 1.0

[methods.score_l2]
"""


def _text(value: object) -> str:
    """A TOML string."""
    return json.dumps(str(value))


def peer_job(setting: ComparisonSettings, out: Path, *, own_threads: bool, bf16: bool) -> dict[str, Any]:
    """The package's side: what ``peer.py`` reads.

    Args:
        setting: Parameters of the comparison.
        out: Folder of the run.
        own_threads: Whether it chooses their number: one less than there are cores, and at most 8.
        bf16: Whether it trains in bf16; by default it trains in fp32 on a CPU.
    """
    chosen = {
        "data": str(setting.data),
        "imgsz": setting.size,
        "batch": setting.batch,
        "epochs": setting.epochs,
        "device": "cpu",
    }
    # Nothing but training is timed, and a short training is like the middle of a long one.
    untimed = {"val": False, "plots": False, "save": False, "close_mosaic": 0}
    return {
        "student": setting.student,
        "teacher": setting.teacher,
        "nc": len(setting.classes),
        "out": str(out),
        "threads": 0 if own_threads else setting.threads,
        "settings": {**chosen, **untimed, **({"amp": "bf16"} if bf16 else {})},
    }
