"""The result of a conversion: what was written and what was skipped."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from distill.datasets.formats._class_map import ClassMap
from distill.datasets.formats._records import ImageRecord, SourceDataset
from distill.datasets.formats._splits import SPLITS, SplitAssignment
from distill.datasets.formats._write import NO_AREA, OUTSIDE, WrittenImage
from edgestill.files import to_json_text

DATA_YAML = "data.yaml"
OBJECTS = "objects.jsonl"
MANY_USELESS = 0.05  # of the objects: more boxes that show nothing are probably those of other images


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """The result of a conversion.

    Attributes:
        data_yaml: The new data set.
        objects: JSON lines with the attributes of each row of the label files.
        labels: Kind of the source's labels, as class maps call it.
        classes: Class names.
        split: How images were split: ``official``, ``sequence`` or ``city``.
        images: Images by split.
        sequences: Sequences by split; None if the source has none.
        without_boxes: Images without a box by split.
        boxes: Boxes by class name, by split.
        clipped_boxes: Boxes that were clipped at the border of the image.
        images: How many images were ``decoded``, ``linked``, ``copied``, or ``kept`` from an earlier run.
        skipped_pictures: How many, by reason.
        skipped_objects: How many, by reason.
        unreadable_objects: Those of them that could not be read, by reason. The others were left out by the
            class map, as crowd or duplicate, or because their box shows nothing of the image.
        examples: The first few skipped images and objects.
        warnings: Conditions that are allowed but probably not intended.
    """

    data_yaml: Path
    objects: Path
    labels: str
    classes: tuple[str, ...]
    split: str
    images: dict[str, int]
    sequences: dict[str, int] | None
    without_boxes: dict[str, int]
    boxes: dict[str, dict[str, int]]
    clipped_boxes: int
    pictures: dict[str, int]
    skipped_pictures: dict[str, int]
    skipped_objects: dict[str, int]
    unreadable_objects: dict[str, int]
    examples: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(slots=True)
class ConversionCounts:
    """Counts over the images that were written, and the lines of ``OBJECTS``."""

    images: Counter[str] = field(default_factory=Counter)
    empty: Counter[str] = field(default_factory=Counter)
    boxes: Counter[tuple[str, int]] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)
    sequences: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    clipped: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, record: ImageRecord, split: str, written: WrittenImage) -> None:
        """Count one image."""
        self.images[split] += 1
        self.empty[split] += not written.boxes
        self.boxes.update((split, class_id) for class_id in written.boxes)
        self.how[written.how] += 1
        self.sequences[split].add(record.sequence)
        self.clipped += written.clipped
        line = {"image": written.done.image, "objects": written.tags}
        self.lines.append(to_json_text(line, indent=None) + "\n")

    def splits(self) -> list[str]:
        """The splits that have images."""
        return [split for split in SPLITS if self.images[split]]

    def result(
        self, out: Path, found: SourceDataset, assigned: SplitAssignment, class_map: ClassMap
    ) -> ConversionResult:
        """All counts of a finished conversion."""
        splits = self.splits()
        warnings = [*_object_warnings(found), *found.warnings, *assigned.warnings]
        warnings += [f"there is no {split} split" for split in ("train", "val") if split not in splits]
        return ConversionResult(
            data_yaml=out / DATA_YAML,
            objects=out / OBJECTS,
            labels=found.dialect,
            classes=class_map.classes,
            split=assigned.mode,
            images={split: self.images[split] for split in splits},
            sequences={s: len(self.sequences[s]) for s in splits} if found.has_sequences else None,
            without_boxes={split: self.empty[split] for split in splits},
            boxes={
                split: {name: self.boxes[split, i] for i, name in enumerate(class_map.classes)}
                for split in splits
            },
            clipped_boxes=self.clipped,
            pictures=dict(self.how),
            skipped_pictures=dict(found.skipped_images.reasons.most_common()),
            skipped_objects=dict(found.skipped_objects.reasons.most_common()),
            unreadable_objects=dict(found.unreadable.reasons.most_common()),
            examples=(*found.skipped_images.examples, *found.skipped_objects.examples),
            warnings=tuple(warnings),
        )


def _object_warnings(found: SourceDataset) -> list[str]:
    warnings = []
    if unreadable := found.unreadable.reasons.total():
        warnings.append(
            f"{unreadable} of {found.objects} objects could not be read, and images with them are left out; "
            f"the first: {found.unreadable.examples[0]}"
        )
    if found.without_image:
        warnings.append(
            f"{found.without_image} objects belong to no known image: images without boxes may show them"
        )
    useless = sum(found.skipped_objects.reasons[reason] for reason in (NO_AREA, OUTSIDE))
    if useless > MANY_USELESS * found.objects:
        warnings.append(
            f"{useless} of {found.objects} boxes have no area or lie outside their image: "
            "are the labels those of these images?"
        )
    return warnings
