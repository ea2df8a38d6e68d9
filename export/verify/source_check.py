"""The check of a built file against its source on images, by which an export is published or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgestill.dataset import Dataset
from edgestill.target import FilePrecision
from export.verify.compare import (
    DetectorRun,
    Sample,
    compare,
    load_samples,
    open_for_evaluation,
    run_detector,
)
from export.verify.gate import LIMITS, Limits, describe, refuse_beyond
from export.verify.score_calibration import measure_effect
from runtime.detector import Detector

#: Opens the reference, given the FP32 ONNX of the checkpoint: a detector at the evaluation setting, and its
#: description for the record. Where torch is installed, the command line passes the torch network here.
OpenReference = Callable[[Path], tuple[Detector, str]]


def open_onnx_reference(source: Path) -> tuple[Detector, str]:
    """The FP32 ONNX of the checkpoint as the reference."""
    return open_for_evaluation(source), "FP32 ONNX of the checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationSet:
    """The images that a file is compared on.

    Attributes:
        dataset: The data set.
        split: The split of it.
        samples: Some of its images, spread evenly.
    """

    dataset: Dataset
    split: str
    samples: Sequence[Sample]

    @classmethod
    def open(
        cls, data: Path, split: str | None, classes: Sequence[str], *, limit: int | None = None
    ) -> EvaluationSet:
        """Read the samples of a data set.

        Args:
            data: Its ``data.yaml``.
            split: The split; None for ``val``, or ``test`` where there is no ``val``.
            classes: The model's classes; labels of others are not read.
            limit: Images at most; None for all.

        Raises:
            DataError: The data set cannot be read.
            UsageError: It has no such split.
        """
        dataset = Dataset.open(data)
        split = split or default_split(dataset)
        samples = load_samples(dataset, split, classes, limit=limit)
        return cls(dataset=dataset, split=split, samples=samples)

    @property
    def images(self) -> list[Path]:
        """All images of the split, not only the samples."""
        return self.dataset.images(self.split)


def default_split(dataset: Dataset) -> str:
    """The split to compare on: ``val``, or ``test`` where there is no ``val``."""
    return next((s for s in ("val", "test") if s in dataset.splits), "val")


#: What to do about a file beyond its limits, where that need not be a fault of the exporter.
HINTS: Mapping[FilePrecision, str] = {
    "int8": "calibrate on more images, let --repair move sensitive blocks, or keep a higher precision",
    "bf16": "this network needs more than bf16's 8 significant bits: --precision fp32, or int8 with --calib",
}


class SourceCheck:
    """Compares built files with one reference, whose detections are computed once.

    Args:
        evaluation: The images.
        classes: The model's classes.
        precision: What the files compute in; it sets the limits.
        max_drop: mAP50-95 points that may be lost, in place of the precision's own limit.
        open_reference: Opens the reference.
        device: The GPU of engines, see ``runtime.backend.open_backend``.
    """

    def __init__(
        self,
        evaluation: EvaluationSet,
        classes: Sequence[str],
        precision: FilePrecision,
        *,
        max_drop: float | None = None,
        open_reference: OpenReference = open_onnx_reference,
        device: str | None = None,
    ) -> None:
        self._device = device
        self._evaluation, self._classes, self._open_reference = evaluation, classes, open_reference
        limits = LIMITS[precision]
        self._limits: Limits = limits if max_drop is None else replace(limits, max_drop=max_drop)
        self._hint = HINTS.get(precision, "this is a fault of the exporter: report it with the checkpoint")
        self._reference: tuple[DetectorRun, str] | None = None

    def __call__(self, built: Path, source: Path) -> dict[str, Any]:
        """Compare one file.

        Args:
            built: The file, with its manifest where it is an engine.
            source: The FP32 ONNX of the checkpoint.

        Returns:
            The comparison for the manifest, as plain JSON data.

        Raises:
            BeyondLimitsError: The file differs from its source by more than the limits.
            NothingComparedError: The source has nothing on these images that a file could lose.
        """
        samples, classes = self._evaluation.samples, self._classes
        reference, description = self._run_reference(source)
        # The graph of an engine that cannot run here is compared on the CPU.
        device = self._device if built.suffix == ".engine" else None
        detector = open_for_evaluation(built, device=device)
        candidate = run_detector(detector, samples, f"run {built.name}")
        comparison = compare(reference, candidate, samples, classes)
        refuse_beyond(comparison, self._limits, f"{built.name} was not published", self._hint)
        record = {
            "reference": description,
            "data": str(self._evaluation.dataset.path),
            "split": self._evaluation.split,
            **describe(comparison, self._limits),
        }
        if score_map := detector.spec.score_map:
            record["recalibration"] = measure_effect(reference, candidate, samples, classes, score_map)
        return record

    def _run_reference(self, source: Path) -> tuple[DetectorRun, str]:
        if self._reference is None:
            detector, description = self._open_reference(source)
            run = run_detector(detector, self._evaluation.samples, f"run {description}")
            self._reference = run, description
        return self._reference


def comparison_doubts(evaluation: EvaluationSet | None) -> tuple[str, ...]:
    """What a comparison on these images, or none, leaves open."""
    if evaluation is None:
        return ("the file was not compared with its source on images: add --verify DATA.yaml",)
    return label_doubts(evaluation.samples)


def label_doubts(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Whether the labels of the images cannot be used."""
    if any(sample.truth is None for sample in samples):
        return ("the data's classes are not the model's: boxes were compared, mAP was not",)
    return ()
