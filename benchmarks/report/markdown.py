"""A report as a Markdown file with tables (GitHub's dialect); plots and images stay in the HTML page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgestill
from benchmarks.report.blocks import (
    Block,
    Card,
    Cards,
    Commands,
    Details,
    Doubts,
    Heading,
    Picture,
    Pictures,
    Plot,
    Prose,
    Section,
    Table,
    format_cell,
)
from benchmarks.report.portable import PathLabels, portable, texts_in
from edgestill.files import refuse_overwrite, write_bytes

NOT_HERE = "in the HTML page"
_MARKUP = re.compile(r"[\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_])")


def write_markdown(
    sections: Sequence[Section], out: Path, *, title: str, cards: Sequence[Card] = (), force: bool = False
) -> Path:
    """Write a report, without the absolute paths in its texts.

    Args:
        sections: Its parts, in order.
        out: The file.
        title: The heading of the report.
        cards: Headline figures, above all sections.
        force: Whether an existing file is replaced.

    Raises:
        UsageError: The file exists and ``force`` is false.
    """
    refuse_overwrite(out, force=force)
    whole: list[Block] = [Cards(cards), *sections]
    blocks = portable(whole, PathLabels(texts_in(whole)))
    lines = [f"# {_text(title)}", "", *(line for block in blocks for line in _lines(block))]
    lines.append(f"Written by edgestill {edgestill.__version__}.")
    write_bytes(out, ("\n".join(lines) + "\n").encode("utf-8", "replace"), force=force)
    return out


def _lines(block: Block) -> Iterator[str]:
    """The lines of a block, with an empty one after it."""
    yield from _WRITERS[type(block)](block)


def _section(block: Section) -> Iterator[str]:
    yield from (f"## {_text(block.title)}", "")
    for one in block.blocks:
        yield from _lines(one)


def _details(block: Details) -> Iterator[str]:
    yield from (f"**{_text(block.summary)}**", "")
    for one in block.blocks:
        yield from _lines(one)


def _table(block: Table) -> Iterator[str]:
    if block.caption:
        yield from (_text(block.caption), "")
    yield _row([_text(name.replace("\n", ", ")) for name in block.columns])
    yield _row(["---:" if numeric else "---" for numeric in block.numeric])
    for row in block.rows:
        yield _row([_text(format_cell(cell)) for cell in row])
    yield ""


def _prose(block: Prose) -> Iterator[str]:
    yield from (_text(block.text), "")


def _heading(block: Heading) -> Iterator[str]:
    yield from (f"### {_text(block.text)}", "")


def _cards(block: Cards) -> Iterator[str]:
    yield from (f"- **{_text(card.value)}** {_text(card.label)}" for card in block.cards)
    if block.cards:
        yield ""


def _plot(block: Plot) -> Iterator[str]:
    yield from (f"Plot ({NOT_HERE}): {_text(block.caption)}", "")


def _picture(block: Picture) -> Iterator[str]:
    yield from (f"Image ({NOT_HERE}): {_text(block.caption)}", "")


def _pictures(block: Pictures) -> Iterator[str]:
    for picture in block.pictures:
        yield from _picture(picture)


def _commands(block: Commands) -> Iterator[str]:
    if block.commands:
        text = "\n".join(block.commands)
        ticks = max((len(run) for run in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, ticks + 1)
        yield from (f"{fence}console", text, fence, "")


def _doubts(block: Doubts) -> Iterator[str]:
    if block.doubts:
        yield from ("Warnings:", "", *(f"- {_text(doubt)}" for doubt in block.doubts), "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """A text in which nothing is markup; line breaks become spaces."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))


_WRITERS: Mapping[type, Callable[[Any], Iterator[str]]] = {
    Cards: _cards,
    Commands: _commands,
    Details: _details,
    Doubts: _doubts,
    Heading: _heading,
    Picture: _picture,
    Pictures: _pictures,
    Plot: _plot,
    Prose: _prose,
    Section: _section,
    Table: _table,
}
