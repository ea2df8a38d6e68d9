"""The section of a page on one training: curves, scores, confusion matrix and predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import plots
from benchmarks.report.accuracy_section import AP, confusion_table
from benchmarks.report.blocks import Block, Cell, Details, Heading, Picture, Pictures, Section, Table
from benchmarks.report.verification import facts_table, points
from edgestill.history import Row, read_history

Result = Mapping[str, Any]

_NOT_LOSSES = {"epoch", "lr", "map50", "map50_95", "seconds_per_step", "images_per_s", "seconds"}
#: Images of a run that are shown, by their name in the result; the page draws the history itself.
PREDICTIONS = "predictions"
CAPTIONS = {
    "curves": "Precision over recall by class at an IoU of 0.5; the dots are at a score of 0.25.",
    "confusion": "Share of each true class by predicted class, at a score of 0.25 and an IoU of 0.5.",
    PREDICTIONS: "Validation images: labels on the left, predictions with a score from 0.25 on the right.",
}


def training_section(result: Result, source: str) -> Section:
    """Curves, scores, confusions and predictions of one training.

    Args:
        result: Of ``distill``.
        source: Its file. The history and the images are where the result says, or beside this file; what is
            there in neither place is left out.
    """
    classes: list[list[Cell]] = [
        [name, s["labels"], points(s["ap50"]), points(s["ap50_95"])]
        for name, s in result["per_class"].items()
    ]
    mean: list[Cell] = ["mean", None, points(result["map50"]), points(result["map50_95"])]
    scores = Table(
        columns=("class", "labels", *AP),
        rows=[*classes, mean],
        caption=f"Best epoch {result['best_epoch']} of {result['epochs']}, validation split.",
    )
    blocks: list[Block] = [
        *_curves(result, Path(source)),
        scores,
        *_confusions_and_images(result, Path(source)),
        Details(summary="All settings", blocks=[facts_table(result)]),
    ]
    name = str(result.get("recipe", {}).get("name") or Path(source).parent.name)
    return Section(title=f"Training: {name}", blocks=blocks)


def _curves(result: Result, source: Path) -> Iterator[Block]:
    path = _find(result.get("history"), source)
    rows: list[Row] = read_history(path) if path else []
    if rows:
        losses = [name for name in rows[0] if name not in _NOT_LOSSES]
        caption = "Loss by part (logarithmic), and scores on the validation split."
        yield plots.plot(plots.training_curves, rows, losses, ("map50", "map50_95"), caption=caption)


def _confusions_and_images(result: Result, source: Path) -> Iterator[Block]:
    """The confusion matrix as a table, or its image for results without it; then the other images."""
    shown = dict(CAPTIONS)
    if result.get("taken_for"):
        yield Heading("Confusion matrix")
        caption = (
            "Labels of the validation split; detections with a score of at least 0.25 and an IoU of 0.5."
        )
        yield confusion_table(result["taken_for"], caption)
        del shown["confusion"]
    named = result.get("pictures", {})
    found = {
        name: Picture.read(path, words)
        for name, words in shown.items()
        if (path := _find(named.get(name), source))
    }
    sheet = found.pop(PREDICTIONS, None)
    if found:
        yield Pictures(list(found.values()))
    if sheet:
        yield Heading("Predictions")
        yield sheet


def _find(stated: object, source: Path) -> Path | None:
    """A file of the run, where the result says it is or beside the result; None if gone."""
    path = Path(str(stated)) if stated else None
    places = (path, source.parent / path.name) if path else ()
    return next((place for place in places if place.is_file()), None)
