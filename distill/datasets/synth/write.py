"""A rendered data set on disk, in YOLO layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from distill.datasets.data_yaml import write_data_yaml
from distill.datasets.synth.lights.heads import CLASSES
from distill.datasets.synth.scene import DEFAULT_SIZE, MAX_SIDE, Scene, render
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite
from edgestill.progress import progress

Counts = NDArray[np.int64]  # boxes by class
Job = tuple[Path, str, int, int, tuple[int, int]]  # folder, split, seed, index, size
SPLITS = ("train", "val", "test")
MOST_IMAGES = 1_000_000
DEFAULT_SHARES = (0.7, 0.15, 0.15)
SERIAL_BELOW = 8  # images; for fewer, starting processes takes longer than rendering


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedDataset:
    """A rendered data set on disk.

    Attributes:
        data_yaml: The data set's description.
        folders: Those of the images and of the labels, with one file for each image.
        images: Images by split.
        boxes: Boxes by class name.
        without_lights: Images without any box.
        seed: Of the series.
        size_wh: Width and height, px.
    """

    data_yaml: Path
    folders: list[Path]
    images: dict[str, int]
    boxes: dict[str, int]
    without_lights: int
    seed: int
    size_wh: tuple[int, int]


def write_dataset(
    out: Path,
    images: int,
    seed: int,
    *,
    size_wh: tuple[int, int] = DEFAULT_SIZE,
    shares: Sequence[float] = DEFAULT_SHARES,
    workers: int | None = None,
    force: bool = False,
) -> RenderedDataset:
    """Render ``images`` scenes into ``out``; the same arguments give the same bytes.

    Args:
        out: Folder to create.
        images: How many images, all splits together.
        seed: Of the series; not negative.
        size_wh: Width and height, px.
        shares: Of train, val and test; they sum to 1.
        workers: Processes; by default one for each CPU that this process may use.
        force: Whether an existing folder may be replaced.

    Raises:
        UsageError: An argument is out of range, or ``out`` exists and ``force`` is false.
    """
    _check(images, seed, size_wh, shares, workers)
    splits = assign_splits(images, shares)
    with _new_folder(out, force=force) as folder:
        for split in sorted(set(splits)):
            (folder / "images" / split).mkdir(parents=True)
            (folder / "labels" / split).mkdir(parents=True)
        jobs = [(folder, split, seed, index, size_wh) for index, split in enumerate(splits)]
        counts = np.zeros(len(CLASSES), np.int64)
        empty = 0
        with progress("render", images) as advance:
            for found in _each(_write_one, jobs, workers):
                counts += found
                empty += not found.sum()
                advance()
        write_data_yaml(folder / "data.yaml", sorted(set(splits), key=SPLITS.index), CLASSES)
    return RenderedDataset(
        data_yaml=out / "data.yaml",
        folders=[out / kind / split for kind in ("images", "labels") for split in sorted(set(splits))],
        images={split: splits.count(split) for split in SPLITS},
        boxes={name: int(count) for name, count in zip(CLASSES, counts, strict=True)},
        without_lights=empty,
        seed=seed,
        size_wh=size_wh,
    )


def assign_splits(images: int, shares: Sequence[float]) -> list[str]:
    """The split of each image, in contiguous runs whose lengths follow ``shares``.

    A split with a share gets an image at least. ``images`` are not fewer than such splits.
    """
    ends = np.rint(np.cumsum(shares) / sum(shares) * images).astype(int)
    counts = np.diff(ends, prepend=0)
    for index, share in enumerate(shares):
        if share > 0 and counts[index] == 0:
            counts[index] += 1
            counts[np.argmax(counts)] -= 1
    return [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]


def label_text(scene: Scene) -> str:
    """The label file of a scene: ``class cx cy w h`` rows, normalised."""
    height, width = scene.image_bgr.shape[:2]
    x0, y0, x1, y1 = (scene.xyxy[:, k].astype(np.float64) for k in range(4))
    table = np.stack(
        [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height], 1
    )
    rows = zip(scene.class_id, table, strict=True)
    return "".join(f"{c} {' '.join(f'{v:.6f}' for v in row)}\n" for c, row in rows)


def _write_one(job: Job) -> Counts:
    folder, split, seed, index, size_wh = job
    scene = render(seed, index, size_wh)
    quality = int(np.random.default_rng((seed, index, 1)).integers(72, 96))
    _, data = cv2.imencode(".jpg", scene.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    name = f"scene_{index:06d}"
    (folder / "images" / split / f"{name}.jpg").write_bytes(data.tobytes())
    (folder / "labels" / split / f"{name}.txt").write_text(label_text(scene), "utf-8")
    return np.asarray(np.bincount(scene.class_id, minlength=len(CLASSES)), np.int64)


def _each(work: Callable[[Job], Counts], jobs: Sequence[Job], workers: int | None) -> Iterator[Counts]:
    count = min(workers or _cpus(), len(jobs))
    if count <= 1 or len(jobs) < SERIAL_BELOW:
        yield from map(work, jobs)
        return
    # Spawned, not forked: the parent may hold threads of other libraries, and a fork would copy their locks.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(work, jobs, chunksize=max(1, min(4, len(jobs) // (4 * count))))


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _new_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder that appears under its name only when it is complete."""
    refuse_overwrite(out, force=force)
    if out.exists() and not (out / "data.yaml").is_file() and (out.is_file() or any(out.iterdir())):
        raise UsageError(
            f"{out} is not a data set and will not be replaced", hint="name another place with --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        temporary.mkdir()
        yield temporary
        if out.exists():
            shutil.rmtree(out)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(
    images: int, seed: int, size_wh: tuple[int, int], shares: Sequence[float], workers: int | None
) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}, there must be at least one", hint="e.g. --workers 2")
    if not 0 < images <= MOST_IMAGES:
        raise UsageError(f"--images is {images}, from 1 to {MOST_IMAGES} are made", hint="e.g. --images 300")
    if seed < 0:
        raise UsageError(f"--seed is {seed}, it must not be negative", hint="e.g. --seed 0")
    if min(size_wh) < 64 or max(size_wh) > MAX_SIDE:
        raise UsageError(
            f"--size is {size_wh[0]}x{size_wh[1]}, sides are from 64 to {MAX_SIDE}",
            hint="e.g. --size 1280x720",
        )
    # NaN fails every comparison
    if len(shares) != 3 or not all(share >= 0 for share in shares) or not abs(sum(shares) - 1) <= 1e-6:
        raise UsageError(
            f"--splits is {','.join(map(str, shares))}, three shares must sum to 1",
            hint="e.g. --splits 0.7,0.15,0.15",
        )
    least = sum(share > 0 for share in shares)
    if images < least:
        raise UsageError(
            f"--images is {images}, and each of the {least} splits needs at least one",
            hint=f"--images {least}, or a share of 0 for a split that is not needed: --splits 1,0,0",
        )
