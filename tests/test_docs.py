"""What the documents promise exists."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgestill.cli.main import VERBS, _actions, _parse
from edgestill.errors import ToolchainError

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(
    path
    for folder in ("edgestill", "devices", "runtime", "export", "distill", "benchmarks", "examples")
    for suffix in ("py", "toml", "html")
    for path in (ROOT / folder).rglob(f"*.{suffix}")
)
#: Values of a shell's variables in console blocks.
VARIABLES = {"$grid": "2x2"}

every_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS]
)


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub names them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def links(path: Path) -> list[str]:
    """The relative links of a document."""
    return re.findall(r"\]\((?!\w+:)([^)]+)\)", prose(path))


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [str(block) for block in found]


def console_commands(path: Path) -> Iterator[list[str]]:
    """The commands of the console blocks, each as its words; lines that end in a backslash are joined."""
    for block in blocks(path, "console"):
        for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", " "), re.MULTILINE):
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            lexer.commenters = "#"
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set(";&|"):
                    yield words
                    words = []
                else:
                    words.append(VARIABLES.get(word, word))


def edgestill_commands(path: Path) -> list[list[str]]:
    """The words behind ``edgestill`` of every command in a console block."""
    found = []
    for words in console_commands(path):
        calls = [i for i, word in enumerate(words) if word.split("/")[-1] == "edgestill"]
        if calls and (calls[0] == 0 or words[calls[0] - 1] in {"do", "-m"}):
            found.append(words[calls[0] + 1 :])
    return found


def problem_of(words: list[str]) -> str | None:
    """What the parser of the verb says against a command."""
    try:
        _parse(words[0], words[1:])
    except ToolchainError as error:
        return f"edgestill {shlex.join(words)}: {error}"
    return None


@every_document
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        is_there = target.is_relative_to(ROOT) and target.exists()
        if not is_there or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_headings_become_anchors_as_on_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b-c`: d, E\n```console\n# no heading\n```\n## Twice\n## Twice\n## ONNX [x](y.md) (2 x 2)\n"
    )
    assert anchors(page) == {"a-b-c-d-e", "twice", "twice-1", "onnx-x-2-x-2"}


@every_document
def test_every_command_names_a_verb_that_exists(path: Path) -> None:
    verbs = re.findall(r"(?:^\$ |`)edgestill ([a-z]+)", path.read_text("utf-8"), re.MULTILINE)
    assert [verb for verb in verbs if verb not in VERBS.names()] == []


@every_document
def test_every_command_in_a_console_block_is_parsed(path: Path) -> None:
    problems = [problem for words in edgestill_commands(path) if (problem := problem_of(words))]
    assert problems == []


def test_the_commands_that_people_copy_are_found_and_wrong_ones_are_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ for grid in 1x1; do edgestill eval student --data d.yaml --tile $grid; done\n"
        "$ torchrun -m edgestill distill a --data \\\n    d.yaml   # why\n"
        "$ .venv/bin/edgestill run student --sauce x\n```\n"
    )
    commands = edgestill_commands(page)
    assert [words[0] for words in commands] == ["eval", "distill", "run"]
    assert commands[1] == ["distill", "a", "--data", "d.yaml"]
    assert [problem_of(words) is None for words in commands] == [True, True, False]
    assert sum(len(edgestill_commands(path)) for path in DOCUMENTS) > 60


@every_document
def test_every_flag_in_the_text_belongs_to_its_verb(path: Path) -> None:
    """``edgestill VERB ... --flag`` between backticks; its values may be left out."""
    unknown = []
    for command in re.findall(r"`edgestill ([^`]+)`", prose(path)):
        verb, *words = command.split()
        known = flags_of(verb) if verb in VERBS.names() else {"--help"}
        unknown += [f"{verb} {word}" for word in words if word.startswith("--") and word not in known]
    assert unknown == []


def flags_of(verb: str) -> set[str]:
    """Every flag of a verb and of its sub-verbs."""
    parser = ArgumentParser(allow_abbrev=False)  # brings --help
    VERBS.load(verb).add_arguments(parser)
    return {flag for action in _actions(parser) for flag in action.option_strings} | {"--json"}


@every_document
def test_every_module_that_is_run_exists(path: Path) -> None:
    modules = re.findall(r"python3? -m ([\w.]+)", path.read_text("utf-8"))
    ours = [name for name in modules if (ROOT / name.split(".")[0]).is_dir()]
    assert [name for name in ours if find_spec(name) is None] == []


@every_document
def test_python_blocks_are_python(path: Path) -> None:
    for block in blocks(path, "python"):
        compile(block, str(path), "exec")


def test_the_python_of_the_readme_runs_as_it_is_written(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "street.png"
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    (block,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in block.splitlines() if line]) == 5
    program = block.replace('"student"', "model").replace('"scenes/images/train"', "image")
    exec(program, {"model": tiny_model, "image": str(image)})
    assert capsys.readouterr().out.endswith("['red']\n")


def test_every_document_that_code_names_exists() -> None:
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        for name in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.\w+", path.read_text("utf-8"))
    }
    assert named
    assert [pair for pair in sorted(named) if not (ROOT / pair[1]).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = {
        (ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "README.md")
    }
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {(ROOT / "docs/README.md").resolve()}
    assert pages - index == set()


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [verb for verb in VERBS.names() if verb not in text] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_the_results_in_the_readme_are_those_of_the_pages() -> None:
    """A row of the table of results names its page, and every figure of the row is there."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## Results\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \| (.+) \| \[.+\]\((.+\.md)[^)]*\) \|$", section, re.MULTILINE)
    assert len(rows) > 5
    for _, result, page in rows:
        text = (ROOT / page).read_text("utf-8")
        assert [figure for figure in re.findall(r"-?\d+\.\d+", result) if figure not in text] == []


def test_no_document_has_a_gap_to_fill() -> None:
    assert [path.name for path in DOCUMENTS if "@@" in path.read_text("utf-8")] == []
