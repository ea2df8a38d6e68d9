"""Latency and energy of detectors from an encoded frame to boxes, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import cold, gpu_time
from benchmarks.measure.collect import Settings, collect
from benchmarks.measure.environment import Watch
from benchmarks.measure.footage import PATTERN, Footage
from benchmarks.measure.samples import STAGES, figures_of
from benchmarks.monitoring.energy import EnergyMeasurement, Window, measure_idle
from benchmarks.monitoring.summary import doubts as monitor_doubts
from benchmarks.monitoring.summary import summarise
from benchmarks.statistics.compare import compare_models
from devices.monitors.find import Sensors, open_sensors
from devices.monitors.monitor import Monitor
from edgestill.files import sha256_file
from edgestill.manifest import read_manifest
from runtime.detector import ModelDetector, open_detector
from runtime.tiling import TiledDetector, Tiling


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


def bench(
    models: Sequence[Path],
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    sensors: Callable[[], Sensors] = open_sensors,
) -> dict[str, Any]:
    """Measure model files.

    Args:
        models: Model files; the others are compared with the first.
        settings: How to measure.
        names: Names in the results; None for the shortest names that are unique.
        sensors: Opens the sensors of this machine.

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
    found = sensors()
    with ExitStack() as stack:
        monitor = stack.enter_context(Monitor(found.sensors))
        idle = measure_idle(monitor, found, settings.duration_s)
        detectors = [stack.enter_context(closing(open_detector(path, **options))) for path in models]
        watch = Watch()
        subjects = subjects_of(models, detectors, settings.tilings, names or list(map(str, models)))
        tiled = [TiledDetector(subject.detector, subject.tiling) for subject in subjects]
        start_s = monitor.sample()
        samples = collect(tiled, footage, settings, watch.tick)
        run = Window(start_s, monitor.sample())
        environment, frames = watch.finish(), footage.describe()
        energy = EnergyMeasurement(monitor, found, idle, footage, settings.duration_s)
        results = [
            {
                **identity(s),
                **figures_of(taken),
                **gpu_time.figures_of(taken.gpu_ms, s.detector.backend.name),
                **energy.of(detector, s.detector.backend.device),
            }
            for s, detector, taken in zip(subjects, tiled, samples, strict=True)
        ]
        conditions = [dict(subject.detector.backend.conditions) for subject in subjects]
        environment["monitors"] = summarise(monitor.trace(), found, run)
        environment["doubts"] += monitor_doubts(environment["monitors"])
    common = [*environment.pop("doubts"), *frame_doubts(footage)]
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
        "footage": frames,
        "warmup_s": settings.warmup_s,
        "models": results,
        "ratios": [
            c for other in results[1:] for c in compare_models(results[0], other, paired=settings.interleave)
        ],
    }


def subjects_of(
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


def identity(subject: Subject) -> dict[str, Any]:
    """What was measured, as plain data: file, hashes, network, backend and precision."""
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


def frame_doubts(footage: Footage) -> list[str]:
    """Reasons in the frames not to quote a result."""
    if footage.name != PATTERN:
        return []
    return ["the frames are a drawn test pattern; give --source for real ones"]


def _sum(*parts: float | None) -> float | None:
    return None if None in parts else round(sum(p for p in parts if p is not None), 2)
