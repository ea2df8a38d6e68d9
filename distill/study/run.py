"""Run a study: its unfinished cells, then the table of all finished ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from filelock import Timeout

from distill.data.loader import open_datasets
from distill.recipe import Recipe
from distill.study.cell import cell_description, is_scored, recipe_changes
from distill.study.grid import Cell, Study
from distill.study.process import CELL, ERROR, HINT, SCORE, CellJob, CellResult, CellRunner, folder_lock
from distill.study.scoring import choose_split
from distill.training.run_folder import HISTORY
from edgestill.errors import ToolchainError, UsageError
from edgestill.files import read_json, write_json
from edgestill.history import count_epochs
from edgestill.progress import progress, say


def run_cells(
    study: Study, cells: Sequence[Cell], out: Path, engine: CellRunner, *, force: bool = False
) -> dict[str, dict[str, Any]]:
    """Train and score the unfinished cells.

    Args:
        study: Their study.
        cells: The cells to finish.
        out: The study's folder.
        engine: Runs the cells.
        force: Retrain the cells whose recipe or weights have changed, and those that failed.

    Returns:
        The errors by label: ``what``, ``hint``, ``exit_code``.

    Raises:
        UsageError: A cell was trained by another recipe and ``force`` is not given, another study runs in the
            folder, or a file of a recipe is missing.
        DataError: The data cannot be read.
    """
    wanted = {cell.folder: cell_description(cell, study) for cell in cells}
    images = {data: _training_images(*data, study) for data in {_data_of(cell.recipe) for cell in cells}}
    with _locked(out):
        _remove_outdated(cells, wanted, out, force=force)
        todo = [cell for cell in cells if not is_scored(out / cell.folder, study)]
        if len(todo) < len(cells):
            say(f"{len(cells) - len(todo)} of {len(cells)} cells are finished already")
        if not todo:
            return {}
        for cell in todo:
            write_json(out / cell.folder / CELL, wanted[cell.folder])
        work = [
            CellJob(folder=out / cell.folder, recipe=cell.recipe, images=images[_data_of(cell.recipe)])
            for cell in todo
        ]
        return _run_and_report(todo, out, engine(work))


def finished_cells(study: Study, cells: Sequence[Cell], out: Path) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """The cells that are trained and scored with the current settings of the study, with their scores."""
    for cell in cells:
        folder = out / cell.folder
        try:
            if is_scored(folder, study) and not recipe_changes(folder, cell_description(cell, study)):
                yield cell, read_json(folder / SCORE, hint=HINT)
        except UsageError as error:  # its teacher is missing, so it cannot be compared with the cell's
            say(f"{cell.label} is left out of the table: {error.what}")


def _run_and_report(
    cells: Sequence[Cell], out: Path, events: Iterator[CellResult | None]
) -> dict[str, dict[str, Any]]:
    """Show the progress of the cells; gives the failures."""
    by_folder = {out / cell.folder: cell for cell in cells}
    seen = {folder: count_epochs(folder / HISTORY) for folder in by_folder}
    failures: dict[str, dict[str, Any]] = {}
    total = sum(cell.recipe.epochs - seen[out / cell.folder] for cell in cells)
    ended = 0
    with progress(f"training {len(cells)} cells, epochs", total) as advance:
        for event in events:
            for folder, before in seen.items():
                if (now := count_epochs(folder / HISTORY)) > before:
                    seen[folder] = now
                    advance(now - before, note=f"{ended}/{len(cells)} cells")
            if event is None:
                continue
            ended += 1
            cell = by_folder[event.folder]
            if event.failure:
                failures[cell.label] = dict(event.failure)
                say(f"{cell.label} failed: {event.failure['what']}\n  hint: {event.failure['hint']}")
            else:
                score = read_json(event.folder / SCORE, hint=HINT)
                say(f"{ended}/{len(cells)} {cell.label}: {_points(score)}")
    return failures


def _remove_outdated(
    cells: Sequence[Cell], wanted: Mapping[Path, Mapping[str, Any]], out: Path, *, force: bool
) -> None:
    """Refuse cells trained by another recipe; with ``force`` remove them and the failed ones."""
    changed = {
        cell.folder: found
        for cell in cells
        if (found := recipe_changes(out / cell.folder, wanted[cell.folder]))
    }
    if changed and not force:
        first, found = next(iter(changed.items()))
        raise UsageError(
            f"{len(changed)} cells have another recipe, e.g. {out / first}: {'; '.join(found[:3])}",
            hint="--force retrains those cells and keeps the others; --out names another folder",
        )
    failed = {cell.folder for cell in cells if (out / cell.folder / ERROR).is_file()} if force else set()
    for folder in sorted({*changed, *failed}):
        say(f"{folder}: retrained, {'; '.join(changed.get(folder, ['it failed']))}")
        rmtree(out / folder)


def _data_of(recipe: Recipe) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The data sets of a recipe, and the sources that are left out of them."""
    return recipe.data, recipe.leave_out


def _training_images(paths: Sequence[str], leave_out: Sequence[str], study: Study) -> int:
    """The number of training images of a cell; missing data is reported before any training."""
    if not paths:
        raise UsageError(
            "the study names no data",
            hint="--data DATA.yaml; `edgestill data synth --out scenes --images 500` makes some",
        )
    datasets = open_datasets([Path(path) for path in paths], leave_out)
    choose_split(datasets, study.split)
    return sum(len(dataset.images("train")) for dataset in datasets)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock the study's folder: one study at a time."""
    out.mkdir(parents=True, exist_ok=True)
    lock = folder_lock(out)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"another study runs in {out}", hint="wait for it, or name another folder with --out"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _points(score: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {100 * value:.1f}" if (value := score[key]) is not None else f"{name} none"
        for name, key in (("mAP50", "map50"), ("mAP50-95", "map50_95"))
    ]
    return f"{', '.join(shown)} on {score['split']}, {score['training_seconds']:.0f} s"


def combined_error(failures: Mapping[str, Mapping[str, Any]], out: str) -> ToolchainError:
    """One error for all failed cells, of the type of the first."""
    label, first = next(iter(failures.items()))
    kinds = {kind.exit_code: kind for kind in ToolchainError.__subclasses__()}
    return kinds.get(first["exit_code"], ToolchainError)(
        f"{len(failures)} cells failed; {label}: {first['what']}",
        hint=f"{first['hint']}; logs: {out}/cells/*/*/*/log.txt",
    )
