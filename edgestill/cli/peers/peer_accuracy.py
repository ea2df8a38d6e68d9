"""The accuracy of the files that ``edgestill bench --peers`` compares.

All are run by the runtime, with the same letterbox, decoding and NMS, so that a difference is one of the
file. The figures are kept by the content of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.model_files import digest_of
from edgestill.dataset import Dataset
from edgestill.errors import ToolchainError
from edgestill.files import read_json, write_json
from export.verify.compare import (
    DetectorRun,
    Sample,
    compare,
    make_samples,
    open_for_evaluation,
    run_detector,
)
from runtime.metrics.class_map import ClassMap, read_class_map
from runtime.metrics.coco import Truth
from runtime.metrics.evaluate import EVAL_IOU, score

NOTHING: Mapping[str, Any] = {
    "map50": None,
    "map50_95": None,
    "agreement_map50_95": None,
    "agreement_against": None,
    "confident": None,
    "matched": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAccuracy:
    """Measures files on the same images.

    Attributes:
        kept: JSON file of the figures by content.
        dataset: The labels.
        images: To evaluate on.
        class_map: As ``--class-map`` of ``edgestill eval``; empty for the same classes.
        threads: CPU threads; None leaves the choice to the backend.
    """

    kept: Path
    dataset: Dataset
    images: Sequence[Path]
    class_map: Sequence[str] = ()
    threads: int | None = None

    def __call__(self, files: Mapping[str, Path]) -> Mapping[str, Mapping[str, Any]]:
        """Figures by key of a file.

        ``map50``, ``map50_95``: None where model and data have other classes and there is no class map.
        ``agreement_map50_95``: with the detections of the FP32 file of the same backend as ground truth.
        ``confident`` is their number above a score of 0.5, ``matched`` those that the file finds, too.

        Args:
            files: By key; that of an FP32 file is ``BACKEND-fp32``.
        """
        known = read_json(self.kept, hint=f"delete {self.kept}") if self.kept.is_file() else {}
        names = {key: self._name(key, files) for key in files}
        references: dict[str, DetectorRun] = {}
        for key, path in files.items():
            if names[key] not in known:
                known[names[key]] = self._measure(key, path, files, references)
                write_json(self.kept, known)
        return {key: known[names[key]] for key in files}

    def _name(self, key: str, files: Mapping[str, Path]) -> str:
        """What the figures depend on."""
        reference = files.get(_reference_of(key))
        digests = [digest_of(path) for path in (files[key], reference) if path is not None]
        where = [str(self.dataset.path), str(self.images[0].parent), str(len(self.images)), *self.class_map]
        return " ".join([*digests, *where])

    def _measure(
        self, key: str, path: Path, files: Mapping[str, Path], references: dict[str, DetectorRun]
    ) -> dict[str, Any]:
        reference = _reference_of(key)
        try:
            found, samples, classes = self._run(path)
        except ToolchainError as error:
            return {**NOTHING, "accuracy_missing": error.what}
        figures = {**NOTHING, **self._scores(found, samples, classes)}
        if key == reference:
            references[key] = found
        elif reference in files:
            if reference not in references:
                references[reference] = self._run(files[reference])[0]
            figures |= _agreement(references[reference], found, samples, classes, reference)
        return figures

    def _run(self, path: Path) -> tuple[DetectorRun, list[Sample], tuple[str, ...]]:
        detector = open_for_evaluation(path, threads=self.threads)
        try:
            classes = detector.spec.classes
            samples = make_samples(self.dataset, self.images, classes)
            return run_detector(detector, samples, f"accuracy of {path.name}"), samples, classes
        finally:
            detector.close()

    def _scores(
        self, found: DetectorRun, samples: Sequence[Sample], classes: Sequence[str]
    ) -> dict[str, float | None]:
        """Mean AP on the labels, where the classes are the same or mapped."""
        truths = [sample.truth for sample in samples if sample.truth is not None]
        if self.class_map:
            mapping = read_class_map(self.class_map, classes, self.dataset.classes)
            return self._mapped_scores(found, mapping)
        if len(truths) < len(samples):
            return {}
        accuracy = score(found.found, truths, classes, found.image_hws)
        return {"map50": accuracy.map50, "map50_95": accuracy.map50_95}

    def _mapped_scores(self, found: DetectorRun, mapping: ClassMap) -> dict[str, float | None]:
        truths = []
        for path, hw in zip(self.images, found.image_hws, strict=True):
            labels = self.dataset.labels(path)
            truths.append(mapping.truth(Truth(labels.xyxy_px(hw), labels.class_id)))
        mapped = [mapping.detections(one, iou=EVAL_IOU) for one in found.found]
        accuracy = score(mapped, truths, mapping.classes, found.image_hws)
        return {"map50": accuracy.map50, "map50_95": accuracy.map50_95}


def _reference_of(key: str) -> str:
    return f"{key.partition('-')[0]}-fp32"


def _agreement(
    reference: DetectorRun, found: DetectorRun, samples: Sequence[Sample], classes: Sequence[str], name: str
) -> dict[str, Any]:
    unlabelled = [Sample(sample.path, None) for sample in samples]  # without the bootstrap over labels
    comparison = compare(reference, found, unlabelled, classes)
    return {
        "agreement_map50_95": comparison.kept_map50_95,
        "agreement_against": name,
        "confident": comparison.reference_sure,
        "matched": comparison.matched,
    }
