"""Latency of a detector from an encoded frame to boxes: one frame at a time, all samples stored.

Models are measured in turns of a few frames. The first run of each turn is not counted, because caches hold
data of the model before. If interleaved, each round runs the same frames with every model, in alternating
order (A B, B A, ...), so that temperature, clocks and other load affect all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import cold, gpu_time
from benchmarks.compare import LEAST_ROUNDS, compare_models
from benchmarks.environment import Watch
from benchmarks.footage import PATTERN, Footage
from benchmarks.percentiles import percentile
from edgestill.errors import UsageError
from edgestill.files import sha256_file
from edgestill.manifest import read_manifest
from edgestill.progress import Advance, progress
from runtime.detector import ModelDetector, TimedDetector, open_detector
from runtime.frames import Frame
from runtime.tiling import TiledDetector, Tiling

STAGES = ("decode", "letterbox", "inference", "postprocess")
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

TURN = 4  # frames of one model in a round, before the next model or the calibration
WARMUP_RUNS = 3  # lower limit, however short the warm-up
UNSTABLE_SPREAD = 0.10  # standard deviation over mean; the same limit as in pyperf
DRIFT_LIMIT = 0.05  # between the medians of the first and the second half


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        source: An image, a folder or a video; None for the drawn street.
        duration_s: Smallest measured time of each model, seconds.
        min_samples: Smallest number of samples of each model; several models get at least ``LEAST_ROUNDS``
            rounds of ``TURN`` frames.
        warmup_s: Warm-up of each model, seconds.
        backend: ``auto`` chooses by the file.
        device: See ``runtime.backend.open_backend``.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether engines that were not built on this machine are run.
        input_hw: Input height and width in pixels, for files with free sizes; None for the files' own.
        interleave: Whether models are measured alternately; else one after the other.
        tilings: Each model is measured with each of them.
    """

    source: str | None = None
    duration_s: float = 10.0
    min_samples: int = 50
    warmup_s: float = 1.0
    backend: str = "auto"
    device: str | None = None
    threads: int | None = None
    trust_engine: bool = False
    input_hw: tuple[int, int] | None = None
    interleave: bool = False
    tilings: tuple[Tiling, ...] = (Tiling(),)

    def __post_init__(self) -> None:
        if self.duration_s < 0 or self.warmup_s < 0 or self.min_samples < 1:
            raise UsageError(
                f"duration {self.duration_s:g} s, warm-up {self.warmup_s:g} s, {self.min_samples} samples: "
                "nothing to measure",
                hint="give times of 0 or more, and at least one sample",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A model that is measured with one tiling.

    Attributes:
        label: Name in the results.
        path: The model file.
        detector: The loaded model.
        tiling: The tiles of a frame that it is run on.
    """

    label: str
    path: Path
    detector: ModelDetector
    tiling: Tiling


@dataclass(slots=True)
class Samples:
    """The samples of one model, one for each measured frame, in order.

    Attributes:
        stages_ms: Milliseconds of each sample, by stage.
        rounds: Number of the round of each sample.
        found: Total number of detections.
        total_ms: Total time, milliseconds.
        gpu_ms: Milliseconds that each sample computed on the GPU; empty if that is not measured.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    rounds: list[int] = field(default_factory=list)
    found: int = 0
    total_ms: float = 0.0
    gpu_ms: list[float] = field(default_factory=list)

    def add(self, frame: Frame, stages_ms: dict[str, float], round_number: int, found: int) -> None:
        """Add the times of one frame."""
        for stage, ms in {"decode": frame.decode_ms, **stages_ms}.items():
            self.stages_ms[stage].append(round(ms, 4))
            self.total_ms += ms
        self.rounds.append(round_number)
        self.found += found

    def __len__(self) -> int:
        return len(self.rounds)

    @property
    def frame_ms(self) -> NDArray[np.float64]:
        """Milliseconds from encoded frame to boxes, of each sample."""
        return np.asarray(np.asarray([self.stages_ms[stage] for stage in STAGES]).sum(axis=0), np.float64)


def bench(
    models: Sequence[Path], settings: Settings, *, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure model files.

    Args:
        models: Model files; the others are compared with the first.
        settings: How to measure.
        names: Names in the results; None for the shortest names that are unique.

    Returns:
        The result as plain data, ``kind: bench``.

    Raises:
        ArtifactError: A file is missing or is not a detector.
        DataError: The source cannot be read.
        UsageError: The source is a camera, there is no such backend, or a file has another, fixed input size.
    """
    footage = Footage(settings.source)
    names_of_options = ("backend", "device", "threads", "trust_engine", "input_hw")
    options: dict[str, Any] = {name: getattr(settings, name) for name in names_of_options}
    with ExitStack() as stack:
        detectors = [stack.enter_context(closing(open_detector(path, **options))) for path in models]
        watch = Watch()
        subjects = _subjects(models, detectors, settings.tilings, names or list(map(str, models)))
        tiled = [TiledDetector(subject.detector, subject.tiling) for subject in subjects]
        samples = collect(tiled, footage, settings, watch.tick)
        environment = watch.finish()
        conditions = [dict(subject.detector.backend.conditions) for subject in subjects]
        results = [
            {
                **_identity(subject),
                **_figures(taken),
                **gpu_time.figures_of(taken.gpu_ms, subject.detector.backend.name),
            }
            for subject, taken in zip(subjects, samples, strict=True)
        ]
    common = [*environment.pop("doubts"), *_frame_doubts(footage)]
    for result, subject, own in zip(results, subjects, conditions, strict=True):
        tile, overlap = str(subject.tiling), subject.tiling.overlap
        started = cold.measure(subject.path, tile=tile, tile_overlap=overlap, **options)
        result["cold_start_ms"] = _sum(started["load_ms"], started["first_ms"])
        result["cold_start"] = {"runs": cold.RUNS, **started}
        result["rss_mib"] = started["rss_mib"]
        result["environment"] = {**environment, "threads": settings.threads or "library default", **own}
        result["doubts"] += common
    return {
        "kind": "bench",
        "scenario": "single",
        "measures": "one frame at a time, from encoded frame to boxes: " + " + ".join(STAGES),
        "interleaved": settings.interleave and len(subjects) > 1,
        "footage": footage.describe(),
        "warmup_s": settings.warmup_s,
        "models": results,
        "ratios": [
            c for other in results[1:] for c in compare_models(results[0], other, paired=settings.interleave)
        ],
    }


def collect(
    detectors: Sequence[TimedDetector], footage: Footage, settings: Settings, tick: Callable[[], None]
) -> list[Samples]:
    """Warm up and measure all detectors; ``tick`` is called between rounds.

    Each detector gets the same frames. Several are measured in as many rounds as a comparison needs, or more.
    """
    samples = [Samples() for _ in detectors]
    _warm_up(detectors, footage, settings.warmup_s)
    groups = [list(range(len(detectors)))] if settings.interleave else [[k] for k in range(len(detectors))]
    least = LEAST_ROUNDS if len(detectors) > 1 else 1
    seconds = max(1, round(settings.duration_s * len(detectors)))
    with progress("bench", seconds) as advance:
        meter = _Meter(advance, seconds)
        for group in groups:
            round_number = 0
            footage.restart()
            while round_number < least or not all(_enough(samples[k], settings) for k in group):
                frames = footage.take(TURN)
                for k in group if round_number % 2 == 0 else reversed(group):
                    _turn(detectors[k], frames, samples[k], round_number)
                    meter.show(sum(taken.total_ms for taken in samples))
                tick()
                round_number += 1
    return samples


def _subjects(
    models: Sequence[Path],
    detectors: Sequence[ModelDetector],
    tilings: Sequence[Tiling],
    names: Sequence[str],
) -> list[Subject]:
    """Each model with each tiling; those of one model are adjacent."""
    pairs = [(*one, tiling) for one in zip(models, detectors, names, strict=True) for tiling in tilings]
    wanted = [name if tiling.is_whole else f"{name} tile {tiling}" for _, _, name, tiling in pairs]
    return [
        Subject(label=label, path=path, detector=detector, tiling=tiling)
        for label, (path, detector, _, tiling) in zip(unique_names(wanted), pairs, strict=True)
    ]


def unique_names(paths: Sequence[str]) -> list[str]:
    """File names with as many parent folders as make them unique; equal paths are numbered."""
    for depth in range(1, 1 + max(len(Path(p).parts) for p in paths)):
        names = ["/".join(Path(p).parts[-depth:]) for p in paths]
        if len(set(names)) == len(set(paths)):
            break
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return unique


class _Meter:
    """Advances a progress bar by whole seconds, up to its end.

    Slow models may take longer, until they have ``min_samples``.
    """

    def __init__(self, advance: Advance, seconds: int) -> None:
        self._advance, self._seconds, self._shown = advance, seconds, 0

    def show(self, done_ms: float) -> None:
        step = min(int(done_ms // 1000), self._seconds) - self._shown
        if step > 0:
            self._shown += step
            self._advance(step)


def _warm_up(detectors: Sequence[TimedDetector], footage: Footage, seconds: float) -> None:
    frames = footage.take(WARMUP_RUNS)
    for detector in detectors:
        start, runs = perf_counter(), 0
        while runs < WARMUP_RUNS or perf_counter() - start < seconds:
            detector.timed(frames[runs % len(frames)].image_bgr)
            runs += 1


def _turn(detector: TimedDetector, frames: Sequence[Frame], samples: Samples, round_number: int) -> None:
    detector.timed(frames[0].image_bgr)
    for frame in frames:
        before = gpu_time.total_ms(detector)
        found, stages_ms = detector.timed(frame.image_bgr)
        samples.add(frame, stages_ms, round_number, len(found))
        if before is not None:
            samples.gpu_ms.append(round((gpu_time.total_ms(detector) or 0.0) - before, 4))


def _enough(samples: Samples, settings: Settings) -> bool:
    return len(samples) >= settings.min_samples and samples.total_ms >= settings.duration_s * 1e3


def _identity(subject: Subject) -> dict[str, Any]:
    path, detector, tiling = subject.path, subject.detector, subject.tiling
    manifest = read_manifest(path)
    return {
        "name": subject.label,
        "file": str(path),
        "sha256": {file.name: sha256_file(file) for file in _files(path)},
        "model": detector.spec.name,
        "input_hw": list(detector.spec.input_hw),
        "backend": detector.backend.name,
        "device": detector.backend.device,
        "precision": manifest.precision if manifest else None,
        "precision_proved": detector.backend.layers_by_dtype(),
        "tile": str(tiling),
        "tile_overlap": None if tiling.is_whole else tiling.overlap,
        "conf": detector.conf,
        "iou": detector.iou,
    }


def _files(path: Path) -> list[Path]:
    """The files of a model: OpenVINO stores weights in a separate one."""
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _figures(samples: Samples) -> dict[str, Any]:
    frame_ms = samples.frame_ms
    figures: dict[str, Any] = {"samples": len(samples)}
    for name, fraction in PERCENTILES.items():
        p = percentile(list(frame_ms), fraction)
        figures[f"{name}_ms"] = _rounded(p.value)
        figures[f"{name}_upper_ms"] = _rounded(p.upper)
        if p.reason:
            figures[f"{name}_reason"] = p.reason
    return {
        **figures,
        "mean_ms": round(float(frame_ms.mean()), 3),
        "throughput_fps": round(1e3 / float(frame_ms.mean()), 2),
        "stages_ms": {stage: round(float(np.median(ms)), 3) for stage, ms in samples.stages_ms.items()},
        "detections_per_frame": round(samples.found / len(samples), 2),
        "energy_mj": None,
        "energy_reason": "this version reads no power sensor",
        "doubts": sample_doubts(samples),
        "samples_ms": samples.stages_ms,
        "rounds": samples.rounds,
    }


def sample_doubts(samples: Samples) -> list[str]:
    """Reasons in the samples not to quote them."""
    found = []
    inference = np.asarray(samples.stages_ms["inference"])
    spread = float(inference.std() / inference.mean()) if inference.mean() > 0 else 0.0
    if spread >= UNSTABLE_SPREAD:
        found.append(f"the standard deviation of inference times is {spread:.0%} of their mean")
    first, second = np.array_split(inference, 2)
    drift = float(np.median(second) / np.median(first) - 1) if len(first) and np.median(first) > 0 else 0.0
    if abs(drift) >= DRIFT_LIMIT:
        found.append(f"the median inference time of the second half is {drift:+.0%} from the first: a drift")
    missing = [n for n, f in PERCENTILES.items() if percentile(samples.rounds, f).value is None]
    if missing:
        found.append(f"{len(samples)} samples are too few for {' and '.join(missing)}")
    if samples.found == 0:
        found.append("there were no detections in any frame, so NMS took no time")
    return found


def _frame_doubts(footage: Footage) -> list[str]:
    if footage.name != PATTERN:
        return []
    return ["the frames are a drawn test pattern; give --source for real ones"]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _sum(*parts: float | None) -> float | None:
    return None if None in parts else round(sum(p for p in parts if p is not None), 2)
