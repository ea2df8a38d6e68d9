"""A downloaded data set becomes one in YOLO layout; what was left out is counted with its reason."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import cv2
import yaml

from distill.data.bounded_map import ahead
from distill.datasets.formats._class_map import ClassMap, Rule, load_class_map, own_classes
from distill.datasets.formats._records import LeftOut, Record, Source, UnusableError
from distill.datasets.formats._result import OBJECTS, Converted, Tally
from distill.datasets.formats._splits import Assigned, SplitPlan, assign
from distill.datasets.formats._state import State
from distill.datasets.formats._write import Style, Written, remove, write
from edgestill.errors import DataError, UsageError
from edgestill.files import write_bytes
from edgestill.progress import progress
from edgestill.registry import Registry

__all__ = ["FORMATS", "Converted", "SplitPlan", "Style", "convert_dataset"]

FORMATS = Registry("distill.datasets.formats", "data set format")
AHEAD = 4  # pictures a worker may be ahead of the one that is waited for
CATEGORY_TAG = {"coco": "category", "voc": "name"}  # formats that can keep their own classes

T = TypeVar("T")
R = TypeVar("R")


def convert_dataset(
    kind: str,
    source: Path,
    out: Path,
    *,
    classes: str | None = None,
    plan: SplitPlan | None = None,
    style: Style | None = None,
    workers: int | None = None,
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Converted:
    """Convert a data set; one that was interrupted goes on with the same call.

    Args:
        kind: A file of ``distill/datasets/formats``.
        source: The folder as it was downloaded and unpacked. Nothing in it is changed.
        out: Folder of the new data set.
        classes: A shipped class map or a TOML file; None keeps the source's own classes where it names them
            (``coco``, ``voc``), else it is ``state``.
        plan: How pictures are split.
        style: How pictures are written.
        workers: Threads that decode; by default one for each CPU that this process may use.
        force: Whether a finished data set, or one begun with other settings, may change.
        options: Arguments of the format's own ``read``.

    Raises:
        UsageError: An argument makes no sense, or ``out`` may not change.
        DataError: The source holds no such labels, or none of its pictures can be used.
    """
    plan, style, options = plan or SplitPlan(), style or Style(), dict(options or {})
    module = FORMATS.load(kind)
    _check(kind, module.read, source, out=out, options=options, workers=workers)
    if classes is None and kind not in CATEGORY_TAG:
        classes = "state"
    chosen = load_class_map(classes) if classes else None
    settings = _settings(kind, source, class_map=chosen, plan=plan, style=style, options=options)
    state = State(out, settings, force=force)
    found: Source = module.read(source, **options)
    _only_present(found)
    drop = getattr(module, "DROP", {})
    class_map = chosen or own_classes(found, CATEGORY_TAG[kind], drop)
    rule = class_map.rule_for(found)
    assigned = assign(found, plan)
    tally = Tally()
    with state:
        _remove_leftovers(out)
        _write_all(
            out, found, assigned, rule=rule, style=style, state=state, tally=tally, workers=workers or _cpus()
        )
        write_bytes(out / OBJECTS, "".join(tally.lines).encode())
        _write_yaml(out / "data.yaml", tally.splits(), class_map.classes)
        state.end()
    return tally.result(out, found, assigned, class_map)


def _check(
    kind: str,
    read: Callable[..., Source],
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
        raise DataError(f"{source} does not exist", hint="docs/reference/datasets.md says where to get it")
    if source.is_file() and not (kind == "coco" and source.suffix == ".json"):
        raise DataError(f"{source} is not a folder", hint="unpack the data set and name its folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--out {out} is in the source, {source}", hint="name a place beside it")


def _settings(
    kind: str,
    source: Path,
    *,
    class_map: ClassMap | None,
    plan: SplitPlan,
    style: Style,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides the outcome, as the state keeps it."""
    return {
        "format": kind,
        "source": str(source.resolve()),
        "classes": class_map.to_json() if class_map else {},
        "split": asdict(plan),
        "style": asdict(style),
        "options": {key: str(value) for key, value in sorted(options.items())},
    }


def _only_present(found: Source) -> None:
    """Leave out records whose picture is not there, or whose name another has, before splits are chosen."""
    names: set[str] = set()
    kept = []
    for record in found.records:
        if record.name in names:
            found.pictures.add("a second record of a picture", record.picture)
        elif not record.picture.is_file():
            found.pictures.add("the picture is not there", record.picture)
        else:
            names.add(record.name)
            kept.append(record)
    found.records = kept
    if not kept:
        raise _nothing(found.pictures)


def _nothing(left_out: LeftOut) -> DataError:
    most = ", ".join(f"{reason} ({n})" for reason, n in left_out.reasons.most_common(3))
    first = f"the first: {left_out.named[0]}" if left_out.named else "is this the right folder?"
    return DataError(f"no picture could be converted: {most or 'the labels list none'}", hint=first)


def _write_all(
    out: Path,
    found: Source,
    assigned: Assigned,
    *,
    rule: Rule,
    style: Style,
    state: State,
    tally: Tally,
    workers: int,
) -> None:
    stale = dict(state.done)

    def one(job: tuple[Record, str]) -> Written | UnusableError:
        record, split = job
        try:
            return write(out, record, split, rule=rule, style=style, old=stale.get(record.name))
        except UnusableError as error:
            return error

    jobs = list(zip(found.records, assigned.splits, strict=True))
    with progress("convert", len(jobs)) as advance, _single_threaded_cv2():
        for (record, split), written in zip(jobs, _parallel(one, jobs, workers), strict=True):
            if isinstance(written, UnusableError):
                found.pictures.add(written.reason, record.picture)
            else:
                state.add(record.name, written.done)
                if (old := stale.pop(record.name, None)) is not None:
                    remove(out, old, written.done)
                for reason, times in written.left_out.items():
                    found.objects.add(reason, record.picture, times)
                tally.add(record, split, written)
            advance()
    for old in stale.values():
        remove(out, old)
    if not tally.images:
        raise _nothing(found.pictures)


def _remove_leftovers(out: Path) -> None:
    """Remove what a killed run had not yet given its name: it would be taken for a picture of the set."""
    for kind in ("images", "labels"):
        for left in out.glob(f"{kind}/*/.*"):
            left.unlink()


def _parallel(work: Callable[[T], R], jobs: Iterable[T], workers: int) -> Iterator[R]:
    """Results in order, with a bounded number of jobs under way: OpenCV decodes outside of Python's lock."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from ahead(pool, work, jobs, AHEAD * workers)
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _single_threaded_cv2() -> Iterator[None]:
    """OpenCV without threads of its own: the pictures are what runs at the same time."""
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


def _write_yaml(path: Path, splits: Sequence[str], classes: Sequence[str]) -> None:
    data: dict[str, object] = {"path": ".", **{split: f"images/{split}" for split in splits}}
    data |= {"nc": len(classes), "names": dict(enumerate(classes))}
    write_bytes(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode())
