"""What runs on the device before anything is installed: the check, the installation, what is left behind."""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgestill
from export.bundle import on_device
from export.bundle.contents import INSTALLED, RUN_VERBS, SIGNATURE, SUMS
from export.bundle.device_platform import platform_of
from export.bundle.pack import ModelSource, write_bundle
from export.bundle.reading import unpack_bundle
from tests.export.bundle.conftest import fill

HERE = "{}.{}".format(*sys.version_info[:2])
needs_sh = pytest.mark.skipif(not shutil.which("sh"), reason="there is no POSIX shell")


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    """An unpacked bundle."""
    unpack_bundle(bundle, tmp_path / "my bundle")
    return tmp_path / "my bundle"


def run(capsys: pytest.CaptureFixture[str], verb: str, folder: Path) -> tuple[int, Any, str]:
    code = on_device.main([verb], folder)
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_it_needs_the_standard_library_only_and_names_the_files_as_the_bundle_does() -> None:
    tree = ast.parse(Path(on_device.__file__).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names | {"__future__"}
    assert (on_device.SUMS, on_device.SIGNATURE) == (SUMS, SIGNATURE)
    assert set(on_device.VERBS) < set(RUN_VERBS)


def test_a_whole_folder_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result, err = run(capsys, "check", folder)
    assert (code, err) == (0, "")
    assert result["ok"]
    assert result["files"] > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "run.sh").write_text("x"), "run.sh is not the file"),
        (lambda f: (f / "models/tiny/tiny.onnx").unlink(), "tiny.onnx is missing"),
        (lambda f: (f / "models/tiny/extra.py").touch(), "models/tiny/extra.py is not listed"),
        (lambda f: (f / "wheels/numpy.py").symlink_to("/etc/passwd"), "wheels/numpy.py is not listed"),
        (lambda f: (f / "run.sh").replace(f / "r") and (f / "run.sh").symlink_to(f / "r"), "no regular file"),
        (lambda f: (f / SUMS).unlink(), "it is no bundle"),
        (lambda f: (f / SUMS).write_bytes(b"\xff"), "not ASCII"),
        (lambda f: (f / SUMS).write_text("0" * 64 + "  ../x\n"), "has a line"),
        (lambda f: (f / SUMS).write_text("0" * 64 + "  /etc/passwd\n"), "has a line"),
        (lambda f: (f / SUMS).write_text("0" * 64 + "  installed/venv/x\n"), "has a line"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "install"])
def test_a_folder_that_was_changed_is_refused_in_two_lines(
    verb: str, change: Any, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder)
    code, result, err = run(capsys, verb, folder)
    assert (code, result) == (4, None)
    assert words in err
    assert err.startswith(f"run.sh {verb}: ")
    assert "\n  hint: unpack the bundle again" in err
    assert not (folder / INSTALLED).exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a//b", "."])
def test_uninstall_removes_nothing_that_a_changed_list_names(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "x").touch()
    (folder / SUMS).write_text(f"{'0' * 64}  {name}\n")
    assert run(capsys, "uninstall", folder)[0] == 4
    assert (folder.parent / "x").exists()
    assert (folder / "run.sh").exists()


def test_uninstall_leaves_the_files_of_others_and_names_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / INSTALLED / "venv").mkdir(parents=True)
    (folder / "results").mkdir()
    (folder / "results" / "bench.json").touch()
    code, result, _ = run(capsys, "uninstall", folder)
    assert (code, result["left"]) == (0, ["results/bench.json"])
    assert [p.name for p in folder.iterdir()] == ["results"]
    shutil.rmtree(folder / "results")


def test_another_machine_and_another_python_are_refused_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    code, _, err = run(capsys, "install", folder)
    assert (code, "this bundle is for x86_64 (x86_64), this machine is riscv64" in err) == (5, True)
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    code, _, err = run(capsys, "install", folder)
    assert code == 5
    assert "Python 3.10, 3.12, this is Python 3.9" in err
    assert "--python 3.9" in err
    assert not (folder / INSTALLED).exists()


def test_unknown_words_are_usage_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert on_device.main(["install", "--now"], folder) == 2
    assert on_device.main([], folder) == 2
    assert "one of check, install, uninstall" in capsys.readouterr().err


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_installation_that_fails_leaves_no_environment(
    error: BaseException, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        (folder / INSTALLED / "venv").mkdir()
        raise error

    monkeypatch.setattr(on_device, "_wheels", lambda index: ["pip.whl"])
    monkeypatch.setattr(on_device, "_make_environment", fail)
    code, _, err = run(capsys, "install", folder)
    assert code == (5 if isinstance(error, OSError) else 130)
    assert "repeat the command" in err
    assert list((folder / INSTALLED).iterdir()) == []


# --- run.sh


def sh(folder: Path, *words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), **environment}
    command = ["sh", str(folder / "run.sh"), *words]
    return subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@needs_sh
def test_run_sh_knows_its_verbs_and_says_what_is_missing(folder: Path, home: Path) -> None:
    shown = sh(folder, "--help", home=home)
    assert shown.returncode == 0
    assert all(f"\n  {verb} " in shown.stdout for verb in RUN_VERBS)
    for words in ((), ("other",)):
        failed = sh(folder, *words, home=home)
        assert (failed.returncode, failed.stdout) == (2, "")
    for verb in ("verify", "build", "edgestill"):
        failed = sh(folder, verb, home=home)
        assert failed.returncode == 5
        assert failed.stderr.startswith(f"run.sh {verb}: this bundle is not installed\n  hint: sh ")


@needs_sh
def test_without_a_fitting_python_it_says_what_to_do(folder: Path, home: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # as one that is too old would
    (tools / "python3").chmod(0o755)
    failed = sh(folder, "install", home=home, PATH=str(tools), PYTHON="/none/python")
    assert failed.returncode == 5
    assert failed.stderr.startswith("run.sh install: no Python that this bundle has packages for")
    assert failed.stderr.count("\n") == 2


@pytest.fixture
def for_here(tiny_model: Path, images: list[np.ndarray], tmp_path: Path) -> Path:
    """An unpacked bundle for this Python and architecture, with pip's own wheel and packages of one line."""
    import ensurepip

    bundled = sorted(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    if not bundled or platform.machine() not in {"x86_64", "aarch64"}:
        pytest.skip("this Python has no wheel of pip, or there is no such device")
    wheels = fill(tmp_path / "wheels", platform.machine(), [HERE])
    (wheels / "pip-23.0-py3-none-any.whl").unlink()
    shutil.copy(bundled[0], wheels)
    device = platform_of(platform.machine(), [HERE])
    source = ModelSource(name="tiny", path=tiny_model)
    write_bundle([source], tmp_path / "x.tar", device=device, wheels=wheels, images_bgr=images)
    unpack_bundle(tmp_path / "x.tar", tmp_path / "my bundle")
    return tmp_path / "my bundle"


@needs_sh
def test_it_installs_without_a_network_into_its_folder_and_leaves_nothing(for_here: Path, home: Path) -> None:
    hostile = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_TARGET": str(home), "PYTHONPATH": str(home)}
    done = sh(for_here, "install", home=home, PYTHON=sys.executable, **hostile)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["python"] == platform.python_version()
    assert result["models"] == ["tiny"]
    assert sorted(p.name for p in (for_here / INSTALLED).iterdir()) == ["complete.json", "venv"]
    code = "import edgestill, numpy, cv2; print(edgestill.__version__, edgestill.__file__)"
    python = for_here / INSTALLED / "venv" / "bin" / "python"
    shown = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.startswith(f"{edgestill.__version__} {for_here}")
    assert list(home.iterdir()) == []

    gone = sh(for_here, "uninstall", home=home, PYTHON=sys.executable)
    assert (gone.returncode, json.loads(gone.stdout)["left"]) == (0, [])
    assert not for_here.exists()
    assert list(home.iterdir()) == []


@pytest.mark.slow
@needs_sh
def test_real_wheels_are_installed_and_give_parity(tmp_path: Path, home: Path) -> None:
    """``EDGESTILL_WHEELS`` names a folder that was filled for this Python, see docs/how-to/bundle.md."""
    wheels = os.environ.get("EDGESTILL_WHEELS")
    if not wheels:
        pytest.skip("EDGESTILL_WHEELS names no folder of wheels, see docs/how-to/bundle.md")
    from edgestill.cli.main import call

    out = tmp_path / "student.tar"
    words = ["--python", HERE, "--wheels", wheels, "--for", platform.machine()]
    made = call(["bundle", "student", "--out", str(out), *words])
    unpack_bundle(out, tmp_path / "student")
    assert call(["bundle", "--check", str(out)])["content_sha256"] == made["content_sha256"]
    done = sh(tmp_path / "student", "install", home=home, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    verified = sh(tmp_path / "student", "verify", home=home)
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["models"][0]["matched"] == made["models"][0]["detections"]
    version = sh(tmp_path / "student", "edgestill", "--version", home=home)
    assert version.stdout.strip() == edgestill.__version__
    assert sh(tmp_path / "student", "uninstall", home=home, PYTHON=sys.executable).returncode == 0
    assert not (tmp_path / "student").exists()
    assert list(home.iterdir()) == []
