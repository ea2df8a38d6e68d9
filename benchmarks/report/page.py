"""An HTML page in one file: text, figures, tables, plots and images; no scripts, no external resources.

The blocks below are data. The templates ``page.html.j2`` and ``blocks.html.j2`` hold the markup and escape
all text (jinja2 with ``autoescape``), so that names from result files cannot add markup of their own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol
from zlib import crc32

import edgestill
from edgestill.errors import DataError, missing_library
from edgestill.files import read_bytes, refuse_overwrite, write_bytes

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "page.html.j2"
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
        return [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]

    def tone(self, cell: Cell) -> Tone:
        """How to colour a cell."""
        return (self.tones or {}).get(str(cell), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing, see ``benchmarks.report.plots``.

    Attributes:
        svg: An ``<svg>`` element that ``benchmarks.report.plots`` made; it is not escaped.
        caption: What it shows and how to read it; also the label for screen readers.
    """

    macro: ClassVar[str] = "plot"
    svg: str
    caption: str

    @property
    def svg_after_tag_name(self) -> str:
        """The element without its ``<svg``, with ids that no other drawing of the page has."""
        prefix = f"f{crc32(self.caption.encode('utf-8', 'replace')):x}-"
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", self.svg).removeprefix("<svg")


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


def write_report(
    sections: Sequence[Section],
    out: Path,
    *,
    title: str,
    lead: str = "",
    cards: Sequence[Card] = (),
    footer: str = "",
    force: bool = False,
) -> Path:
    """Write a page.

    Args:
        sections: Its parts, in order.
        out: The file.
        title: The heading of the page.
        lead: One paragraph below the title.
        cards: Headline figures, above all sections.
        footer: The last line; empty for the program and its version.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: The file exists and ``force`` is false.
        DeviceError: jinja2 is not installed.
    """
    refuse_overwrite(out, force=force)
    page = (
        _templates()
        .get_template(TEMPLATE)
        .render(
            title=title,
            lead=Prose(lead) if lead else None,
            cards=Cards(cards) if cards else None,
            sections=sections,
            footer=footer or f"Written by edgestill {edgestill.__version__}.",
        )
    )
    write_bytes(out, page.encode("utf-8", "replace"), force=force)
    return out


def format_cell(cell: Cell) -> str:
    """A cell as text: numbers with about three significant digits, a dash for None."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        size = abs(cell)
        return f"{cell:.0f}" if size >= 1000 else f"{cell:.1f}" if size >= 100 else f"{cell:.2f}"
    return str(cell)


@cache
def _templates() -> jinja2.Environment:
    try:
        import jinja2  # noqa: PLC0415 (an extra, which only a page needs)
    except ImportError as error:
        raise missing_library("writing a report", "jinja2", "report") from error
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    found.filters["cell_text"] = format_cell
    return found


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.fullmatch(r"[-+]?[\d.]+( to [\d.]+)?", cell) is not None
