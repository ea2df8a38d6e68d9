"""Plots for a report: SVG with the colours of the page, so that it suits light and dark mode."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.report.blocks import Plot
from benchmarks.statistics.compare import MEASURES
from edgestill.drawing.class_names import plot_text
from edgestill.drawing.palette import plot_colours
from edgestill.plotting import COLOURS, LIBRARY, Palette, figure

#: Placeholder colours, which are replaced by CSS variables of the page.
_INK, _GRID, _SOFT = "#010203", "#040506", "#070809"
_PAGE_COLOURS = {_INK: "var(--ink)", _GRID: "var(--grid)", _SOFT: "var(--soft)"}
_STYLE = {
    "axes.facecolor": "none",
    "axes.labelsize": 9,
    "axes.titlepad": 6,
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "edgestill",  # the same ids every time
}
STAGES = MEASURES["frame"]
MOST_LEVEL_NAMES = 4  # of classes on a narrow axis
WIDTH = 10.0  # inches of 72 units: text of 9 units is 12 px high in the page's column
MOST_STEPS = 400  # of a curve: more cannot be told apart, and make the page large
NARROW = 4.0  # the same, for a phone's


class _Canvas:
    """A figure whose SVG is available after the ``with`` block."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure
        self.svg = ""


def plot(draw: Callable[..., str], *data: Any, caption: str) -> Plot:
    """A drawing in both widths; none where matplotlib is not installed, which Markdown does not need.

    Args:
        draw: One of the functions below.
        data: Its arguments.
        caption: What the drawing shows and how to read it.
    """
    try:
        return Plot(svg=draw(*data), narrow_svg=draw(*data, width=NARROW), caption=caption)
    except ModuleNotFoundError as error:
        if error.name != LIBRARY:
            raise
        return Plot(svg="", caption=caption)


def accuracy_latency(points: Sequence[tuple[str, float, float]], *, width: float = WIDTH) -> str:
    """Accuracy over latency, a point for each model.

    Args:
        points: Name, milliseconds of inference, mAP50-95 in [0, 1].
        width: Inches.
    """
    is_narrow = width < WIDTH
    with new_canvas(width, 4.2 if is_narrow else 3.8) as canvas:
        axes = canvas.figure.subplots()
        for k, (name, ms, score) in enumerate(points):
            axes.plot(ms, score * 100, "o", color=series_colour(k), markersize=9, label=plot_text(name))
            if not is_narrow:
                at = (ms, score * 100)
                axes.annotate(plot_text(name), at, (9, 0), textcoords="offset points", va="center")
        axes.set(
            xlabel="inference, median, milliseconds (faster to the left)", ylabel="mAP50-95, points of 100"
        )
        axes.margins(x=0.1 if is_narrow else 0.35, y=0.3)
        axes.set_xlim(left=max(axes.get_xlim()[0], 0))
        if is_narrow:  # no room for names beside the points
            add_legend(canvas.figure, axes, columns=1)
    return canvas.svg


def accuracy_front(
    points: Sequence[tuple[str, float, float]], kept: Sequence[str], label: str, *, width: float = WIDTH
) -> str:
    """Accuracy over a cost: a point for each cell, a line through those that no other beats.

    Args:
        points: Name, cost, mAP50-95 in [0, 1].
        kept: Names of the cells on the line, which are labelled, but for narrow drawings.
        label: Label of the axis of costs.
        width: Inches.
    """
    known = {name: (cost, score * 100) for name, cost, score in points}
    with new_canvas(width, 4.2) as canvas:
        axes = canvas.figure.subplots()
        rest = [known[name] for name in known if name not in kept]
        line = [known[name] for name in kept]
        axes.plot(
            *zip(*line, strict=True), "o-", color=series_colour(0), markersize=8, drawstyle="steps-post"
        )
        if rest:
            axes.plot(*zip(*rest, strict=True), "o", color=_SOFT, markersize=6)
        for name in kept if width == WIDTH else ():  # a phone has no room for names; the caption has them
            axes.annotate(plot_text(name), known[name], (8, -12), textcoords="offset points")
        axes.set(xlabel=f"{label} (better to the left)", ylabel="mAP50-95, points of 100")
        axes.margins(x=0.3 if width == WIDTH else 0.1, y=0.25)
        axes.set_xlim(left=max(axes.get_xlim()[0], 0))
    return canvas.svg


def stage_bars(stages: Sequence[tuple[str, Mapping[str, float]]], *, width: float = WIDTH) -> str:
    """Median milliseconds of the stages, a bar for each model.

    Args:
        stages: Name, and milliseconds by stage.
        width: Inches.
    """
    is_narrow = width < WIDTH
    named = list(dict.fromkeys((*STAGES, *(stage for _, ms in stages for stage in ms))))
    with new_canvas(width, 1.0 + (0.66 if is_narrow else 0.46) * len(stages)) as canvas:
        axes = canvas.figure.subplots()
        left = np.zeros(len(stages))
        positions = np.arange(len(stages))
        for k, stage in enumerate(named):
            widths = np.asarray([ms.get(stage, 0.0) for _, ms in stages])
            axes.barh(
                positions, widths, 0.4 if is_narrow else 0.62, left, color=series_colour(k), label=stage
            )
            left += widths
        for position, total in zip(positions, left, strict=True):
            axes.annotate(f"{total:.1f}", (total, position), (5, 0), textcoords="offset points", va="center")
        names = [plot_text(name) for name, _ in stages]
        axes.set_yticks(positions, [""] * len(names) if is_narrow else names)
        for row, name in enumerate(names if is_narrow else ()):  # above the bars, over the whole width
            axes.annotate(name, (0, row - 0.24), (0, 2), textcoords="offset points", va="bottom")
        axes.tick_params(axis="y", labelcolor=_INK, length=0)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="milliseconds a frame")
        axes.margins(x=0.15 if is_narrow else 0.1, y=0.1)
        add_legend(canvas.figure, axes, columns=2 if is_narrow else len(named))
    return canvas.svg


def latency_curves(samples: Sequence[tuple[str, Sequence[float]]], *, width: float = WIDTH) -> str:
    """Cumulative distribution of the time of a frame, a curve for each model, up to the 99th percentile.

    Args:
        samples: Name, and milliseconds of each frame.
        width: Inches.
    """
    with new_canvas(width, 3.8) as canvas:
        axes = canvas.figure.subplots()
        furthest = 0.0
        for k, (name, values) in enumerate(samples):
            ordered = np.sort(values)
            shares = np.arange(1, len(ordered) + 1) / len(ordered) * 100
            shown = np.unique(np.linspace(0, len(ordered) - 1, MOST_STEPS).astype(int))
            axes.step(
                ordered[shown],
                shares[shown],
                color=series_colour(k),
                label=plot_text(name),
            )
            furthest = max(furthest, float(np.quantile(ordered, 0.99)))
        axes.set(xlabel="milliseconds a frame, all stages", ylabel="% of frames", ylim=(0, 101))
        axes.set_xlim(0, furthest * 1.08)
        add_legend(canvas.figure, axes, columns=1 if width < WIDTH else 3)
    return canvas.svg


def class_bars(scores: Sequence[tuple[str, Mapping[str, float | None]]], *, width: float = WIDTH) -> str:
    """AP50-95 by class, a group for each class and a bar for each model.

    Args:
        scores: Name, and AP in [0, 1] by class; None for a class without labels.
        width: Inches.
    """
    is_narrow = width < WIDTH
    classes = list(dict.fromkeys(c for _, by_class in scores for c in by_class))
    with new_canvas(width, 3.2) as canvas:
        axes = canvas.figure.subplots()
        bar = 0.8 / len(scores)
        for k, (name, by_class) in enumerate(scores):
            heights = [100 * (by_class.get(c) or 0.0) for c in classes]
            places = np.arange(len(classes)) + (k - (len(scores) - 1) / 2) * bar
            axes.bar(places, heights, bar * 0.92, color=series_colour(k), label=plot_text(name))
            for place, height, c in zip(places, heights, classes, strict=True):
                text = f"{height:.0f}" if by_class.get(c) is not None else "–"
                axes.annotate(
                    text, (place, height), (0, 3), textcoords="offset points", ha="center", fontsize=8
                )
        turned = {"rotation": 40, "ha": "right"} if is_narrow and len(classes) > MOST_LEVEL_NAMES else {}
        axes.set_xticks(np.arange(len(classes)), [plot_text(c) for c in classes], **turned)
        for k, colour in enumerate(plot_colours(classes)):
            base = (k - 0.4, k + 0.4)  # of the class's bars, in the colour that it has in other plots
            axes.plot(base, (0, 0), color=colour, lw=5, solid_capstyle="butt", clip_on=False, zorder=3)
        axes.tick_params(axis="x", labelcolor=_INK, length=0, pad=6)
        axes.grid(axis="x", visible=False)
        axes.set(ylabel="AP50-95, points of 100", ylim=(0, 105))
        add_legend(canvas.figure, axes, columns=1 if is_narrow else 3)
    return canvas.svg


def training_curves(
    rows: Sequence[Mapping[str, float | None]],
    losses: Sequence[str],
    scores: Sequence[str],
    *,
    width: float = WIDTH,
) -> str:
    """Loss terms and validation scores by epoch.

    Args:
        rows: Values of each epoch by name, with ``epoch``; None if an epoch has no such value.
        losses: Names of the loss terms.
        scores: Names of the scores, in [0, 1].
        width: Inches.
    """
    from matplotlib.ticker import LogLocator, NullLocator  # noqa: PLC0415 (an extra; slow to import)

    is_narrow = width < WIDTH
    with new_canvas(width, 7.2 if is_narrow else 4.2) as canvas:
        left, right = canvas.figure.subplots(*((2, 1) if is_narrow else (1, 2)))
        for axes, names, factor in ((left, losses, 1), (right, scores, 100)):
            for k, name in enumerate(names):
                points = [(r["epoch"], factor * v) for r in rows if (v := r.get(name)) is not None]
                style = "-" if k < len(COLOURS) else "--"  # the colours come round again
                xs, ys = [x for x, _ in points], [y for _, y in points]
                axes.plot(xs, ys, style, color=series_colour(k), label=name)
                if len(points) < 3:
                    axes.lines[-1].set_marker("o")
            axes.set(xlabel="epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            # Below the axes, where many names do not hide lines.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2 if is_narrow else 3)
        left.set(title="Loss", yscale="log")
        left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_minor_locator(NullLocator())
        left.yaxis.set_major_formatter("{x:g}")
        right.set(title="Validation, points of 100", ylim=(0, max(right.get_ylim()[1], 1)))
    return canvas.svg


@contextmanager
def new_canvas(width: float, height: float) -> Iterator[_Canvas]:
    """A figure in the page's style, sized in inches."""
    with figure((width, height), _STYLE, palette=Palette(ink=_INK, soft=_SOFT, grid=_GRID)) as drawn:
        canvas = _Canvas(drawn)
        yield canvas
        stream = io.StringIO()
        with warnings.catch_warnings():
            # The reader's browser has the glyphs; matplotlib only measures the text.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            canvas.figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    canvas.svg = _for_page(stream.getvalue())


def _for_page(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # unused ids, which would be the same in all plots
    svg = svg.replace("'DejaVu Sans'", "system-ui, sans-serif")
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg


def add_legend(figure: Any, axes: Any, columns: int) -> None:
    """Place the legend above the plot."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def series_colour(k: int) -> str:
    """The colour of the k-th line, bar or point, from 0."""
    return COLOURS[k % len(COLOURS)]
