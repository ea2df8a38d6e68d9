"""Rows of a study's table, and comparisons of the arms with the reference arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.study.formatting import POINTS
from distill.study.grid import Cell, Study, by_student_and_teacher
from distill.study.process import DETECTIONS
from distill.study.scoring import load_detections, same_images
from distill.study.sequences import sequence_of
from distill.study.statistics import PairedDifference, Power, holm, paired_t, percentile_test, power_of
from edgestill.errors import UsageError
from edgestill.progress import progress
from runtime.metrics.bootstrap import draws, resampled

#: The metrics of all classes, in the order of ``bootstrap.resampled``; ``PRIMARY`` is the third one.
METRICS = ("map50", "map50_95")
PRIMARY = "primary"
STRICT, SIZED = "map75", "size"  # mAP at IoU 0.75, and by size of the object

Scored = tuple[Cell, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One line of the table: an arm over its seeds. Scores are fractions in [0, 1].

    Attributes:
        student: The student's name.
        teacher: The teacher's; ``-`` without one.
        arm: The arm's name.
        model: The student's architecture.
        epochs: Trained epochs, the maximum over the seeds.
        seeds: Finished seeds.
        scores: By ``map50``, ``map50_95``, ``primary`` if the study has it, and the classes' ``ap50 NAME``
            and ``ap50_95 NAME``, one value a seed; NaN for a class without labels.
        sources: mAP50-95 by source of the images, one value a seed; empty where they have one source.
        network: ``parameters``, ``gflops`` and those of the head; empty for cells of an older version.
    """

    student: str
    teacher: str
    arm: str
    model: str
    epochs: int
    seeds: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]
    sources: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    network: Mapping[str, float] = field(default_factory=dict)

    def mean(self, key: str) -> float:
        """Mean over the seeds."""
        return mean(self.scores[key])

    def spread(self, key: str) -> float:
        """Standard deviation over the seeds; NaN for one seed."""
        return spread(self.scores[key])


def mean(values: Sequence[float]) -> float:
    """Mean over the seeds."""
    return float(np.mean(values))


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the seeds; NaN for one seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An arm compared with a reference arm, over the seeds that both have.

    Attributes:
        student: The student's name.
        teacher: The teacher's.
        arm: The compared arm.
        against: The reference arm.
        metric: ``map50``, ``map50_95`` or ``primary``.
        seeds: t test over the seeds.
        images: Bootstrap over the images or their sequences, of the difference's mean over the seeds.
        effect: The study's smallest difference of interest, a fraction.
        power: Of the t test, for a true difference of ``effect``.
        seeds_holm: ``seeds.p``, corrected for the number of arms.
        images_holm: ``images.p``, corrected for the number of arms.
    """

    student: str
    teacher: str
    arm: str
    against: str
    metric: str
    seeds: PairedDifference
    images: PairedDifference
    effect: float
    power: Power
    seeds_holm: float = nan
    images_holm: float = nan

    @property
    def plain_against(self) -> str:
        """The arm that it is compared with, without values of the sweep."""
        return self.against.partition(" ")[0]


def with_primary(score: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """A cell's or teacher's scores, with the mean AP50-95 of some classes as ``primary``.

    Raises:
        UsageError: There is no such class, or it has no labels.
    """
    values = [(name, score["per_class"].get(name, {}).get("ap50_95")) for name in classes]
    for name, value in values:
        if value is None:
            raise UsageError(
                f"the primary class {name} has no labels in the split {score['split']}",
                hint=f"classes: {', '.join(score['per_class'])}",
            )
    return {**score, PRIMARY: mean([value for _, value in values])} if values else dict(score)


def arm_rows(scored: Sequence[Scored]) -> list[ArmRow]:
    """One row an arm, student and teacher, in the study's order."""
    groups: dict[tuple[str, str, str], list[Scored]] = {}
    for cell, score in scored:
        groups.setdefault((cell.student, cell.teacher, cell.arm), []).append((cell, score))
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Scored]) -> ArmRow:
    group = sorted(group, key=lambda one: one[0].seed)
    cell = group[0][0]
    return arm_row(cell.student, cell.teacher, cell.arm, [score for _, score in group])


def arm_row(student: str, teacher: str, arm: str, scores: Sequence[Mapping[str, Any]]) -> ArmRow:
    """A row of the scores of some cells, which differ in their seed."""
    return ArmRow(
        student=student,
        teacher=teacher,
        arm=arm,
        model=scores[0]["model"],
        epochs=max(score["epochs"] for score in scores),
        seeds=tuple(score["seed"] for score in scores),
        scores=_by_key([_flat(score) for score in scores]),
        sources=_by_key([{n: s["map50_95"] for n, s in score["per_source"].items()} for score in scores]),
        network=scores[0].get("network", {}),
    )


def _by_key(scores: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, ...]]:
    values = {key: [score[key] for score in scores] for key in scores[0]}
    return {key: tuple(nan if v is None else float(v) for v in found) for key, found in values.items()}


def _flat(score: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {key: score[key] for key in (*METRICS, PRIMARY, STRICT) if key in score}
    found |= {f"{SIZED} {name}": entry["ap50_95"] for name, entry in score["by_size"].items()}
    for name, entry in score["per_class"].items():
        found |= {f"{key} {name}": entry[key] for key in ("ap50", "ap50_95")}
    return found


def compare(scored: Sequence[Scored], out: Path, study: Study) -> list[Comparison]:
    """Every arm against each arm of ``study.against`` that has the same student, teacher and seeds.

    Raises:
        UsageError: The cells were scored on different images.
    """
    pairs = list(_pairs([cell for cell, _ in scored], study.against))
    needed = dict.fromkeys(cell for _, _, _, both in pairs for pair in both for cell in pair)
    scores = _resampled(list(needed), out, study)
    metrics = (*METRICS, PRIMARY) if study.primary else METRICS
    effect = study.effect / POINTS
    made = [
        Comparison(
            student=key[0],
            teacher=key[1],
            arm=arm,
            against=other,
            metric=metric,
            seeds=paired_t(differences[:, 0].tolist()),
            effect=effect,
            power=power_of(differences[:, 0].tolist(), effect),
            images=percentile_test(float(differences[:, 0].mean()), differences[:, 1:].mean(0)),
        )
        for key, arm, other, both in pairs
        for m, metric in enumerate(metrics)
        # [seeds, 1 + resamples]; the first column is the measured value.
        for differences in [np.stack([scores[a][:, m] - scores[b][:, m] for a, b in both])]
    ]
    return _corrected(made)


def _pairs(
    cells: Sequence[Cell], against: Sequence[str]
) -> list[tuple[tuple[str, str], str, str, list[tuple[Cell, Cell]]]]:
    """Student and teacher, arm, reference, and their cells seed by seed."""
    found = []
    for key, group in by_student_and_teacher(cells):
        arms: dict[str, dict[int, Cell]] = {}
        for cell in group:
            arms.setdefault(cell.arm, {})[cell.seed] = cell
        for plain in against:
            for arm, by_seed in arms.items():
                other = _reference(arm, plain, list(arms))
                if other is None or arm.partition(" ")[0] in {plain, *against[: against.index(plain)]}:
                    continue
                both = [(by_seed[s], arms[other][s]) for s in sorted(by_seed.keys() & arms[other].keys())]
                if both:
                    found.append((key, arm, other, both))
    return found


def _reference(arm: str, plain: str, arms: Sequence[str]) -> str | None:
    """The variant of ``plain`` that matches an arm: the arm has all its values of the sweep."""
    values = set(arm.split(" ")[1:])
    fitting = [a for a in arms if a.partition(" ")[0] == plain and set(a.split(" ")[1:]) <= values]
    return max(fitting, key=len, default=None)


def _resampled(cells: Sequence[Cell], out: Path, study: Study) -> dict[Cell, NDArray[np.float64]]:
    """Mean AP of every cell for the same draws of images or sequences."""
    if not cells:
        return {}
    first = load_detections(out / cells[0].folder / DETECTIONS)
    groups = sequence_of(first.images) if study.resample == "sequences" else None
    weights = draws(len(first.images), study.resamples, groups=groups)
    primary = [first.classes.index(name) for name in study.primary]
    scores = {}
    with progress("resampling images, cells", len(cells)) as advance:
        for cell in cells:
            detections = load_detections(out / cell.folder / DETECTIONS)
            if not same_images([first, detections]):
                raise UsageError(
                    f"{cell.label} was scored on other images or labels than {cells[0].label}",
                    hint=f"the data changed: remove {out}/cells/*/*/*/score.json and study again",
                )
            scores[cell] = resampled(
                detections.predictions,
                detections.truths,
                len(detections.classes),
                weights,
                primary=primary,
            )
            advance()
    return scores


def _corrected(made: Sequence[Comparison]) -> list[Comparison]:
    """Holm's correction over the arms that are compared with the same one."""

    def family(one: Comparison) -> tuple[str, ...]:
        return one.student, one.teacher, one.plain_against, one.metric

    def by_family(p: Callable[[Comparison], float]) -> dict[int, float]:
        found: dict[int, float] = {}
        for key in {family(one) for one in made}:
            members = [i for i, one in enumerate(made) if family(one) == key]
            found |= dict(zip(members, holm([p(made[i]) for i in members]), strict=True))
        return found

    seeds, images = by_family(lambda one: one.seeds.p), by_family(lambda one: one.images.p)
    return [replace(one, seeds_holm=seeds[i], images_holm=images[i]) for i, one in enumerate(made)]
