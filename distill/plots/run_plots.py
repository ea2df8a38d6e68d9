"""The pictures of a finished run: its course, how far its best weights can be trusted, and what they see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.models.yolov5 import Yolov5
from distill.plots.contact_sheet import Pictured, contact_sheet
from distill.plots.training import plot_confusion, plot_curves, plot_history
from distill.training.validation import Validation
from edgestill.dataset import read_image
from edgestill.detections import Detections
from edgestill.history import Row
from edgestill.plotting import optional_plots
from runtime.metrics.coco import curves
from runtime.metrics.confusion import CONF, confusion

HISTORY, CURVES, CONFUSION, PREDICTIONS = "history.png", "curves.png", "confusion.png", "predictions.jpg"
SHOWN = 6  # images of the validation set on the contact sheet


def draw(out: Path, rows: Sequence[Row], best: Yolov5, validation: Validation) -> dict[str, str]:
    """Draw all of them; gives their paths by name.

    Args:
        out: Folder of the run.
        rows: Its history.
        best: The network with the best weights.
        validation: The images that are looked at.
    """
    found = validation.detections(best)
    sure = [as_deployed(f) for f in found]
    classes, truths = validation.classes, validation.truths
    paths = {"predictions": out / PREDICTIONS}
    contact_sheet(paths["predictions"], _pictured(validation, sure), classes)
    with optional_plots("plots"):
        paths["history"] = plot_history(out / HISTORY, rows)
        counts = confusion(sure, truths, len(classes))
        precision = curves(found, truths, classes, validation.image_hws)
        paths["curves"] = plot_curves(out / CURVES, precision, counts, classes)
        paths["confusion"] = plot_confusion(out / CONFUSION, counts, classes)
    return {name: str(path) for name, path in paths.items()}


def as_deployed(found: Detections, conf: float = CONF) -> Detections:
    """What a device would report of an evaluation's detections: the sure ones, each box with one class."""
    sure = found.where(found.score >= conf)
    _, first = np.unique(sure.xyxy, axis=0, return_index=True)  # highest score first: the surest class
    return sure.where(np.sort(first))


def _pictured(validation: Validation, found: Sequence[Detections]) -> list[Pictured]:
    """Images spread over those that show something, or over all where none does."""
    full = [i for i, truth in enumerate(validation.truths) if len(truth.class_id)]
    full = full or list(range(len(validation)))
    picked = full[:: max(1, -(-len(full) // SHOWN))]
    return [Pictured(read_image(validation.paths[i]), validation.truths[i], found[i]) for i in picked]
