"""Progress on stderr: a bar with an ETA on a terminal that can redraw a line, otherwise a line every 10 s."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from edgestill.verbosity import is_quiet

T = TypeVar("T")
LOG_EVERY_S = 10.0


class Advance(Protocol):
    """Reports that ``n`` more units are done; ``note`` is shown beside the bar."""

    def __call__(self, n: int = 1, note: str = "") -> None:
        """Advance the bar by ``n`` units."""


def say(message: str) -> None:
    """Print one line on stderr, unless ``edgestill.verbosity`` says quiet."""
    if not is_quiet():
        Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(message, markup=False)


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Show the progress of ``total`` units while the block runs; it calls what is yielded."""
    can_redraw = sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal
    show = _nothing if is_quiet() else _bar if can_redraw else _lines
    with show(label, total) as advance:
        yield advance


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield ``items``, ``total`` of them, and show the progress."""
    with progress(label, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def _nothing(label: str, total: int) -> Iterator[Advance]:
    yield lambda n=1, note="": None


@contextmanager
def _bar(label: str, total: int) -> Iterator[Advance]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    note_column = TextColumn("{task.fields[note]}", markup=False)
    with Progress(*columns, note_column, console=Console(stderr=True, emoji=False)) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(n: int = 1, note: str = "") -> None:
            bar.update(task, advance=n)
            if note:
                bar.update(task, note=note)

        yield advance


@contextmanager
def _lines(label: str, total: int) -> Iterator[Advance]:
    start = last = perf_counter()
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = perf_counter()
        if now - last >= LOG_EVERY_S and done < total:
            last = now
            left = (now - start) / max(done, 1) * (total - done)
            _write_line(f"{label}: {done}/{total}, {left:.0f} s left {note}")

    yield advance
    _write_line(f"{label}: {done}/{total} in {perf_counter() - start:.1f} s")


def _write_line(text: str) -> None:
    """Write one line at once: ``print`` writes the line break separately where stderr is not buffered.

    Another process, or stdout in the same file, could write between the two.
    """
    sys.stderr.write(" ".join(text.split()) + "\n")
    sys.stderr.flush()
