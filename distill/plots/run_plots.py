"""The plots of a finished run: training curves, precision over recall, confusion, and sample predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from distill.plots.contact_sheet import PredictedImage, contact_sheet
from distill.plots.training import plot_confusion, plot_curves, plot_history
from distill.training.validation import Validation
from edgestill.dataset import read_image
from edgestill.detections import Detections
from edgestill.drawing.class_names import image_names, plot_names, say_replaced
from edgestill.history import Row
from edgestill.plotting import optional_plots
from runtime.metrics.coco import curves
from runtime.metrics.confusion import CONF, confusion

HISTORY_PLOT, CURVES_PLOT, CONFUSION_PLOT = "history.png", "curves.png", "confusion.png"
PREDICTIONS_SHEET = "predictions.jpg"
SHOWN = 6  # images of the validation set on the contact sheet


def draw(
    out: Path, rows: Sequence[Row], found: Sequence[Detections], validation: Validation
) -> dict[str, str]:
    """Draw all plots; gives their paths by name.

    Args:
        out: Folder of the run.
        rows: Its history.
        found: What the network with the best weights detects in the validation images.
        validation: The validation images and their labels.
    """
    confident = [deployed_detections(f) for f in found]
    classes, truths = validation.classes, validation.truths
    paths = {"predictions": out / PREDICTIONS_SHEET}
    say_replaced(classes, image_names(classes), "images")
    contact_sheet(paths["predictions"], _sample_images(validation, confident), classes)
    with optional_plots("plots"):
        say_replaced(classes, plot_names(classes), "plots")
        paths["history"] = plot_history(out / HISTORY_PLOT, rows)
        counts = confusion(confident, truths, len(classes))
        precision = curves(found, truths, classes, validation.image_hws)
        paths["curves"] = plot_curves(out / CURVES_PLOT, precision, counts, classes)
        paths["confusion"] = plot_confusion(out / CONFUSION_PLOT, counts, classes)
    return {name: str(path) for name, path in paths.items()}


def deployed_detections(found: Detections, conf: float = CONF) -> Detections:
    """The detections of an evaluation as deployed: above the confidence threshold, one class for each box."""
    confident = found.where(found.score >= conf)
    # Detections are sorted by score: the first of a box has the class with the highest one.
    _, first = np.unique(confident.xyxy, axis=0, return_index=True)
    return confident.where(np.sort(first))


def _sample_images(validation: Validation, found: Sequence[Detections]) -> list[PredictedImage]:
    """Evenly spread images with labels, or of all if none has any."""
    full = [i for i, truth in enumerate(validation.truths) if len(truth.class_id)]
    full = full or list(range(len(validation)))
    picked = full[:: max(1, -(-len(full) // SHOWN))]
    return [PredictedImage(read_image(validation.paths[i]), validation.truths[i], found[i]) for i in picked]
