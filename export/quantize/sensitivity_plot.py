"""Plot the sensitivities of a network's blocks, the highest on top."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgestill.errors import missing_library
from edgestill.progress import say
from export.quantize.blocks import PrecisionBlock
from export.quantize.sensitivity import Sensitivity

#: Distinguishable with colour blindness (after Okabe and Ito, 2008).
UNCHANGED, MOVED = "#2b8cbe", "#e08214"
INK, SOFT, GRID = "#1c2126", "#57606a", "#d8dde2"
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 30,
    "axes.titlesize": 11,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
}


def plot_path(model: Path) -> Path:
    """Path of a model file's plot: ``student.onnx`` -> ``student.onnx.sensitivity.png``."""
    return model.with_name(f"{model.name}.sensitivity.png")


def draw(
    model: Path, folder: Path, ranking: Sequence[Sensitivity], moved: Sequence[PrecisionBlock]
) -> Path | None:
    """Plot into a folder; None, with a message on stderr, if matplotlib is not installed.

    Args:
        model: The model file, which names the plot.
        folder: Where the plot goes.
        ranking: The sensitivities, the highest first.
        moved: The blocks that were moved to a higher precision.
    """
    path = folder / plot_path(model).name
    try:
        return plot(path, ranking, {block.name for block in moved}, f"{model.name}: each block alone")
    except ModuleNotFoundError as error:
        say(f"no plot of the sensitivities: {missing_library('drawing it', error.name, 'report').what}")
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
    import matplotlib  # noqa: PLC0415 (an extra; slow to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 1.7 + 0.27 * len(ranking)), layout="constrained")
        axes = figure.subplots()
        for label, colour, chosen in (("unchanged", UNCHANGED, False), ("higher precision", MOVED, True)):
            rows = [row for row, found in enumerate(ranking) if (found.block.name in moved) == chosen]
            if rows:
                errors = [ranking[row].error for row in rows]
                axes.barh(rows, errors, 0.66, color=colour, label=label)
        for row, found in enumerate(ranking):
            work = f"{found.block.work:.1%} of the work"
            axes.annotate(
                work, (found.error, row), (5, 0), textcoords="offset points", va="center", color=SOFT
            )
        axes.set_yticks(range(len(ranking)), [found.block.name for found in ranking])
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="change of score + loss of IoU, mean weighted by score", title=title)
        axes.margins(x=0.2, y=0.02)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1)
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    return path
