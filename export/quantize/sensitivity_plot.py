"""A plot of the sensitivities of a network's blocks, the worst on top."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgestill.drawing.class_names import plot_text
from edgestill.plotting import COLOURS, INK, SOFT, image_figure, optional_plots
from export.quantize.blocks import PrecisionBlock
from export.quantize.sensitivity import Sensitivity

STAYS, MOVED = COLOURS[:2]


def plot_path(model: Path) -> Path:
    """Where the plot of a model file is written: ``student.onnx`` -> ``student.onnx.sensitivity.png``."""
    return model.with_name(f"{model.name}.sensitivity.png")


def draw(
    model: Path, folder: Path, ranking: Sequence[Sensitivity], moved: Sequence[PrecisionBlock]
) -> Path | None:
    """Draw the plot of a model file into a folder; None, and a line on stderr, without matplotlib."""
    path = folder / plot_path(model).name
    with optional_plots("plot of the sensitivities"):
        return plot(path, ranking, {block.name for block in moved}, f"{model.name}: each block alone")
    return None


def plot(path: Path, ranking: Sequence[Sensitivity], moved: Collection[str], title: str) -> Path:
    """Draw one bar for each block; the same ranking gives the same bytes.

    Args:
        path: The PNG.
        ranking: The sensitivities, the highest first.
        moved: Names of the blocks that were moved to a higher precision.
        title: Title of the plot.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    style = {"axes.grid.axis": "x", "axes.titlepad": 30, "ytick.labelcolor": INK}
    with image_figure(path, (8.4, 1.7 + 0.27 * len(ranking)), style) as figure:
        axes = figure.subplots()
        for label, colour, chosen in (("unchanged", STAYS, False), ("higher precision", MOVED, True)):
            rows = [row for row, found in enumerate(ranking) if (found.block.name in moved) == chosen]
            if rows:
                errors = [ranking[row].error for row in rows]
                axes.barh(rows, errors, 0.66, color=colour, label=label)
        for row, found in enumerate(ranking):
            work = f"{found.block.work:.1%} of the work"
            axes.annotate(
                work, (found.error, row), (5, 0), textcoords="offset points", va="center", color=SOFT
            )
        axes.set_yticks(range(len(ranking)), [plot_text(found.block.name, 80) for found in ranking])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="change of score + loss of IoU, mean weighted by score", title=plot_text(title, 120))
        axes.margins(x=0.2, y=0.02)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1)
    return path
