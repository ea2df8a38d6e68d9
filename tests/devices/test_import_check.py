"""Libraries are imported in processes of their own: errors, crashes and hangs are reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import import_check
from devices.import_check import check_imports, try_import
from devices.software import Extra


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a library ``oddlib``."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "oddlib.py"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", ""),
        ("import os; os.kill(os.getpid(), 11)", "importing it ends in SIGSEGV"),
        ("import os; os.kill(os.getpid(), 4)", "importing it ends in SIGILL"),
        ("import os; os._exit(3)", "importing it ends with exit status 3"),
        ("raise ImportError('libGL.so.1: cannot open')", "ImportError: libGL.so.1: cannot open"),
        ("import sys; sys.exit('needs CUDA')", "needs CUDA"),
        ("print('a banner')", ""),
        (r"import os; os.write(2, b'\xff\n'); raise RuntimeError('x')", "RuntimeError: x"),
    ],
)
def test_the_reason_is_the_librarys(library: Path, source: str, reason: str) -> None:
    library.write_text(source)
    assert try_import("oddlib") == ("", reason)


def test_an_import_that_hangs_ends(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library.write_text("import subprocess; subprocess.run(['sleep', '60'])")
    monkeypatch.setattr(import_check, "TIMEOUT_S", 0.5)
    assert try_import("oddlib") == ("", "importing it does not end in 0.5 s")


def test_an_extra_is_ready_once_its_libraries_start(library: Path) -> None:
    library.write_text("raise ImportError('half installed')")
    good = Extra(name="good", installed={"json": "1"}, missing=(), outdated=())
    bad = Extra(name="bad", installed={"json": "1", "oddlib": "2"}, missing=(), outdated=())
    checked = check_imports([good, bad])
    assert [extra.ready for extra in checked] == [True, False]
    assert checked[1].broken == {"oddlib": "ImportError: half installed"}
    assert checked[1].command == "pip install --force-reinstall --no-deps oddlib"


def test_the_video_extra_says_whether_it_writes_h264(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for codecs, word in (("{'libx264', 'mpeg4'}", "there"), ("{'mpeg4'}", "missing")):
        folder = library.parent / word / "av"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "codec.py").write_text(f"Codec = None\ncodecs_available = {codecs}\n")
        monkeypatch.syspath_prepend(folder.parent)
        video = Extra(name="video", installed={"av": "12"}, missing=(), outdated=())
        assert check_imports([video])[0].facts == (f"H.264 videos: libx264 is {word}",)


def test_a_pycuda_that_does_not_fit_the_driver_is_broken(library: Path) -> None:
    folder = library.parent / "pycuda"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    assert "ModuleNotFoundError" in try_import("pycuda")[1]
    (folder / "driver.py").write_text("raise ImportError('undefined symbol: cuMemcpyAtoD_v2')")
    assert try_import("pycuda") == ("", "ImportError: undefined symbol: cuMemcpyAtoD_v2")
    (folder / "driver.py").write_text("")
    assert try_import("pycuda") == ("engines call CUDA by pycuda", "")


@pytest.mark.parametrize(
    ("information", "word"),
    [
        ("  Video I/O:\n    GStreamer:                   YES (1.20.3)\n", "YES"),
        ("    GStreamer:                   NO\n", "NO"),
        ("  Video I/O:\n", "unknown"),
    ],
)
def test_opencv_says_which_it_is_and_whether_it_has_gstreamer(
    information: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"__version__ = '4.8.0'\ndef getBuildInformation(): return {information!r}\n"
    (tmp_path / "cv2.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    opencv = Extra(name="opencv", installed={"opencv-python": "unknown"}, missing=(), outdated=())
    (fact,) = check_imports([opencv])[0].facts
    assert fact == f"cv2 4.8.0 from {tmp_path / 'cv2.py'}, GStreamer: {word}"
