"""The environments of other programs, made by a stand-in for the interpreter: no test installs anything."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import environments
from benchmarks.peers.environments import ENVIRONMENTS, describe, main, make, program_of
from edgestill.errors import DeviceError

#: `python -m venv DIR` makes DIR/bin with itself as python, and programs; `-m pip install` notes the call.
PYTHON = """#!{python}
import os, shutil, sys
from pathlib import Path
here, words = Path(__file__), sys.argv[1:]
if words[:2] == ["-m", "venv"]:
    assert len(words) == 3 and not Path(words[2]).exists(), words
    place = Path(words[2], "bin")
    place.mkdir(parents=True)
    for name in ("python", "benchmark_app", "yolo"):
        shutil.copy(here, place / name)
elif words[:2] == ["-m", "pip"]:
    assert words[2:5] == ["install", "--quiet", "--requirement"], words
    assert len(words) == 6 and Path(words[5]).is_file(), words
    if os.environ.get("PIP_FAILS"):
        sys.exit("ERROR: No matching distribution found for nncf==3.4.0")
    with Path(os.environ["PIP_CALLS"]).open("a") as calls:
        print(words[5], file=calls)
else:
    assert words[:2] == ["-I", "-c"] and len(words) == 3, words
    if "torchvision" in words[2]:
        fits = Path(os.environ["PIP_CALLS"]).with_name("fits").exists()
        sys.exit(0 if fits else "RuntimeError: operator torchvision::nms does not exist")
    print('{{"packages": [["numpy", "2.2.6", "BSD-3-Clause"]], "mib": 70}}')
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with a line for each installation."""
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    monkeypatch.setattr(environments.sys, "executable", str(python))
    monkeypatch.setenv("PIP_CALLS", str(tmp_path / "calls"))
    (tmp_path / "fits").touch()
    return tmp_path / "calls"


def test_each_is_installed_once_from_its_own_pins(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "peers"
    assert main(["--folder", str(folder)]) == 0
    said = capsys.readouterr()
    assert [Path(line).stem for line in calls.read_text().splitlines()] == [*ENVIRONMENTS]
    assert "AGPL-3.0" in said.err
    assert "MiB on disk" in said.out
    assert main(["--folder", str(folder)]) == 0
    assert len(calls.read_text().splitlines()) == len(ENVIRONMENTS)
    assert capsys.readouterr().out.count("there already") == len(ENVIRONMENTS)
    assert program_of("openvino", "benchmark_app", folder).is_file()


def test_an_installation_that_failed_is_not_taken_for_complete(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_FAILS", "1")
    assert main(["--folder", str(tmp_path / "peers")]) == 5
    assert "No matching distribution found for nncf==3.4.0" in capsys.readouterr().err
    with pytest.raises(DeviceError, match="is missing or of other versions") as caught:
        program_of("openvino", "benchmark_app", tmp_path / "peers")
    assert caught.value.hint == "make peers"
    monkeypatch.delenv("PIP_FAILS")
    assert make("openvino", tmp_path / "peers")
    assert program_of("openvino", "benchmark_app", tmp_path / "peers").is_file()


def test_other_pins_or_a_removed_program_are_installed_again(calls: Path, tmp_path: Path) -> None:
    assert make("openvino", tmp_path)
    (tmp_path / "openvino" / "complete.txt").write_text("of another version")
    with pytest.raises(DeviceError, match="of other versions"):
        program_of("openvino", "python", tmp_path)
    assert make("openvino", tmp_path)
    (tmp_path / "openvino" / "bin" / "benchmark_app").unlink()
    assert make("openvino", tmp_path)
    assert not make("openvino", tmp_path)
    assert len(calls.read_text().splitlines()) == 3


def test_packages_that_do_not_fit_together_are_told(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fits").unlink()
    assert main(["--folder", str(tmp_path / "peers")]) == 5
    assert "python ended with 1: RuntimeError: operator torchvision::nms" in capsys.readouterr().err
    assert not (tmp_path / "peers" / "ultralytics" / "complete.txt").exists()


def test_what_is_installed_is_told_with_versions_licences_and_size(tmp_path: Path) -> None:
    place = tmp_path / "onnxruntime"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    for name, lines in {
        "a": "License-Expression: MIT",
        "b": "License: Apache License 2.0",
        "c": "Classifier: License :: OSI Approved :: GNU Affero General Public License v3",
        "d": "Summary: none stated",
    }.items():
        (packages / f"{name}-1.0.dist-info").mkdir()
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{lines}\n"
        (packages / f"{name}-1.0.dist-info" / "METADATA").write_text(text)
    (packages / "large").write_bytes(bytes(3 << 20))
    line = describe("onnxruntime", tmp_path)
    assert "a 1.0 (MIT), b 1.0 (Apache License 2.0), c 1.0 (GNU Affero General Public" in line
    assert "d 1.0 (not stated)" in line
    assert "3 MiB on disk, 4 packages" in line


def test_every_package_is_pinned_to_one_version() -> None:
    for environment in ENVIRONMENTS.values():
        assert environment.pins
        assert all(pin.count("==") == 1 for pin in environment.pins)
