"""What is installed is read from metadata, what is missing gets its command, and nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from devices.software import BASE, Extra, read_extras, shadowed, version, versions
from edgestill.installation import pip_command

NUMPY = metadata.version("numpy")


def part(*requirements: str) -> Extra:
    (extra,) = read_extras(requirements)
    return extra


def test_an_installed_library_has_its_version() -> None:
    assert part("numpy>=1.23") == Extra(name=BASE, installed={"numpy": NUMPY}, missing=(), outdated=())


def test_a_missing_library_gets_the_command_of_its_extra() -> None:
    extra = part('no-such-library>=1; extra == "onnx"')
    assert (extra.ready, extra.missing) == (False, ("no-such-library",))
    assert extra.command == pip_command("onnx")


def test_an_old_library_is_named_with_both_versions() -> None:
    assert part("numpy>=999.1").outdated == (f"numpy {NUMPY}, needs 999.1",)


def test_a_library_for_older_pythons_only_is_not_missed() -> None:
    (extra,) = read_extras(["numpy", 'no-such-library; python_version < "3.0"'])
    assert extra.ready


def test_an_extra_that_includes_others_counts_theirs() -> None:
    lines = ['numpy; extra == "a"', 'no-such-library; extra == "b"', 'edgestill[a,b]; extra == "all"']
    extra = read_extras(lines)[-1]
    assert (extra.name, list(extra.installed), extra.missing) == ("all", ["numpy"], ("no-such-library",))


def test_a_local_build_is_not_older_than_its_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.13.0+cpu")
    assert part("torch>=2.13.0").ready


def test_a_module_without_metadata_is_there_with_unknown_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemlib.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert version("systemlib") == "unknown"


def test_versions_leave_out_what_is_not_installed() -> None:
    assert versions(["numpy", "no-such-library"]) == {"numpy": NUMPY}


def test_our_import_names_lead_to_our_folders() -> None:
    import edgestill

    assert shadowed(Path(edgestill.__file__).parent.parent) == {}


def test_a_name_that_leads_elsewhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plainname.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert shadowed(tmp_path / "home", ["plainname"]) == {"plainname": str(tmp_path / "plainname.py")}


def test_looking_imports_none_of_the_libraries() -> None:
    code = "import sys; from devices.software import read_extras; read_extras(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "onnx", "onnxruntime", "openvino", "cv2"} & set(done.stdout.split())
