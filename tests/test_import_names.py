"""Our top-level names are common words; each must be ours, whatever else is installed or lies about."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")


def origin(name: str, cwd: Path) -> Path:
    """Where a fresh interpreter that starts in ``cwd`` as the console script does finds a name."""
    code = f"from importlib.util import find_spec; print(find_spec({name!r}).origin)"
    # -P leaves the working folder off the path, as a console script does; Python 3.10 has no -P
    flags = ["-P"] if sys.version_info >= (3, 11) else ["-I"]
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_ours(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_that_name_where_the_command_starts_does_not_matter(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError")
    assert origin(name, tmp_path) == ROOT / name / "__init__.py"


def test_every_top_level_package_is_in_this_list() -> None:
    packages = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert packages == set(NAMES)
