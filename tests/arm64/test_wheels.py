"""pip finds ARM64 wheels for the systems that the documents name, which install what is tested here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.arm64.board import INSTALLED, OWN_VENV, SYSTEM_VENV
from tests.arm64.wheels import ROOT, build_project_wheel, resolve_wheels


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_project_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize(
    ("python", "glibc", "extras", "others"),
    [
        pytest.param("3.10", 27, "onnx,opencv,web", [], id="JetPack 4, Python of its own"),
        pytest.param("3.10", 31, "onnx,opencv,web,video", [], id="JetPack 5, Python of its own"),
        pytest.param("3.10", 35, "onnx,web,video", ["numpy<2"], id="JetPack 6"),
        pytest.param("3.12", 39, "onnx,web,video", ["numpy<2"], id="JetPack 7"),
        pytest.param("3.11", 36, "onnx,opencv,web,video,openvino", [], id="Raspberry Pi OS"),
    ],
)
def test_pip_finds_wheels(python: str, glibc: int, extras: str, others: list[str], wheel: Path) -> None:
    found = resolve_wheels([f"{wheel}[{extras}]", *others], python=python, glibc=glibc)
    assert {"edgestill", "numpy", "onnxruntime"} <= set(found)
    assert ("opencv-python" in found) is ("opencv" in extras)
    assert found["numpy"].startswith("1.") is bool(others)


@pytest.mark.parametrize(
    ("page", "venv"),
    [("jetson-orin", SYSTEM_VENV), ("jetson-thor", SYSTEM_VENV), ("raspberry-pi-5", OWN_VENV)],
)
def test_the_board_is_installed_as_the_page_says(page: str, venv: str) -> None:
    text = (ROOT / "docs" / "devices" / f"{page}.md").read_text("utf-8")
    words = re.findall(r"^\$ \.venv/bin/pip install (.*?)(?: +#.*)?$", text, re.MULTILINE)[0]
    extras, *others = INSTALLED[venv]
    assert words == " ".join([f"'.{extras}'", *(f"'{word}'" for word in others)])
    assert ("--system-site-packages" in text) is (venv == SYSTEM_VENV)
