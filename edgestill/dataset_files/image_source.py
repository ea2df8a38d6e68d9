"""The source of an image, from its file name: ``cinta_0141.jpg`` is from ``cinta``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


def source_of(path: Path) -> str:
    """The file name before the first ``_``; empty if there is no ``_``, or if that part is a number."""
    prefix, separator, _ = path.name.partition("_")
    return prefix if separator and not prefix.isdigit() else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFilter:
    """Which images of a data set take part, by their source.

    Attributes:
        leave_out: Sources whose images are left out.
        only: If not empty, the sources whose images alone are kept.
    """

    leave_out: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()

    def __call__(self, paths: Collection[Path]) -> list[Path]:
        """The paths that are kept, in the same order."""
        return [path for path in paths if self.keeps(source_of(path))]

    def keeps(self, source: str) -> bool:
        """Whether images of a source are kept."""
        return source not in self.leave_out and (not self.only or source in self.only)
