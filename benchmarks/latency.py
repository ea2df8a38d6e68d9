"""How long a detector takes from an encoded picture to boxes: one picture at a time, every sample kept.

Models are measured in turns of a few pictures. The first run of each turn is not counted: it pays for the
caches that the model before it has used. Interleaved, each round shows the same pictures to every model, in
an order that alternates (A B, B A, ...), so that heat, clocks and neighbours meet all of them alike.
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

from benchmarks import cold
from benchmarks.compare import compare_models
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

TURN = 4  # pictures a model is shown before another one, or a look at the machine, comes in between
WARMUP_RUNS = 3  # at least, however short the time
UNSTABLE_SPREAD = 0.10  # standard deviation over mean; pyperf warns at the same tenth
DRIFT_LIMIT = 0.05  # between the medians of the first and the second half


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure.

    Attributes:
        source: An image, a folder, a video; None for the drawn street.
        duration_s: Timed seconds a model, at least.
        min_samples: Timed pictures a model, at least.
        warmup_s: Untimed seconds a model before the first sample.
        backend: ``auto`` chooses by the file.
        threads: CPU threads; None leaves the choice to the library.
        trust_engine: Whether engines that were not built here are run.
        input_hw: Height and width to run at, of files that leave them free; None for the files' own.
        interleave: Whether models take turns; else one after the other.
        tilings: Each model is measured once with each: how it looks at a frame.
    """

    source: str | None = None
    duration_s: float = 10.0
    min_samples: int = 50
    warmup_s: float = 1.0
    backend: str = "auto"
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
                hint="times of 0 or more, and at least one sample",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A model that is measured, and how it looks at a frame.

    Attributes:
        label: What it is called.
        path: Its file.
        detector: The loaded model.
        tiling: The tiles that it is shown.
    """

    label: str
    path: Path
    detector: ModelDetector
    tiling: Tiling


@dataclass(slots=True)
class Samples:
    """The timed pictures of one model, in order.

    Attributes:
        stages_ms: Milliseconds of every picture, by stage.
        rounds: The round that each picture belongs to.
        found: Detections in all of them together.
        total_ms: Time of all of them together.
    """

    stages_ms: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    rounds: list[int] = field(default_factory=list)
    found: int = 0
    total_ms: float = 0.0

    def add(self, frame: Frame, stages_ms: dict[str, float], round_number: int, found: int) -> None:
        """Keep one picture's times."""
        for stage, ms in {"decode": frame.decode_ms, **stages_ms}.items():
            self.stages_ms[stage].append(round(ms, 4))
            self.total_ms += ms
        self.rounds.append(round_number)
        self.found += found

    def __len__(self) -> int:
        return len(self.rounds)

    @property
    def frame_ms(self) -> NDArray[np.float64]:
        """Milliseconds from encoded picture to boxes, of every picture."""
        return np.asarray(np.asarray([self.stages_ms[stage] for stage in STAGES]).sum(axis=0), np.float64)


def bench(
    models: Sequence[Path], settings: Settings, *, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure model files and give the result as plain data, ``kind: bench``.

    Args:
        models: ``.onnx`` or ``.xml`` files. The first is the one that others are compared with.
        settings: How to measure.
        names: What to call them; None for the shortest names that tell them apart.

    Raises:
        ArtifactError: A file is missing or no detector.
        DataError: The source cannot be read.
        UsageError: The source is a camera, there is no such backend, or a file is of another size.
    """
    footage = Footage(settings.source)
    options: dict[str, Any] = {"backend": settings.backend, "threads": settings.threads}
    options |= {"trust_engine": settings.trust_engine, "input_hw": settings.input_hw}
    with ExitStack() as stack:
        detectors = [stack.enter_context(closing(open_detector(path, **options))) for path in models]
        watch = Watch()
        subjects = _subjects(models, detectors, settings.tilings, names or list(map(str, models)))
        looking = [TiledDetector(subject.detector, subject.tiling) for subject in subjects]
        samples = collect(looking, footage, settings, watch.tick)
        environment = watch.finish()
        results = [
            {**_identity(subject), **_figures(taken)}
            for subject, taken in zip(subjects, samples, strict=True)
        ]
    common = [*environment.pop("doubts"), *_picture_doubts(footage)]
    for result, subject in zip(results, subjects, strict=True):
        tile, overlap = str(subject.tiling), subject.tiling.overlap
        started = cold.measure(subject.path, tile=tile, tile_overlap=overlap, **options)
        result["cold_start_ms"] = _sum(started["load_ms"], started["first_ms"])
        result["cold_start"] = {"runs": cold.RUNS, **started}
        result["rss_mib"] = started["rss_mib"]
        result["environment"] = {**environment, "threads": settings.threads or "library default"}
        result["doubts"] += common
    return {
        "kind": "bench",
        "scenario": "single",
        "measures": "one picture at a time, from encoded picture to boxes: " + " + ".join(STAGES),
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
    """Warm up and take samples of every detector; ``tick`` is called between rounds."""
    samples = [Samples() for _ in detectors]
    _warm_up(detectors, footage, settings.warmup_s)
    groups = [list(range(len(detectors)))] if settings.interleave else [[k] for k in range(len(detectors))]
    seconds = max(1, round(settings.duration_s * len(detectors)))
    with progress("bench", seconds) as advance:
        meter = _Meter(advance, seconds)
        for group in groups:
            round_number = 0
            while not all(_enough(samples[k], settings) for k in group):
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
    """Every model with every way to look at a frame, the ways of one model side by side."""
    ways = [(*one, tiling) for one in zip(models, detectors, names, strict=True) for tiling in tilings]
    wanted = [name if tiling.is_whole else f"{name} tile {tiling}" for _, _, name, tiling in ways]
    return [
        Subject(label=label, path=path, detector=detector, tiling=tiling)
        for label, (path, detector, _, tiling) in zip(unique_names(wanted), ways, strict=True)
    ]


def unique_names(paths: Sequence[str]) -> list[str]:
    """File names, with as many folders before them as it takes to tell them apart, else numbered."""
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
    """Moves a progress bar by whole seconds, up to its end.

    Slow models go on beyond it until they have the samples asked for.
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
        found, stages_ms = detector.timed(frame.image_bgr)
        samples.add(frame, stages_ms, round_number, len(found))


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
    """The model's files: OpenVINO keeps the weights in one of their own."""
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
    """What in the samples themselves speaks against quoting them."""
    found = []
    inference = np.asarray(samples.stages_ms["inference"])
    spread = float(inference.std() / inference.mean()) if inference.mean() > 0 else 0.0
    if spread >= UNSTABLE_SPREAD:
        found.append(f"inference times spread by {spread:.0%} of their mean")
    first, second = np.array_split(inference, 2)
    drift = float(np.median(second) / np.median(first) - 1) if len(first) and np.median(first) > 0 else 0.0
    if abs(drift) >= DRIFT_LIMIT:
        found.append(f"the second half of the inference times is {drift:+.0%} from the first: not settled")
    missing = [n for n, f in PERCENTILES.items() if percentile(samples.rounds, f).value is None]
    if missing:
        found.append(f"{len(samples)} samples are too few for {' and '.join(missing)}")
    if samples.found == 0:
        found.append("nothing was found in any picture: suppression of overlapping boxes had nothing to do")
    return found


def _picture_doubts(footage: Footage) -> list[str]:
    if footage.name != PATTERN:
        return []
    return ["the pictures are a drawn test pattern; give --source for real ones"]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _sum(*parts: float | None) -> float | None:
    return None if None in parts else round(sum(p for p in parts if p is not None), 2)
