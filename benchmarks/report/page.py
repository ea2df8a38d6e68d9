"""An HTML page in one file, of the blocks of ``benchmarks.report.blocks``; no scripts, no external resources.

The templates ``page.html.j2`` and ``blocks.html.j2`` hold the markup and escape all text (jinja2 with
``autoescape``), so that names from result files cannot add markup of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import edgestill
from benchmarks.report.blocks import Card, Cards, Plot, Prose, Section, format_cell
from benchmarks.report.portable import PathLabels, portable, texts_in
from edgestill.errors import EXTRA_OF, missing_library
from edgestill.files import refuse_overwrite, write_bytes
from edgestill.plotting import LIBRARY

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "page.html.j2"


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
    """Write a page, without the absolute paths in its texts (``benchmarks.report.portable``).

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
        DeviceError: jinja2 is not installed, or matplotlib is not and there are plots.
    """
    refuse_overwrite(out, force=force)
    if any(isinstance(block, Plot) and not block.svg for section in sections for block in section.blocks):
        raise missing_library("a page with plots", LIBRARY, EXTRA_OF[LIBRARY])
    parts = (lead, list(cards), list(sections), footer)
    lead, cards, sections, footer = portable(parts, PathLabels(texts_in(parts)))
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
