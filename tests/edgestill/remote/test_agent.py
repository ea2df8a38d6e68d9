"""The agent as it is sent: what it needs, how it answers, and what a login there may print before it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgestill.errors import DeviceError, UsageError
from edgestill.remote import device as client
from edgestill.remote import far
from edgestill.remote.device import Device
from edgestill.remote.far import agent, facts, places, steps, uploads
from edgestill.remote.loop import Request, bench, deploy
from edgestill.remote.transport import COMMAND, MODULES, PACKAGE, agent_bytes
from export.bundle import contents, device_platform, on_device
from tests.edgestill.remote.conftest import Folder

FILES = sorted(path for path in Path(far.__file__).parent.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_python_3_6_and_needs_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"), feature_version=(3, 6))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    own = {name for name in names if name.startswith(PACKAGE)}
    assert {name.partition(".")[0] for name in names - own} <= sys.stdlib_module_names
    earlier = MODULES[: MODULES.index(path.stem)]
    assert own <= {f"{PACKAGE}.{name}" for name in earlier}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_annotations_are_text_where_python_3_6_would_evaluate_them(path: Path) -> None:
    """``dict[str, str]`` and ``X | None`` raise there; inside functions, annotations are not evaluated."""
    tree = ast.parse(path.read_text("utf-8"))
    found = [node.annotation for node in [*tree.body] if isinstance(node, ast.AnnAssign)]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            found += [one.annotation for one in arguments if one and one.annotation]
            found += [node.returns] if node.returns else []
    plain = (ast.Name, ast.Attribute, ast.Constant)
    assert [ast.unparse(one) for one in found if not isinstance(one, plain)] == []


def test_every_module_is_sent() -> None:
    assert sorted(MODULES) == [path.stem for path in FILES]
    assert agent_bytes().startswith(b"%d\n" % (len(agent_bytes().partition(b"\n")[2])))


def test_it_uses_the_names_of_the_bundle_and_of_the_client() -> None:
    assert agent.MARK.encode() == client.MARK
    assert (uploads.SUMS, uploads.SIGNATURE, uploads.RUNNER) == (
        contents.SUMS,
        contents.SIGNATURE,
        contents.RUNNER,
    )
    assert (steps.INSTALLED, steps.ENGINES) == (contents.INSTALLED, contents.ENGINES)
    assert facts.MACHINES == on_device.MACHINES
    assert import_module("edgestill.cli.verbs.remote").FOLDER == client.FOLDER
    assert {name.removeprefix("python") for name in facts.PYTHONS} - {"3"} == set(device_platform.PYTHONS)


def test_the_line_that_shells_read_is_a_constant_that_means_the_same_to_all() -> None:
    inner = COMMAND.removeprefix("exec sh -c ")
    assert re.fullmatch(r"'[^'!\\\n]*'", inner)  # csh reads ! and fish reads backslashes within quotes


def test_it_tells_what_the_device_is(device: Device, board: Folder) -> None:
    found = device.ask("facts", python=None)
    assert found["folder"] == str(board.home / ".edgestill-remote")
    assert "{}.{}".format(*sys.version_info[:2]) in found["pythons"]
    assert (found["lock"], found["jobs"], found["bundles"], found["last_job"]) == (None, [], [], None)
    assert list(board.home.iterdir()) == []


def test_what_a_login_prints_is_read_over(device: Device, board: Folder) -> None:
    board.login = "echo welcome; echo '{\"error\": 1}'; printf 'no line end'; "
    assert device.ask("facts", python=None)["free_mb"] > 0


def test_a_device_without_python_is_told(device: Device, board: Folder) -> None:
    tools = board.home / "bin"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    board.path = str(tools)
    with pytest.raises(DeviceError, match="127 no python3"):
        device.ask("facts", python=None)


def test_a_python_that_is_too_old_for_the_agent_says_so(board: Folder) -> None:
    """The loader runs in any Python 3: it is tried with the version that it would find."""
    program = agent_bytes().partition(b"\n")[2].decode()
    old = f"import sys; sys.version_info = (3, 5, 2); exec({program!r})"
    done = subprocess.run([sys.executable, "-I", "-c", old], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Python 3.5 is too old\n")


def test_a_path_that_is_refused_there_is_two_lines(board: Folder) -> None:
    (board.home / "file").touch()
    with pytest.raises(DeviceError, match=r"Not a directory|File exists"):
        Device(transport=board, owner="a", folder="~/file/x").ask(
            "start", key="", bundle="b", steps=[], verb="x"
        )


def test_without_a_bundle_there_is_nothing_to_start(device: Device) -> None:
    with pytest.raises(UsageError, match="no bundle of yours is deployed there"):
        device.ask("start", key="", bundle=None, steps=[], verb="bench")


@given(st.one_of(st.text(max_size=20), st.from_regex(r"\A[./a\0]{0,8}\Z")))
def test_no_name_of_a_file_leads_out_of_its_folder(name: str) -> None:
    try:
        path = places.inner(name)
    except ValueError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert path.as_posix() == name


def old_pythons() -> list[Path]:
    """The Pythons 3.6 to 3.9 of this machine: on the path, or of pyenv."""
    names = [f"python3.{minor}" for minor in range(6, 10)]
    found = [Path(path) for name in names if (path := shutil.which(name))]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    own = [path for name in names for path in sorted(root.glob(f"versions/*/bin/{name}"))]
    return own or found


@pytest.mark.parametrize("version", ["3.6", "3.9"])
def test_it_runs_in_a_python_that_is_too_old_for_edgestill_and_says_so(
    version: str, device: Device, board: Folder, bundle: Path
) -> None:
    python = next((path for path in old_pythons() if path.name == f"python{version}"), None)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    tools = board.home.parent / "bin"
    tools.mkdir()
    for name, path in {
        "python3": python,
        "sh": Path("/bin/sh"),
        "sleep": Path(shutil.which("sleep") or ""),
    }.items():
        (tools / name).symlink_to(path)
    board.path = str(tools)
    found = device.ask("facts", python=None)
    assert list(found["pythons"]) == [version]
    with pytest.raises(DeviceError, match=f"me@board has Python {version}"):
        deploy(device, Request(bundle=bundle))
    assert list(board.home.iterdir()) == []
    # With a newer one that is not on the path, the old one still runs the agent.
    board.path = f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin"
    done = bench(device, Request(bundle=bundle, python=sys.executable, to=board.home.parent / "got"))
    assert sorted(done["steps"]) == ["bench", "install", "verify"]
    assert device.ask("clean")["removed"]
