"""The layout of the tree: small folders, one meaning for a name, no circle of imports."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")
MOST_MODULES = 20
NOT_COUNTED = frozenset({"__init__", "conftest"})
TYPED_ONLY = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})
NAMED_OFTEN = frozenset({"__init__", "__main__"})


def python_files(root: Path, tops: tuple[str, ...]) -> Iterator[Path]:
    for top in tops:
        yield from sorted((root / top).rglob("*.py"))


def full_folders(root: Path, tops: tuple[str, ...]) -> dict[str, int]:
    """Folders with more modules than one can take in, with their number."""
    counts: dict[str, int] = defaultdict(int)
    for path in python_files(root, tops):
        counts[str(path.parent.relative_to(root))] += path.stem not in NOT_COUNTED
    return {folder: count for folder, count in counts.items() if count > MOST_MODULES}


def shared_names(root: Path, tops: tuple[str, ...]) -> list[list[str]]:
    """Modules of one top folder that have the same name."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in python_files(root, tops):
        place = path.relative_to(root)
        if path.stem not in NAMED_OFTEN:
            found[place.parts[0], path.stem].append(str(place))
    return [places for places in found.values() if len(places) > 1]


def import_graph(root: Path, tops: tuple[str, ...]) -> dict[str, set[str]]:
    """The modules that each module imports, in functions too, but not those for the type checker."""
    modules = {dotted(path.relative_to(root)): path for path in python_files(root, tops)}
    graph = {}
    for name, path in modules.items():
        names = imported(ast.parse(path.read_text("utf-8")))
        # `from a import b` is about the module a.b where there is one, else about a
        found = {full if full in modules else full.rpartition(".")[0] for full in names} | (
            names & set(modules)
        )
        graph[name] = (found & set(modules)) - {name}
    return graph


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports; those from a module are joined to its name."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.If) and ast.unparse(node.test) in TYPED_ONLY:
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module."""
    reach = {name: reachable(graph, name) for name in graph}
    found = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph}
    return sorted(list(circle) for circle in found if circle)


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """What a module imports, and what that imports, and so on; itself only if a circle leads back to it."""
    found: set[str] = set()
    waiting = set(graph[start])
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= graph[name] - found
    return found


def missing_places(root: Path, document: str, tops: tuple[str, ...]) -> list[str]:
    """Folders and files that a document names in backticks and that are not there; NAME.py stands for any."""
    named = re.findall(rf"`((?:{'|'.join(tops)})/[\w./-]*)`", (root / document).read_text("utf-8"))
    places = [re.sub(r"(test_)?[A-Z_]+\.\w+$", "", name) for name in named]
    return [name for name, place in zip(named, places, strict=True) if not (root / place).exists()]


def words_left_out(root: Path, contract: Mapping[str, Any]) -> set[str]:
    """Modules at the root of edgestill/ that an import contract does not name."""
    modules = {dotted(path.relative_to(root)) for path in (root / "edgestill").glob("*.py")}
    named = set(re.findall(r"[\w.]+", " ".join(contract.get("layers") or contract["source_modules"])))
    return modules - named - {"edgestill", "edgestill.__main__"}


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    found: list[dict[str, Any]] = settings["contracts"]
    return found


def test_no_folder_has_too_many_modules() -> None:
    assert full_folders(ROOT, (*SOURCES, "tests")) == {}


def test_no_two_modules_of_a_top_folder_have_one_name() -> None:
    assert shared_names(ROOT, SOURCES) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = import_graph(ROOT, SOURCES)
    assert "edgestill.errors" in graph["runtime.detector"]  # that the graph is read at all
    assert circles(graph) == []


def test_contributing_names_places_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert all(f"`{top}/" in text for top in SOURCES)
    assert missing_places(ROOT, "CONTRIBUTING.md", (*SOURCES, "tests", "docs")) == []


@pytest.mark.parametrize("contract", contracts(), ids=lambda contract: contract["type"])
def test_both_import_contracts_name_every_module_that_all_floors_share(contract: Mapping[str, Any]) -> None:
    assert words_left_out(ROOT, contract) == set()


# --- the checks find what they are for


def plant(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")


def test_a_full_folder_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {f"a/b/m{i}.py": "" for i in range(20)} | {"a/b/__init__.py": "", "a/b/conftest.py": ""})
    assert full_folders(tmp_path, ("a",)) == {}
    plant(tmp_path, {"a/b/one_more.py": "", "a/b/below/another.py": ""})
    assert full_folders(tmp_path, ("a",)) == {"a/b": 21}


def test_a_shared_name_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {"a/x/__init__.py": "", "a/__init__.py": "", "a/x/plots.py": "", "b/plots.py": ""})
    assert shared_names(tmp_path, ("a", "b")) == []
    plant(tmp_path, {"a/y/plots.py": ""})
    assert shared_names(tmp_path, ("a", "b")) == [["a/x/plots.py", "a/y/plots.py"]]


@pytest.mark.parametrize(
    "back",
    [
        "from a import x",
        "import a.x",
        "from a.x import thing as other",
        "def f():\n    from a.x import thing",
        "if True:\n    import a.x as module",
        "try:\n    import a.x\nexcept ImportError:\n    pass",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import a.x",
        "if not TYPE_CHECKING:\n    import a.x",
    ],
)
def test_a_circle_is_found_however_it_is_written(back: str, tmp_path: Path) -> None:
    plant(
        tmp_path, {"a/__init__.py": "", "a/x.py": "import a.y", "a/y.py": "from b import z", "b/z.py": back}
    )
    assert circles(import_graph(tmp_path, ("a", "b"))) == [["a.x", "a.y", "b.z"]]


def test_a_package_can_be_part_of_a_circle(tmp_path: Path) -> None:
    plant(tmp_path, {"a/__init__.py": "from a.x import thing", "a/x.py": "from a import name"})
    assert circles(import_graph(tmp_path, ("a",))) == [["a", "a.x"]]


def test_what_the_type_checker_alone_imports_is_no_circle(tmp_path: Path) -> None:
    only_typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import x\n"
    plant(tmp_path, {"a/__init__.py": "", "a/x.py": "import a.y", "a/y.py": only_typed})
    assert circles(import_graph(tmp_path, ("a",))) == []


def test_two_circles_are_two(tmp_path: Path) -> None:
    pairs = {"a/p.py": "import a.q", "a/q.py": "import a.p", "a/r.py": "import a.s", "a/s.py": "import a.r"}
    plant(tmp_path, {"a/__init__.py": "", "a/top.py": "import a.p, a.r", **pairs})
    assert circles(import_graph(tmp_path, ("a",))) == [["a.p", "a.q"], ["a.r", "a.s"]]


def test_a_place_that_a_document_invents_is_found(tmp_path: Path) -> None:
    text = "Put it in `a/new/`, see `a/x.py`, `a/old/NAME.py` and `a/old/gone.py`; `other/place` is not ours."
    plant(tmp_path, {"doc.md": text, "a/x.py": "", "a/old/y.py": ""})
    assert missing_places(tmp_path, "doc.md", ("a",)) == ["a/new/", "a/old/gone.py"]


def test_a_module_that_a_contract_forgets_is_found(tmp_path: Path) -> None:
    plant(
        tmp_path, {f"edgestill/{name}.py": "" for name in ("__init__", "__main__", "errors", "spec", "new")}
    )
    assert words_left_out(tmp_path, {"layers": ["edgestill.spec | edgestill.news", "edgestill.errors"]}) == {
        "edgestill.new"
    }
    assert words_left_out(tmp_path, {"source_modules": ["edgestill.errors", "edgestill.new"]}) == {
        "edgestill.spec"
    }
