"""The models that a measurement is about: loaded, named, and identified."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure.collect import Settings
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
        tiled: The model on these tiles: what is measured.
    """

    label: str
    path: Path
    detector: ModelDetector
    tiling: Tiling
    tiled: TiledDetector


def open_subjects(
    models: Sequence[Path],
    settings: Settings,
    names: Sequence[str],
    stack: ExitStack,
    *,
    throughput: bool = False,
) -> list[Subject]:
    """Load each model; with each tiling it is a subject. Those of one model are adjacent.

    Args:
        models: The model files.
        settings: How they are measured.
        names: Their names in the results, which are made unique.
        stack: Frees the models.
        throughput: See ``runtime.detector.open_detector``.

    Raises:
        ArtifactError: A file is missing or is not a detector.
        UsageError: There is no such backend, or a file has another, fixed input size.
    """
    options = opening_options(settings)
    detectors = [
        stack.enter_context(closing(open_detector(path, throughput=throughput, **options))) for path in models
    ]
    parts = [
        (*one, tiling) for one in zip(models, detectors, names, strict=True) for tiling in settings.tilings
    ]
    wanted = [name if tiling.is_whole else f"{name} tile {tiling}" for _, _, name, tiling in parts]
    return [
        Subject(
            label=label, path=path, detector=detector, tiling=tiling, tiled=TiledDetector(detector, tiling)
        )
        for label, (path, detector, _, tiling) in zip(unique_names(wanted), parts, strict=True)
    ]


def opening_options(settings: Settings) -> dict[str, Any]:
    """The arguments of ``open_detector`` that the settings have."""
    names = ("backend", "device", "threads", "trust_engine", "input_hw")
    return {name: getattr(settings, name) for name in names}


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
