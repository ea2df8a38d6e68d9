"""A data set in YOLO layout: ``data.yaml``, image folders, one label file an image.

The label of ``images/a/x.jpg`` is ``labels/a/x.txt``; an image without a label file has no objects. All that
reads data sets (training, evaluation, calibration, verification, checks) reads them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgestill.dataset_files.data_yaml import read_data_yaml
from edgestill.dataset_files.image_file import IMAGE_SUFFIXES, read_image
from edgestill.dataset_files.image_folder import images_under, kind_of, listed_images
from edgestill.dataset_files.image_source import SourceFilter
from edgestill.dataset_files.label_file import Labels, read_labels
from edgestill.errors import DataError, UsageError
from edgestill.progress import say

__all__ = [
    "IMAGE_SUFFIXES",
    "Dataset",
    "Labels",
    "ReadRows",
    "images_under",
    "label_file",
    "label_path",
    "read_image",
    "read_labels",
    "say_remarks",
]

LIST_SUFFIX = ".txt"


@dataclass(slots=True)
class ReadRows:
    """What a person should know about how a data set was read, and was not told yet.

    Attributes:
        notes: About the paths of ``data.yaml``.
        repeated: Rows that were left out because an equal one is in the same file.
        repeated_in: Label files with such rows.
        polygons: Rows that are polygons, and were read as the boxes around them.
        polygons_in: Label files with such rows.
    """

    notes: tuple[str, ...] = ()
    repeated: int = 0
    repeated_in: list[Path] = field(default_factory=list)
    polygons: int = 0
    polygons_in: list[Path] = field(default_factory=list)

    def add(self, path: Path, labels: Labels) -> None:
        """Count the rows of a label file."""
        if labels.repeated:
            self.repeated += labels.repeated
            self.repeated_in.append(path)
        if labels.polygons:
            self.polygons += labels.polygons
            self.polygons_in.append(path)

    def remarks(self) -> list[str]:
        """The notes, and a sentence for each kind of row that was counted, since the last call."""
        remarks = [*self.notes]
        if self.repeated:
            remarks.append(
                f"{_count(self.repeated, 'label row')} left out, because an equal one is in the same file: "
                f"in {_count(len(self.repeated_in), 'file')}, first {self.repeated_in[0]}"
            )
        if self.polygons:
            remarks.append(
                f"{_count(self.polygons, 'label row')} read as the box around its polygon: "
                f"in {_count(len(self.polygons_in), 'file')}, first {self.polygons_in[0]}"
            )
        self.notes, self.repeated, self.repeated_in, self.polygons, self.polygons_in = (), 0, [], 0, []
        return remarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A parsed ``data.yaml``.

    Attributes:
        path: The YAML file.
        classes: Class names; the position is the class id.
        splits: Image folders, lists of images (``.txt``) and single images by split name (``train``, ``val``,
            ``test``).
        root: The folder that relative paths in lists of images may be relative to.
        keypoint_columns: Columns of keypoints in the label files of a set for poses, which are left out.
        has_download: Whether ``data.yaml`` has a ``download`` entry. It is never run.
        notes: What a person should know about how the paths of ``data.yaml`` were read.
        sources: Which images ``images`` lists, by their source.
        rows: What ``labels`` has read in another way than as one box a row, until it is said.
    """

    path: Path
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[Path, ...]]
    root: Path = Path()
    keypoint_columns: int = 0
    has_download: bool = False
    notes: tuple[str, ...] = ()
    sources: SourceFilter = field(default_factory=SourceFilter)
    rows: ReadRows = field(default_factory=ReadRows, compare=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Parse a ``data.yaml``.

        Raises:
            DataError: It is missing, not YAML, lacks names or splits, or contradicts itself.
        """
        data = read_data_yaml(path)
        return cls(
            path=path,
            classes=data.classes,
            splits=data.splits,
            root=data.root,
            keypoint_columns=data.keypoint_columns,
            has_download=data.has_download,
            notes=data.notes,
            rows=ReadRows(notes=data.notes),
        )

    def of_sources(self, sources: SourceFilter) -> Dataset:
        """The same data set, of which ``images`` lists some sources only; it may then list no image."""
        return replace(self, sources=sources)

    def images(self, split: str) -> list[Path]:
        """The images of a split, sorted by path.

        Raises:
            UsageError: The data set has no such split.
            DataError: A folder or a listed image is missing, or the split holds no image.
        """
        if split not in self.splits:
            raise UsageError(f"{self.path} has no split {split!r}", hint=f"it has: {', '.join(self.splits)}")
        found: list[Path] = []
        for source in self.splits[split]:
            found += self._images_of(source, split)
        if not found:
            raise DataError(
                f"the {split} split of {self.path} holds no image",
                hint=f"images end in {', '.join(sorted(IMAGE_SUFFIXES))}",
            )
        return sorted(self.sources(found))

    def is_there(self, split: str) -> bool:
        """Whether the data set has a split and its folders and lists are on this disk."""
        return split in self.splits and all(kind_of(source) for source in self.splits[split])

    def labels(self, image: Path) -> Labels:
        """The labels of one image of this data set, see ``read_labels``."""
        path = label_file(image)
        labels = read_labels(path, len(self.classes), keypoint_columns=self.keypoint_columns)
        if labels.repeated or labels.polygons:
            self.rows.add(path, labels)
        return labels

    def _images_of(self, source: Path, split: str) -> list[Path]:
        kind, suffix = kind_of(source), source.suffix.lower()
        if kind == "folder":
            return images_under(source)
        if kind == "file" and suffix == LIST_SUFFIX:
            return listed_images(source, self.root)
        if kind == "file" and suffix in IMAGE_SUFFIXES:
            return [source]
        hint = "correct the path in data.yaml"
        if self.has_download:
            hint = f"its download entry is never run: fetch the data set yourself, or {hint}"
        raise DataError(
            f"{source}, the {split} split of {self.path}, is not a folder or a list of images"
            + "".join(f" ({note})" for note in self.notes),
            hint=hint,
        )


def say_remarks(*datasets: Dataset) -> None:
    """Say on stderr which paths and labels were read in another way than as written, once."""
    for dataset in datasets:
        for remark in dataset.rows.remarks():
            say(f"{dataset.path}: {remark}")


def label_path(image: Path) -> Path:
    """``.../images/train/x.jpg`` -> ``.../labels/train/x.txt``; replaces the last folder called images."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def label_file(image: Path) -> Path:
    """The label file of an image: ``label_path``, or the one that ends in ``.TXT`` if only that is there."""
    path = label_path(image)
    upper = path.with_suffix(".TXT")
    return upper if upper.exists() and not path.exists() else path


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
