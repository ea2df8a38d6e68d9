"""Conversion of a downloaded data set to YOLO layout. What is skipped is counted by reason."""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import cv2

from distill.data.bounded_map import bounded_map
from distill.datasets.data_yaml import write_data_yaml
from distill.datasets.formats._class_map import ClassMap, ClassRule, load_class_map, own_classes
from distill.datasets.formats._records import ImageRecord, SourceDataset, UnusableError
from distill.datasets.formats._result import DATA_YAML, OBJECTS, ConversionCounts, ConversionResult
from distill.datasets.formats._splits import SplitAssignment, SplitSettings, assign
from distill.datasets.formats._state import ConversionState
from distill.datasets.formats._usable import no_image, no_object, with_image_files, with_readable_classes
from distill.datasets.formats._write import WriteOptions, WrittenImage, remove, write
from edgestill.errors import DataError, UsageError
from edgestill.files import resolved, write_bytes
from edgestill.progress import progress
from edgestill.registry import Registry

__all__ = ["FORMATS", "ConversionResult", "SplitSettings", "WriteOptions", "convert_dataset"]

FORMATS = Registry("distill.datasets.formats", "data set format")
QUEUED_PER_WORKER = 4  # images
CATEGORY_TAG = {"coco": "category", "voc": "name"}  # formats that can keep the classes of the source

T = TypeVar("T")
R = TypeVar("R")


def convert_dataset(
    kind: str,
    source: Path,
    out: Path,
    *,
    classes: str | None = None,
    split_settings: SplitSettings | None = None,
    write_options: WriteOptions | None = None,
    workers: int | None = None,
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> ConversionResult:
    """Convert a data set; the same call continues an interrupted conversion.

    Args:
        kind: A file of ``distill/datasets/formats``.
        source: The folder as downloaded and unpacked. It is not modified.
        out: Folder of the new data set.
        classes: A shipped class map or a TOML file; None keeps the classes of the source where it has them
            (``coco``, ``voc``), else it is ``state``.
        split_settings: How images are split.
        write_options: How images are written.
        workers: Threads that decode; by default one for each CPU that this process may use.
        force: Whether a finished data set, or one started with other settings, may change.
        options: Arguments of the format's own ``read``.

    Raises:
        UsageError: An argument is out of range, or ``out`` may not change.
        DataError: The source contains no such labels, none of its images or objects can be used, or too many
            of its objects could not be read. A new ``out`` does not exist then.
    """
    split_settings, write_options = split_settings or SplitSettings(), write_options or WriteOptions()
    options = dict(options or {})
    module = FORMATS.load(kind)
    _check(kind, module.read, source, out=out, options=options, workers=workers)
    if classes is None and kind not in CATEGORY_TAG:
        classes = "state"
    chosen = load_class_map(classes) if classes else None
    settings = _settings(
        kind,
        source,
        class_map=chosen,
        split_settings=split_settings,
        write_options=write_options,
        options=options,
    )
    state = ConversionState(out, settings, force=force)
    found: SourceDataset = module.read(source, **options)
    class_map = chosen or own_classes(found, CATEGORY_TAG[kind], getattr(module, "DROP", {}))
    rule = class_map.rule_for(found)
    with_readable_classes(found, rule)
    with_image_files(found, images_named="images" in options)
    if not class_map.classes:
        raise no_object(found, Counter({"the labels name no class": len(found.records)}))
    assigned = assign(found, split_settings)
    counts = ConversionCounts()
    with _nothing_left(out, state), state:
        (out / DATA_YAML).unlink(missing_ok=True)  # until the end this is no data set
        _remove_leftovers(out)
        _write_all(
            out,
            found,
            assigned,
            rule=rule,
            write_options=write_options,
            state=state,
            counts=counts,
            workers=workers or _cpus(),
        )
        write_bytes(out / OBJECTS, "".join(counts.lines).encode())
        write_data_yaml(out / DATA_YAML, counts.splits(), class_map.classes)
        state.end()
    return counts.result(out, found, assigned, class_map)


def _check(
    kind: str,
    read: Callable[..., SourceDataset],
    source: Path,
    *,
    out: Path,
    options: Mapping[str, Any],
    workers: int | None,
) -> None:
    known = set(inspect.signature(read).parameters) - {"source"}
    for option in options:
        if option not in known:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(known)) or "none"
            raise UsageError(f"{kind} has no --{option.replace('_', '-')}", hint=f"its own options: {flags}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers is {workers}, there must be at least one", hint="e.g. --workers 2")
    if not source.exists():
        raise DataError(
            f"{source} does not exist",
            hint="docs/reference/datasets.md says where to download it",
        )
    if source.is_file() and not (kind == "coco" and source.suffix == ".json"):
        raise DataError(f"{source} is not a folder", hint="unpack the data set and name its folder")
    images = options.get("images")
    if images is not None and not images.is_dir():
        raise DataError(f"--images {images} is not a folder", hint="name the folder that holds the images")
    for folder in (source, *([images] if images else [])):
        if resolved(out).is_relative_to(resolved(folder)):
            raise UsageError(f"--out {out} is inside the source, {folder}", hint="name a folder outside it")


def _settings(
    kind: str,
    source: Path,
    *,
    class_map: ClassMap | None,
    split_settings: SplitSettings,
    write_options: WriteOptions,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings that determine the result, in the format of the state file."""
    return {
        "format": kind,
        "source": str(resolved(source)),
        "classes": class_map.to_json() if class_map else {},
        "split": asdict(split_settings),
        "style": asdict(write_options),
        "options": {key: _text(value) for key, value in sorted(options.items())},
    }


def _text(value: Any) -> str:
    return str(value.resolve() if isinstance(value, Path) else value)


def _write_all(
    out: Path,
    found: SourceDataset,
    assigned: SplitAssignment,
    *,
    rule: ClassRule,
    write_options: WriteOptions,
    state: ConversionState,
    counts: ConversionCounts,
    workers: int,
) -> None:
    stale = dict(state.done)

    def one(job: tuple[ImageRecord, str]) -> WrittenImage | UnusableError:
        record, split = job
        try:
            return write(
                out, record, split, rule=rule, write_options=write_options, old=stale.get(record.name)
            )
        except UnusableError as error:
            return error

    jobs = list(zip(found.records, assigned.splits, strict=True))
    with progress("convert", len(jobs)) as advance, _single_threaded_cv2():
        for (record, split), written in zip(jobs, _parallel(one, jobs, workers), strict=True):
            if isinstance(written, UnusableError):
                found.skipped_images.add(written.reason, record.path)
            else:
                state.add(record.name, written.done)
                if (old := stale.pop(record.name, None)) is not None:
                    remove(out, old, written.done)
                for reason, times in written.left_out.items():
                    found.skipped_objects.add(reason, record.path, times)
                counts.add(record, split, written)
            advance()
    for old in stale.values():
        remove(out, old)
    if not counts.images:
        raise no_image(found)
    if found.objects and not counts.boxes:
        raise no_object(found, found.skipped_objects.reasons)


@contextmanager
def _nothing_left(out: Path, state: ConversionState) -> Iterator[None]:
    """Remove what was written if the data turn out to be of no use."""
    try:
        yield
    except DataError:
        for done in state.done.values():
            remove(out, done)
        state.remove()
        (out / OBJECTS).unlink(missing_ok=True)
        for folder in sorted((path for path in out.rglob("*") if path.is_dir()), reverse=True):
            _remove_if_empty(folder)
        _remove_if_empty(out)
        raise


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _remove_leftovers(out: Path) -> None:
    """Remove temporary files of a killed run, which would count as images of the data set."""
    for kind in ("images", "labels"):
        for left in out.glob(f"{kind}/*/.*"):
            left.unlink()


def _parallel(work: Callable[[T], R], jobs: Iterable[T], workers: int) -> Iterator[R]:
    """Results in order, with a bounded number of jobs in progress; OpenCV decodes without the GIL."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from bounded_map(pool, work, jobs, QUEUED_PER_WORKER * workers)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _single_threaded_cv2() -> Iterator[None]:
    """OpenCV without threads of its own: the images are already processed in parallel."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
