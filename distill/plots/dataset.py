"""Plots of a data set: box sizes by class, box positions, and sample images with their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.image_size import header_hw
from distill.plots.contact_sheet import BoxedImage, write_sheet
from distill.plots.training import MAX_NAMED
from edgestill.dataset import Dataset, Labels, read_image, say_remarks
from edgestill.drawing.class_names import image_names, plot_names, say_replaced
from edgestill.drawing.palette import image_colours, line_styles
from edgestill.errors import DataError
from edgestill.files import refuse_overwrite
from edgestill.plotting import GRID, INK, SOFT, image_figure
from edgestill.progress import progress

SIZES, POSITIONS, SAMPLES = "sizes.png", "positions.png", "samples-{split}.jpg"
SHOWN = 8  # images of a split
CELLS = 24  # of the heat map, across the width
DETAIL = 8.0  # side of a detail, in sides of its box
DETAIL_PX = 96  # smallest side of a detail, pixels
COCO_SIDES_PX = (32, 96)  # limits of COCO's small and large objects


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlots:
    """The plots of a data set.

    Attributes:
        data_yaml: The data set's description.
        files: Paths by content.
        images: Images by split.
        boxes: Boxes by split.
        notes: Which class names could not be drawn.
    """

    data_yaml: Path
    files: dict[str, Path]
    images: dict[str, int]
    boxes: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _SplitBoxes:
    """The boxes of a split.

    Attributes:
        name: Of the split.
        paths: Its images.
        class_id: int64 ``[N]``.
        cxcywh: Normalised; float32 ``[N, 4]``.
        side_px: Square root of the area, pixels of the image; float64 ``[N]``.
        owner: The image of each box; int64 ``[N]``.
        aspects: Width over height of each image; float64 ``[images]``.
    """

    name: str
    paths: Sequence[Path]
    class_id: NDArray[np.int64]
    cxcywh: NDArray[np.float32]
    side_px: NDArray[np.float64]
    owner: NDArray[np.int64]
    aspects: NDArray[np.float64]


def plot_dataset(data_yaml: Path, out: Path, *, force: bool = False) -> DatasetPlots:
    """Draw ``sizes.png``, ``positions.png`` and a sheet of samples of each split.

    Args:
        data_yaml: Description of the data set.
        out: Folder of the plots.
        force: Whether existing ones may be replaced.

    Raises:
        DataError: An image or a label cannot be read; ``edgestill data check`` names all of them.
        UsageError: A file exists and ``force`` is false.
        ModuleNotFoundError: matplotlib is not installed.
    """
    dataset = Dataset.open(data_yaml)
    sheets = {f"samples of {name}": out / SAMPLES.format(split=name) for name in dataset.splits}
    files = {"sizes": out / SIZES, "positions": out / POSITIONS, **sheets}
    for path in files.values():
        refuse_overwrite(path, force=force)
    images = {name: dataset.images(name) for name in dataset.splits}
    with progress("reading", sum(map(len, images.values()))) as advance:
        splits = [_read(dataset, name, paths, advance) for name, paths in images.items()]
    say_remarks(dataset)
    plot_sizes(files["sizes"], splits, dataset.classes)
    plot_positions(files["positions"], splits)
    names, colours = image_names(dataset.classes), image_colours(dataset.classes)
    notes = (
        say_replaced(dataset.classes, names, "images"),
        say_replaced(dataset.classes, plot_names(dataset.classes), "plots"),
    )
    for split in splits:
        pairs = [_sample(split, index, names) for index in _spread(split)]
        write_sheet(files[f"samples of {split.name}"], pairs, ("image", "around its smallest box"), colours)
    return DatasetPlots(
        data_yaml=data_yaml,
        files=files,
        images={split.name: len(split.paths) for split in splits},
        boxes={split.name: len(split.class_id) for split in splits},
        notes=tuple(note for note in notes if note),
    )


def plot_sizes(path: Path, splits: Sequence[_SplitBoxes], classes: Sequence[str]) -> Path:
    """Draw how many boxes each class has, and how large they are; a row for each split."""
    sides = np.concatenate([split.side_px for split in splits])
    low, high = (float(np.log2(side)) for side in (sides.min(initial=4), sides.max(initial=256)))
    edges = 2.0 ** np.arange(np.floor(low * 3) / 3, high + 1 / 3, 1 / 3)  # three bins an octave
    named = _frequent(splits, len(classes))
    bars = 0.26 * len(named) + 1.2
    with image_figure(path, (11, len(splits) * max(2.4, bars)), names=classes) as figure:
        rows = figure.subplots(len(splits), 2, squeeze=False, width_ratios=(1, 2))
        for split, (counts, sizes) in zip(splits, rows, strict=True):
            _draw_counts(counts, split, classes, named)
            _draw_sizes(sizes, split, classes, named, edges)
        rows[-1][0].set_xlabel("boxes")
        rows[-1][1].set_xlabel(
            "square root of the box's area, px of the image\ndotted: limits of COCO's small, medium, large"
        )
    return path


def _draw_counts(axes: Any, split: _SplitBoxes, classes: Sequence[str], named: Sequence[int]) -> None:
    counts = np.bincount(split.class_id, minlength=len(classes))
    names, styles = plot_names(classes), line_styles(classes)
    texts = [names[k] for k in named]
    colours = [styles[k]["color"] for k in named]
    if len(named) < len(classes):
        texts.append(f"{len(classes) - len(named)} others")
        colours.append(GRID)
    values = [int(counts[k]) for k in named]
    values += [int(counts.sum()) - sum(values)] * (len(texts) - len(named))
    drawn = axes.barh(range(len(texts)), values, color=colours, height=0.7)
    axes.bar_label(drawn, padding=4, color=INK, fontsize=9)
    axes.set_yticks(range(len(texts)), texts)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.margins(x=0.18)  # room for the numbers
    empty = len(split.paths) - len(np.unique(split.owner))
    axes.set_title(f"{split.name}: {len(split.paths)} images, {empty} of them empty")


def _draw_sizes(
    axes: Any, split: _SplitBoxes, classes: Sequence[str], named: Sequence[int], edges: NDArray[np.float64]
) -> None:
    names, styles = plot_names(classes), line_styles(classes)
    for k in named:
        counts, _ = np.histogram(split.side_px[split.class_id == k], edges)
        if counts.any():
            axes.stairs(counts, edges, **styles[k], label=names[k])
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(ylabel="boxes", xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    for side in COCO_SIDES_PX:
        axes.axvline(side, color=SOFT, linewidth=0.8, linestyle=":")
    median = f", median {np.median(split.side_px):.0f} px" if len(split.side_px) else ""
    axes.set_title(f"{len(split.class_id)} boxes{median}")
    if len(split.class_id):
        axes.legend(loc="upper right")


def plot_positions(path: Path, splits: Sequence[_SplitBoxes]) -> Path:
    """Draw a heat map of the box centres for each split."""
    aspect = float(np.median(np.concatenate([split.aspects for split in splits])))
    cells = (max(1, round(CELLS / aspect)), CELLS)
    with image_figure(path, (12, (12 / len(splits) - 0.8) / aspect + 1.8)) as figure:
        for split, axes in zip(splits, np.atleast_1d(figure.subplots(1, len(splits))), strict=True):
            counts = positions(split.cxcywh, cells)
            # Square root scale: single boxes stay visible beside cells with hundreds.
            heat_map = axes.imshow(
                counts, cmap="magma", norm=_root(counts.max()), extent=(0, 100, 100, 0), aspect=1 / aspect
            )
            axes.grid(visible=False)
            axes.set(xlabel="% of the width", ylabel="% of the height")
            axes.set_title(f"{split.name}: {len(split.class_id)} boxes")
            ticks = sorted({0, 1, int(counts.max()) // 4, int(counts.max())})
            bar = figure.colorbar(heat_map, ax=axes, orientation="horizontal", shrink=0.8, ticks=ticks)
            bar.set_label(f"boxes with their centre in a cell; {cells[1]} x {cells[0]} cells")
            bar.outline.set_visible(False)
            bar.minorticks_off()
    return path


def _root(most: int) -> Any:
    from matplotlib.colors import PowerNorm  # noqa: PLC0415 (an extra; slow to import)

    return PowerNorm(0.5, vmin=0, vmax=max(1, int(most)))


def positions(cxcywh: NDArray[np.float32], hw: tuple[int, int]) -> NDArray[np.int64]:
    """How many normalised boxes ``[N, 4]`` have their centre in each cell of a grid; ``[h, w]``."""
    cell = np.floor(cxcywh[:, :2] * hw[::-1]).astype(np.int64).clip(0, np.array(hw[::-1]) - 1)
    return np.bincount(cell[:, 1] * hw[1] + cell[:, 0], minlength=hw[0] * hw[1]).reshape(hw)


def _read(dataset: Dataset, name: str, paths: Sequence[Path], advance: Any) -> _SplitBoxes:
    sizes, labels = [], []
    for path in paths:
        sizes.append(_size_wh(path))
        labels.append(dataset.labels(path))
        advance()
    owner = np.repeat(np.arange(len(paths)), [len(one) for one in labels])
    cxcywh = np.concatenate([one.cxcywh for one in labels])
    size_wh = np.array(sizes, np.float64)
    return _SplitBoxes(
        name=name,
        paths=paths,
        class_id=np.concatenate([one.class_id for one in labels]),
        cxcywh=cxcywh,
        side_px=np.sqrt((cxcywh[:, 2:] * size_wh[owner]).prod(axis=1)),
        owner=owner,
        aspects=size_wh[:, 0] / size_wh[:, 1],
    )


def _size_wh(path: Path) -> tuple[int, int]:
    try:
        height, width = header_hw(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error}", hint="edgestill data check names what is broken"
        ) from error
    return width, height


def _frequent(splits: Sequence[_SplitBoxes], nc: int) -> list[int]:
    """The classes with a name in the plot: all, or the ``MAX_NAMED`` most frequent."""
    counts = sum((np.bincount(split.class_id, minlength=nc) for split in splits), np.zeros(nc, np.int64))
    order = np.argsort(-counts, kind="stable")[:MAX_NAMED]
    return sorted(int(k) for k in order)


def _spread(split: _SplitBoxes) -> list[int]:
    """Evenly spread images with boxes, or of all if none has any."""
    full = np.unique(split.owner) if len(split.owner) else np.arange(len(split.paths))
    return [int(i) for i in full[np.linspace(0, len(full) - 1, min(SHOWN, len(full))).astype(int)]]


def _sample(split: _SplitBoxes, index: int, classes: Sequence[str]) -> tuple[BoxedImage, BoxedImage]:
    """An image with its boxes, and a detail around its smallest one."""
    image = read_image(split.paths[index])
    mine = split.owner == index
    labels = Labels(split.class_id[mine], split.cxcywh[mine])
    xyxy = labels.xyxy_px((image.shape[0], image.shape[1]))
    whole = BoxedImage(image, xyxy, labels.class_id, [classes[k] for k in labels.class_id])
    if not len(xyxy):
        return whole, whole
    smallest = xyxy[np.argmin(np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1))]
    x0, y0, x1, y1 = _around(smallest, (image.shape[0], image.shape[1]))
    inside = (xyxy[:, :2] < (x1, y1)).all(1) & (xyxy[:, 2:] > (x0, y0)).all(1)
    ids = labels.class_id[inside]
    shifted = xyxy[inside] - np.array([x0, y0, x0, y0], np.float32)
    return whole, BoxedImage(image[y0:y1, x0:x1], shifted, ids, [classes[k] for k in ids])


def _around(box: NDArray[np.float32], hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """A window of the image's shape centred on a box, moved to lie inside the image; xyxy."""
    side = max(DETAIL * float(max(box[2] - box[0], box[3] - box[1])), DETAIL_PX)
    scale = min(1.0, side / max(hw))
    height, width = max(1, round(hw[0] * scale)), max(1, round(hw[1] * scale))
    left = int(np.clip((box[0] + box[2] - width) / 2, 0, hw[1] - width))
    top = int(np.clip((box[1] + box[3] - height) / 2, 0, hw[0] - height))
    return left, top, left + width, top + height
