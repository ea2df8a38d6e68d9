"""The rate of training samples, relative to the raw decode rate.

Run as ``python -m distill.profiling.loader_rate [DATA.yaml]``.

Measures in interleaved rounds, so that other load affects all alike, with the same number of threads:

    decode   image files decoded and nothing else: the bound of any loader without a cache
    plain    training samples without a cache; one of mosaic windows decodes four images, so 2.5 a sample
    cold     the same, with a disk cache that is filled meanwhile
    disk     the same, with every image on disk; files and cache may be in the memory of the system
    memory   the same, with every image in memory

and prints samples (or images) a second of wall time and of CPU time, and the median and quartiles over the
rounds of the ratio

    against_decode = rate / rate of decode

in CPU time, which other processes affect less. Without DATA.yaml it writes frames of DTLD's
shape (2048 x 1024, JPEG 95 without colour subsampling) into a temporary folder: rendered streets, each frame
one of them shifted, possibly mirrored, at another brightness. ``--images`` beyond ``--frames`` are more
names for the same files: 41,000 of them need no 20 GB.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, count
from math import inf
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, TypeVar

import cv2
import numpy as np

from distill.data.bounded_map import bounded_map
from distill.data.disk_cache import DiskCache
from distill.data.loader import Batches, open_datasets
from distill.data.training_images import TrainingImages
from distill.profiling.loader_frames import write_frames
from distill.recipe import Recipe
from distill.recipe_toml import load_recipe
from edgestill.dataset import Dataset, read_image
from edgestill.files import to_json_text
from edgestill.progress import track
from edgestill.spec import ModelSpec

SIZE_WH = (2048, 1024)

T = TypeVar("T")
Rates = tuple[float, float]  # per second of wall time, per second of CPU time


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderBenchmark:
    """The parameters of the measurement.

    Attributes:
        data: The data set.
        folder: For the disk caches.
        recipe: Input size, window size, batch, threads and augmentation.
        disk_mib: Budget of a disk cache.
        seconds: Duration of each part of a round.
        rounds: Number of measurements of each part.
    """

    data: Dataset
    folder: Path
    recipe: Recipe
    disk_mib: int
    seconds: float
    rounds: int


def measure(benchmark: LoaderBenchmark) -> dict[str, Any]:
    """Measure all parts; gives rates in images or samples a second, and their ratios to ``decode``."""
    recipe, paths = benchmark.recipe, benchmark.data.images("train")
    spec = ModelSpec(name=recipe.student.model, input_hw=recipe.input_hw, classes=benchmark.data.classes)
    fit = range(min(len(paths), benchmark.disk_mib * 2**20 // (3 * spec.input_hw[0] * spec.input_hw[1])))
    peak_mib = {"before": _peak_mib()}
    warm, opening = DiskCache(benchmark.folder / "warm", benchmark.disk_mib), perf_counter()
    on_disk = TrainingImages([benchmark.data], spec, cache_mib=0, disk=warm)
    opening, peak_mib["opened"] = perf_counter() - opening, _peak_mib()
    _visits(lambda i: on_disk[i], fit, recipe.loader_threads)
    _samples(on_disk, spec, benchmark)
    peak_mib["without memory cache"] = _peak_mib()
    in_memory = TrainingImages([benchmark.data], spec, cache_mib=recipe.cache_mib, disk=warm)
    _visits(lambda i: in_memory[i], fit, recipe.loader_threads)
    plain = TrainingImages([benchmark.data], spec, cache_mib=0)

    def cold() -> Rates:
        with TemporaryDirectory(dir=benchmark.folder) as folder:
            disk = DiskCache(Path(folder), benchmark.disk_mib)
            return _samples(TrainingImages([benchmark.data], spec, cache_mib=0, disk=disk), spec, benchmark)

    parts: dict[str, Callable[[], Rates]] = {
        "decode": lambda: _visits(read_image, paths, recipe.loader_threads, benchmark.seconds),
        "plain": lambda: _samples(plain, spec, benchmark),
        "cold": cold,
        "disk": lambda: _samples(on_disk, spec, benchmark),
        "memory": lambda: _samples(in_memory, spec, benchmark),
    }
    rates: dict[str, list[Rates]] = {name: [] for name in parts}
    for _ in track(range(benchmark.rounds), "measuring", benchmark.rounds):
        for name, part in parts.items():
            rates[name].append(part())
    clock, core = ({name: [r[k] for r in found] for name, found in rates.items()} for k in (0, 1))
    return {
        "images": len(paths),
        "mean_file_kb": float(np.mean([path.stat().st_size for path in paths[:1000]]) / 1000),
        "threads": recipe.loader_threads,
        "input_hw": list(recipe.input_hw),
        "train_hw": list(recipe.train_hw),
        "open_s": opening,
        "peak_rss_mib": peak_mib | {"at the end": _peak_mib()},
        "per_s": {name: median(values) for name, values in clock.items()},
        "per_core_s": {name: median(values) for name, values in core.items()},
        "against_decode": {name: _ratio(values, core["decode"]) for name, values in core.items()},
    }


def _peak_mib() -> float:
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _RateCounter:
    """Counts items, and gives their rate by wall time and by CPU time."""

    def __init__(self) -> None:
        self.done = 0
        self._clock, self._core = perf_counter(), process_time()

    def passed(self) -> float:
        return perf_counter() - self._clock

    def rates(self) -> Rates:
        return self.done / self.passed(), self.done / (process_time() - self._core)


def _visits(visit: Callable[[T], object], items: Iterable[T], threads: int, seconds: float = inf) -> Rates:
    """Items visited by threads a second, until all are done or the time is over."""
    counter = _RateCounter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in bounded_map(pool, visit, items, 4 * threads):
            counter.done += 1
            if counter.passed() > seconds:
                break
    return counter.rates()


def _samples(images: TrainingImages, spec: ModelSpec, benchmark: LoaderBenchmark) -> Rates:
    """Training samples a second, in batches as in a training."""
    recipe = benchmark.recipe
    batches = Batches(
        images,
        spec.resized(recipe.train_hw),
        recipe.augment,
        batch=recipe.batch,
        seed=recipe.seed,
        threads=recipe.loader_threads,
    )
    with batches:
        counter = _RateCounter()
        for batch in chain.from_iterable(batches.epoch(epoch) for epoch in count()):
            counter.done += len(batch.images)
            if counter.passed() > benchmark.seconds:
                break
        return counter.rates()


def _ratio(values: Sequence[float], decoded: Sequence[float]) -> dict[str, float]:
    """Median and quartiles over the rounds."""
    low, middle, high = quantiles([v / d for v, d in zip(values, decoded, strict=True)], n=4)
    return {"median": middle, "low": low, "high": high}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m distill.profiling.loader_rate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA.yaml", help="default: frames are written")
    parser.add_argument("--frames", type=int, default=2000, help="that are written (default %(default)s)")
    parser.add_argument("--images", type=int, default=0, help="names for them (default: as many)")
    parser.add_argument(
        "--disk-mib", type=int, default=2000, help="budget of a disk cache (default %(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, help="for frames and caches, all removed (default: the system's)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of a part of a round (default %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="default %(default)s")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    args = parser.parse_args(argv)
    if args.rounds < 2:
        parser.error("--rounds: quartiles need 2 or more")
    recipe = load_recipe("traffic-lights", args.settings)
    cv2.setNumThreads(1)
    with TemporaryDirectory(prefix="loader-", dir=args.folder) as name:
        folder = Path(name)
        images = max(args.images, args.frames)
        data = args.data or write_frames(folder, args.frames, images, SIZE_WH, recipe.loader_threads)
        (dataset,) = open_datasets([data])
        benchmark = LoaderBenchmark(
            data=dataset,
            folder=folder,
            recipe=recipe,
            disk_mib=args.disk_mib,
            seconds=args.seconds,
            rounds=args.rounds,
        )
        print(to_json_text(measure(benchmark)))


if __name__ == "__main__":
    main()
