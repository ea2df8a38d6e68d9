"""Small wheels without code, and a bundle of a model of one convolution with them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import edgestill
from export.bundle.device_platform import DevicePlatform, platform_of
from export.bundle.pack import ModelSource, write_bundle

MakeWheel = Callable[..., Path]
OWN_NEEDS = (
    "argcomplete>=3",
    "numpy>=1.23",
    "opencv-python>=4.10",
    'tomli>=2; python_version < "3.11"',
    'onnxruntime>=1.18; extra == "onnx"',
    'openvino>=2025; extra == "openvino"',
    'torch>=2; extra == "train"',
)
EXTRAS = ("onnx", "openvino", "web", "train")


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    tag: str = "py3-none-any",
    *,
    needs: Sequence[str] = (),
    extras: Sequence[str] = (),
    python: str | None = None,
    module: str | None = None,
) -> Path:
    """A wheel with metadata, and a module of one line if it has a name."""
    folder.mkdir(parents=True, exist_ok=True)
    base = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {need}" for need in needs]
    path = folder / f"{base}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{base}.dist-info/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{base}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        if module:
            archive.writestr(f"{module}.py", f"__version__ = {version!r}\n")
        archive.writestr(f"{base}.dist-info/RECORD", "")
    return path


def fill(folder: Path, machine: str, pythons: Sequence[str] = ("3.10", "3.12")) -> Path:
    """A folder with everything that a device needs, and more."""
    own = edgestill.__version__
    make_wheel(folder, "edgestill", own, needs=OWN_NEEDS, extras=EXTRAS, module="edgestill")
    make_wheel(folder, "edgestill", "0.0.1", needs=OWN_NEEDS, extras=EXTRAS)
    make_wheel(folder, "pip", "23.0")
    make_wheel(folder, "argcomplete", "3.1")
    make_wheel(folder, "tomli", "2.0")
    make_wheel(folder, "torch", "2.0")
    make_wheel(folder, "opencv-python", "4.10", f"cp37-abi3-manylinux_2_17_{machine}", module="cv2")
    for python in pythons:
        cp = f"cp{python.replace('.', '')}"
        for name in ("onnxruntime", "openvino"):
            make_wheel(folder, name, "2026.1", f"{cp}-{cp}-manylinux_2_28_{machine}")
        make_wheel(folder, "numpy", "1.26.4", f"{cp}-{cp}-manylinux_2_17_{machine}", module="numpy")
        make_wheel(folder, "numpy", "2.4.0", f"{cp}-{cp}-manylinux_2_28_{machine}", module="numpy")
    return folder


@pytest.fixture(scope="session")
def x86() -> DevicePlatform:
    return platform_of("x86_64")


@pytest.fixture(scope="session")
def x86_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("wheels"), "x86_64")


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    return [np.full((48, 64, 3), 30 * n, np.uint8) for n in range(6)]


@pytest.fixture(scope="session")
def bundle(
    tiny_model: Path,
    x86: DevicePlatform,
    x86_wheels: Path,
    images: list[np.ndarray],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """``tiny.tar``: without compression, so that its bytes are at known places."""
    out = tmp_path_factory.mktemp("bundle") / "tiny.tar"
    source = ModelSource(name="tiny", path=tiny_model)
    write_bundle([source], out, device=x86, wheels=x86_wheels, images_bgr=images)
    return out
