"""From a temporary folder to the final names: what every export shares."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite
from edgestill.manifest import Manifest, manifest_path, write_manifest
from edgestill.target import Target
from export.artifact import engine_doubts, parts
from export.job import SECOND_SUFFIX, SUFFIX
from export.tensorrt.engine import BuildTarget

#: Compares a built file with its source, given both, the source as FP32 ONNX; raises VerificationError.
Check = Callable[[Path, Path], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExportResult:
    """The published files.

    Attributes:
        files: The model file first, then its other files.
        manifest: The manifest beside it.
        record: Content of the manifest.
        doubts: What was not proved about the file, as sentences.
        plot: The plot of the sensitivities; None without a repair, or without matplotlib.
    """

    files: tuple[Path, ...]
    manifest: Path
    record: Manifest
    doubts: tuple[str, ...] = ()
    plot: Path | None = None


def final_path(out: Path, name: str, target: Target, *, force: bool) -> Path:
    """The path of a model file in a folder.

    Args:
        out: Output folder.
        name: Name of the files without suffix.
        target: Tells the suffix.
        force: Whether existing files may be replaced.

    Raises:
        UsageError: A file of that name, its second file or its manifest exists already.
    """
    final = out / f"{name}{SUFFIX[target]}"
    second = [final.with_suffix(SECOND_SUFFIX[target])] if target in SECOND_SUFFIX else []
    for path in (final, *second, manifest_path(final)):
        refuse_overwrite(path, force=force)
    return final


@contextmanager
def build_folder(out: Path) -> Iterator[Path]:
    """A temporary folder on the disk of the result; a new ``out`` that stays empty is removed."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}", hint="name another --out") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def publish(
    built: Path, record: Manifest, out: Path, build_target: BuildTarget | None, plot: Path | None = None
) -> ExportResult:
    """Give the files of a build their final names.

    Args:
        built: The model file, in a folder of its own on the disk of ``out``.
        record: Content of the manifest, which is written here.
        out: Output folder.
        build_target: The library and GPU of an engine; None for other files.
        plot: A plot to publish with them.
    """
    files = parts(built)
    # The model file is renamed after its other files, and before its manifest only.
    for path in [*([plot] if plot else []), *reversed(files), write_manifest(built, record)]:
        path.replace(out / path.name)
    return ExportResult(
        files=tuple(out / p.name for p in files),
        manifest=manifest_path(out / built.name),
        record=record,
        doubts=() if build_target is None else engine_doubts(build_target, record),
        plot=out / plot.name if plot else None,
    )
