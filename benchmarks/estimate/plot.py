"""The plot of estimated latencies: devices in rows, models by colour, intervals as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.estimate.estimate import Estimate
from edgestill.drawing.class_names import plot_text
from edgestill.files import refuse_overwrite
from edgestill.plotting import COLOURS, GRID, image_figure

WIDTH, ROW = 9.0, 0.21  # inches
SPREAD = 0.5  # of a row, over the models
XLABEL = "estimated latency of one image, ms\nbars: the interval that should hold 90 % of latencies"


def draw(estimates: Sequence[Estimate], path: Path, *, force: bool = False) -> None:
    """Write the plot.

    Args:
        estimates: Of one precision and batch.
        path: The file; its suffix says the format.
        force: Whether an existing file may be replaced.

    Raises:
        UsageError: The file exists.
        ModuleNotFoundError: matplotlib is not installed.
    """
    refuse_overwrite(path, force=force)
    models = list(dict.fromkeys(one.model for one in estimates))
    rows = _rows(estimates)
    with image_figure(
        path, (WIDTH, 1.6 + ROW * len(rows) * max(1, 0.45 * len(models))), names=models
    ) as figure:
        axes = figure.subplots()
        for k, model in enumerate(models):
            shift = SPREAD * (k / max(len(models) - 1, 1) - 0.5) if len(models) > 1 else 0.0
            found = {one.device: one for one in estimates if one.model == model}
            places = [(y + shift, found[devices[0]]) for y, devices in enumerate(rows) if devices[0] in found]
            _draw_model(axes, places, plot_text(model), COLOURS[k % len(COLOURS)])
        for y in range(0, len(rows), 2):
            axes.axhspan(y - 0.5, y + 0.5, color=GRID, alpha=0.3, linewidth=0)
        axes.set_yticks(range(len(rows)), [_label(devices) for devices in rows], fontsize=8)
        axes.set(xscale="log", ylim=(len(rows) - 0.3, -0.7), xlabel=XLABEL)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.tick_params(top=True, labeltop=True)
        first = estimates[0]
        axes.set_title(
            f"Estimates, not measurements: TensorRT {first.precision}, batch {first.batch}", pad=24
        )
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower right", fontsize=8)


def _draw_model(axes: Any, places: Sequence[tuple[float, Estimate]], label: str, colour: str) -> None:
    middle = [one.latency_ms for _, one in places]
    below = [one.latency_ms - one.low_ms for _, one in places]
    above = [one.high_ms - one.latency_ms for _, one in places]
    axes.errorbar(
        *(middle, [y for y, _ in places]),
        xerr=(below, above),
        fmt="o",
        markersize=4,
        linewidth=1.2,
        color=colour,
        label=label,
    )


def _rows(estimates: Sequence[Estimate]) -> list[tuple[str, ...]]:
    """Devices by falling latency of the first model; those with the same figures share a row."""
    by_device: dict[str, list[Estimate]] = {}
    for one in estimates:
        by_device.setdefault(one.device, []).append(one)
    alike: dict[tuple[tuple[str, float, float], ...], list[str]] = {}
    for device, found in by_device.items():
        alike.setdefault(tuple((one.model, one.latency_ms, one.high_ms) for one in found), []).append(device)
    return [tuple(devices) for _, devices in sorted(alike.items(), key=lambda pair: -pair[0][0][1])]


def _label(devices: Sequence[str]) -> str:
    more = len(devices) - 1
    return f"{devices[0]} (+{more} alike)" if more else devices[0]
