"""One style for every plot of the project, and figures that need no display.

Only ``figure`` imports matplotlib, which is in the ``report`` extra and slow to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.drawing.class_names import fallback_fonts
from edgestill.drawing.palette import DASHES
from edgestill.errors import EXTRA_OF
from edgestill.files import replacing
from edgestill.installation import pip_command
from edgestill.progress import say

LIBRARY = "matplotlib"
DPI = 120
#: Distinguishable with colour blindness (after Okabe and Ito, 2008), and readable on white and near-black.
COLOURS = ("#2b8cbe", "#e08214", "#1b9e77", "#c2589b", "#8c6bb1", "#b8a11a", "#7f8c99")
INK, SOFT, GRID = "#1c2126", "#57606a", "#d8dde2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of everything but the data.

    Attributes:
        ink: Titles, texts and legends.
        soft: Labels of axes and ticks.
        grid: Grid, ticks and edges of axes.
    """

    ink: str = INK
    soft: str = SOFT
    grid: str = GRID


@contextmanager
def figure(
    size_in: tuple[float, float],
    overrides: Mapping[str, Any] | None = None,
    *,
    palette: Palette | None = None,
    names: Sequence[str] = (),
) -> Iterator[Any]:
    """A matplotlib figure in the project's style, which holds until the block ends.

    It is made without pyplot, which keeps global state and may ask for a display.

    Args:
        size_in: Width and height, inches.
        overrides: Entries of matplotlib's ``rcParams`` that differ from the style.
        palette: Its colours; None for the default.
        names: Texts from outside, such as class names, for which fonts are looked for.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ImportError: It is installed and cannot be imported; the ``name`` of the error is matplotlib.
    """
    try:
        import matplotlib  # noqa: PLC0415 (an extra; slow to import)
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == LIBRARY:
            raise
        raise ImportError(str(error), name=LIBRARY) from error

    fonts = {"font.sans-serif": ["DejaVu Sans", *fallback_fonts(names)]}
    with matplotlib.rc_context({**_style(palette or Palette()), **fonts, **(overrides or {})}):
        yield Figure(figsize=size_in, layout="constrained")


@contextmanager
def image_figure(
    path: Path,
    size_in: tuple[float, float],
    overrides: Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] = (),
) -> Iterator[Any]:
    """A figure that is written when its block ends without an error; equal figures make equal files.

    Args:
        path: The file; its suffix says the format, mostly ``.png``.
        size_in: Width and height, inches.
        overrides: See ``figure``.
        names: See ``figure``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    metadata = {"Software": None} if path.suffix == ".png" else None  # the version of matplotlib
    with figure(size_in, overrides, names=names) as drawn:
        yield drawn
        with replacing(path) as temporary:
            drawn.savefig(temporary, dpi=DPI, metadata=metadata)


@contextmanager
def optional_plots(what: str) -> Iterator[None]:
    """Leave out the plots of a block, and say so on stderr, where matplotlib cannot be imported.

    Args:
        what: What is left out, for the message.
    """
    try:
        yield
    except ImportError as error:
        if error.name != LIBRARY:
            raise
        is_missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if is_missing else f"cannot be imported: {error}"
        say(f"no {what}: {LIBRARY} {why} ({pip_command(EXTRA_OF[LIBRARY])})")


def line_style(k: int) -> dict[str, Any]:
    """Colour and dashes of the ``k``-th line; the dashes change when the colours repeat."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k // len(COLOURS) % len(DASHES)]}


def _style(palette: Palette) -> Mapping[str, Any]:
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": palette.grid,
        "axes.grid": True,
        "axes.labelcolor": palette.soft,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": palette.ink,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.titlesize": 11,
        "font.size": 10,
        "grid.color": palette.grid,
        "legend.frameon": False,
        "legend.labelcolor": palette.ink,
        "lines.linewidth": 1.8,
        "text.color": palette.ink,
        "xtick.color": palette.grid,
        "xtick.labelcolor": palette.soft,
        "ytick.color": palette.grid,
        "ytick.labelcolor": palette.soft,
    }
