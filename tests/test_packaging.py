"""What an installation holds and needs."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FLOORS = ("edgestill", "devices", "runtime", "export", "distill", "benchmarks")


def test_the_base_install_is_torch_free() -> None:
    names = " ".join(PYPROJECT["project"]["dependencies"])
    assert [word for word in ("torch", "ultralytics", "openvino", "onnx") if word in names] == []


@pytest.mark.parametrize("extra", ["onnx", "openvino", "eval", "report", "web", "export"])
def test_what_runs_on_a_device_brings_no_agpl(extra: str) -> None:
    wanted = " ".join(PYPROJECT["project"]["optional-dependencies"][extra])
    assert "ultralytics" not in wanted
    assert "edgestill[train" not in wanted


def test_every_data_file_of_the_packages_goes_into_the_wheel() -> None:
    globs = PYPROJECT["tool"]["setuptools"]["package-data"]["*"]
    command = ["git", "ls-files", *FLOORS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    data = {ROOT / line for line in listed.stdout.splitlines() if not line.endswith(".py")}
    packages = {path.parent for floor in FLOORS for path in (ROOT / floor).rglob("__init__.py")}
    shipped = {file for package in packages for glob in globs for file in package.glob(glob)}
    assert data
    assert sorted(map(str, data - shipped)) == []


def test_each_python_has_its_pins() -> None:
    for tag in ("py310", "py311", "py312"):
        pins = (ROOT / "constraints" / f"{tag}.txt").read_text("utf-8").splitlines()
        assert "torch==2.13.0" in pins
        assert all(pin.count("==") == 1 for pin in pins)
