"""What the documents promise exists."""

import re
from pathlib import Path

import pytest

from edgestill.cli.main import VERBS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", path.read_text("utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_names_a_verb_that_exists(path: Path) -> None:
    verbs = re.findall(r"(?:^\$ |`)edgestill ([a-z]+)", path.read_text("utf-8"), re.MULTILINE)
    assert [verb for verb in verbs if verb not in VERBS.names()] == []


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [verb for verb in VERBS.names() if verb not in text] == []


def test_no_document_has_a_gap_to_fill() -> None:
    assert [path.name for path in DOCUMENTS if "@@" in path.read_text("utf-8")] == []
