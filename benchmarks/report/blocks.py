"""The parts of a report as data: text, figures, tables, plots and images.

``benchmarks.report.page`` makes an HTML page of them, ``benchmarks.report.markdown`` a Markdown file.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol
from zlib import crc32

from edgestill.errors import DataError
from edgestill.files import read_bytes

PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

Tone = Literal["", "good", "bad"]
Cell = str | float | None


class Block(Protocol):
    """A part of a section.

    Attributes:
        macro: Name of its macro in ``blocks.html.j2``.
    """

    macro: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph.

    Attributes:
        text: Plain text.
        note: Whether it is set apart as a remark.
    """

    macro: ClassVar[str] = "prose"
    text: str
    note: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A title within a section."""

    macro: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One headline figure.

    Attributes:
        value: The figure, with its unit.
        label: What it measures.
        tone: Whether it is good or bad; empty for neither.
    """

    value: str
    label: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Cards:
    """Headline figures side by side."""

    macro: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows and columns.

    Attributes:
        columns: Their headings; all empty for a table without a heading row.
        rows: Cells; numbers are right-aligned, see ``format_cell``.
        caption: What the table shows.
        tones: By text of a cell, how to colour it.
    """

    macro: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    tones: Mapping[str, Tone] | None = None

    def __post_init__(self) -> None:
        lengths = {len(row) for row in self.rows}
        if lengths - {len(self.columns)}:
            raise ValueError(f"rows of {sorted(lengths)} cells under {len(self.columns)} columns")

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers only."""
        columns = [[row[i] for row in self.rows if row[i] is not None] for i in range(len(self.columns))]
        return [bool(cells) and all(map(_is_number, cells)) for cells in columns]

    def tone(self, cell: Cell) -> Tone:
        """How to colour a cell."""
        return (self.tones or {}).get(str(cell), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing, see ``benchmarks.report.plots``.

    Attributes:
        svg: An ``<svg>`` element that ``benchmarks.report.plots`` made; it is not escaped.
        caption: What it shows and how to read it; also the label for screen readers.
        narrow_svg: The same for narrow screens, with text as large as the page's; empty for none.
    """

    macro: ClassVar[str] = "plot"
    svg: str
    caption: str
    narrow_svg: str = ""

    @property
    def drawings(self) -> list[tuple[str, str]]:
        """CSS class, and element without its ``<svg``, with ids that no other drawing of the page has."""
        named = crc32(self.caption.encode("utf-8", "replace"))
        kinds = [("wide", self.svg), ("narrow", self.narrow_svg)] if self.narrow_svg else [("", self.svg)]
        return [
            (kind, re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>f{named:x}{kind}-", svg).removeprefix("<svg"))
            for kind, svg in kinds
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image inside the page.

    Attributes:
        data: The encoded file.
        mime: Its media type, e.g. ``image/png``.
        caption: What it shows.
    """

    macro: ClassVar[str] = "picture"
    data: bytes
    mime: str
    caption: str

    @classmethod
    def read(cls, path: Path, caption: str = "") -> Picture:
        """Read a PNG, JPEG or WebP file; the caption is its file name unless one is given.

        Raises:
            DataError: The file is missing or of another type.
        """
        if path.suffix.lower() not in PICTURE_TYPES:
            raise DataError(
                f"{path} is not an image that a page can hold", hint=f"known: {', '.join(PICTURE_TYPES)}"
            )
        try:
            data = read_bytes(path)
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}", hint="check the path"
            ) from error
        return cls(data=data, mime=PICTURE_TYPES[path.suffix.lower()], caption=caption or path.name)

    @property
    def data_url(self) -> str:
        """The image as a ``data:`` URL."""
        return f"data:{self.mime};base64,{b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images side by side."""

    macro: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands that reproduce what is shown; no block if there are none."""

    macro: ClassVar[str] = "commands"
    commands: Sequence[str]


@dataclass(frozen=True, slots=True)
class Doubts:
    """Reasons not to trust what is shown; no block if there are none."""

    macro: ClassVar[str] = "doubts"
    doubts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Blocks that are folded away under a summary line."""

    macro: ClassVar[str] = "details"
    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A framed part of the page with a title."""

    macro: ClassVar[str] = "section"
    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The target of links to this section."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def format_cell(cell: Cell) -> str:
    """A cell as text: numbers with about three significant digits, a dash for None."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        size = abs(cell)
        return f"{cell:.0f}" if size >= 1000 else f"{cell:.1f}" if size >= 100 else f"{cell:.2f}"
    return str(cell)


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.fullmatch(r"[-+]?[\d.]+( to [\d.]+| \(\d+ %\))?", cell) is not None
