"""An HTML page in one file: text, figures, tables, plots, pictures; no scripts, nothing from outside."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Literal, Protocol
from zlib import crc32

import edgestill
from edgestill.errors import DataError
from edgestill.files import refuse_overwrite, write_bytes

TEMPLATE = Path(__file__).with_name("page.html")
PICTURE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}

Tone = Literal["", "good", "bad"]
Cell = str | float | None


class Block(Protocol):
    """A part of a section."""

    def html(self) -> str:
        """Its markup, with everything that came from outside escaped."""


@dataclass(frozen=True, slots=True)
class Prose:
    """A paragraph.

    Attributes:
        text: Plain text.
        note: Whether it is set apart as a remark.
    """

    text: str
    note: bool = False

    def html(self) -> str:
        """A paragraph."""
        return f"<p{' class=note' if self.note else ''}>{escape(self.text)}</p>"


@dataclass(frozen=True, slots=True)
class Heading:
    """A title within a section."""

    text: str

    def html(self) -> str:
        """A third-level heading."""
        return f"<h3>{escape(self.text)}</h3>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One figure that a reader should take away.

    Attributes:
        value: The figure, with its unit.
        label: What it is.
        tone: Whether it is good or bad news.
    """

    value: str
    label: str
    tone: Tone = ""

    def html(self) -> str:
        """A box with a large figure."""
        inner = f"<b>{escape(self.value)}</b><span>{escape(self.label)}</span>"
        return f'<div class="card {self.tone}">{inner}</div>'


@dataclass(frozen=True, slots=True)
class Cards:
    """Figures side by side."""

    cards: Sequence[Card]

    def html(self) -> str:
        """A row of boxes."""
        return f'<div class="cards">{"".join(card.html() for card in self.cards)}</div>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows and columns.

    Attributes:
        columns: Their headings; all empty for a table without.
        rows: Cells; numbers are set right, with at most three decimals; None is a dash.
        caption: What it shows.
        tones: By text of a cell, how to colour it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    tones: Mapping[str, Tone] | None = None

    def html(self) -> str:
        """A table that scrolls sideways on narrow screens."""
        numeric = [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns))]
        head = "".join(
            f"<th{_number_class(right)}>{escape(name)}</th>"
            for name, right in zip(self.columns, numeric, strict=True)
        )
        body = "".join(
            f"<tr>{''.join(self._cell(cell, right) for cell, right in zip(row, numeric, strict=True))}</tr>"
            for row in self.rows
        )
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        head = f"<thead><tr>{head}</tr></thead>" if any(self.columns) else ""
        inner = f"{caption}{head}<tbody>{body}</tbody>"
        return f'<div class="scroll"><table>{inner}</table></div>'

    def _cell(self, cell: Cell, right: bool) -> str:
        text = escape(format_cell(cell)).replace("\n", "<br>")
        tone = (self.tones or {}).get(str(cell), "")
        inner = f'<span class="{tone}-word">{text}</span>' if tone else text
        return f"<td{_number_class(right)}>{inner}</td>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A drawing, see ``benchmarks.plots``.

    Attributes:
        svg: Its markup.
        caption: What it shows and how to read it.
    """

    svg: str
    caption: str

    def html(self) -> str:
        """The drawing with its caption; the caption is also what a screen reader says."""
        label = f'<svg role="img" aria-label="{escape(self.caption)}"'
        own = f"f{crc32(self.caption.encode()):x}-"  # drawings are made apart and share names inside
        svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}", self.svg).replace("<svg", label, 1)
        return f"<figure>{svg}<figcaption>{escape(self.caption)}</figcaption></figure>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture inside the page.

    Attributes:
        data: The encoded file.
        mime: Its type, e.g. ``image/png``.
        caption: What it shows.
    """

    data: bytes
    mime: str
    caption: str

    @classmethod
    def read(cls, path: Path, caption: str = "") -> Picture:
        """Take a PNG, JPEG or WebP file.

        Raises:
            DataError: It is missing or of another kind.
        """
        if path.suffix.lower() not in PICTURE_TYPES:
            raise DataError(f"{path} is no picture for a page", hint=f"known: {', '.join(PICTURE_TYPES)}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}", hint="check the path"
            ) from error
        return cls(data=data, mime=PICTURE_TYPES[path.suffix.lower()], caption=caption or path.name)

    def html(self) -> str:
        """The picture as part of the page."""
        text = escape(self.caption)
        source = f"data:{self.mime};base64,{b64encode(self.data).decode()}"
        return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures side by side."""

    pictures: Sequence[Picture]

    def html(self) -> str:
        """A grid."""
        return f'<div class="pictures">{"".join(p.html() for p in self.pictures)}</div>'


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands that repeat what is shown."""

    commands: Sequence[str]

    def html(self) -> str:
        """A block of code."""
        return f"<pre>{escape(chr(10).join(self.commands))}</pre>" if self.commands else ""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Reasons not to believe what is shown; nothing where there are none."""

    doubts: Sequence[str]

    def html(self) -> str:
        """A marked list."""
        if not self.doubts:
            return ""
        items = "".join(f"<li>{escape(doubt)}</li>" for doubt in self.doubts)
        return f'<div class="doubts"><b>Doubts</b><ul>{items}</ul></div>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Blocks that are folded away until somebody wants them."""

    summary: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """A fold."""
        inner = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{escape(self.summary)}</summary>{inner}</details>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a title."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")

    def html(self) -> str:
        """A framed part."""
        inner = "".join(block.html() for block in self.blocks)
        return f'<section id="{self.anchor}"><h2>{escape(self.title)}</h2>{inner}</section>'


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
        title: What stands on top.
        lead: One paragraph below the title.
        cards: The figures to take away, above all sections.
        footer: The last line; empty says what wrote the page.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: The file exists and ``force`` is false.
    """
    refuse_overwrite(out, force=force)
    body = (Cards(cards).html() if cards else "") + "".join(section.html() for section in sections)
    page = Template(TEMPLATE.read_text("utf-8")).substitute(
        title=escape(title),
        lead=Prose(lead).html() if lead else "",
        contents="".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections),
        body=body,
        footer=escape(footer or f"Written by edgestill {edgestill.__version__}."),
    )
    write_bytes(out, page.encode(), force=force)
    return out


def format_cell(cell: Cell) -> str:
    """A cell as text: numbers with about three digits that matter, a dash for None."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        size = abs(cell)
        return f"{cell:.0f}" if size >= 1000 else f"{cell:.1f}" if size >= 100 else f"{cell:.2f}"
    return str(cell)


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.fullmatch(r"[-+]?[\d.]+( to [\d.]+)?", cell) is not None


def _number_class(right: bool) -> str:
    return ' class="number"' if right else ""
