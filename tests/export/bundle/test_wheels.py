"""Which wheels of a folder a device takes, and the commands that add what is missing."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

import pytest

import edgestill
from devices.profile import load_profiles
from edgestill.errors import ArtifactError, UsageError
from export.bundle.device_platform import DevicePlatform, platform_of
from export.bundle.wheels import choose_wheels, fill_commands, own_wheel_doubts
from tests.export.bundle.conftest import fill, make_wheel


def names(paths: tuple[Path, ...]) -> list[str]:
    return ["-".join(path.name.split("-")[:2]) for path in paths]


def test_a_pc_gets_both_backends_opencv_and_the_newest_numpy(x86: DevicePlatform, x86_wheels: Path) -> None:
    chosen = choose_wheels(x86_wheels, x86)
    own = f"edgestill-{edgestill.__version__}"
    rest = ["numpy-2.4.0", "onnxruntime-2026.1", "opencv_python-4.10", "openvino-2026.1"]
    assert names(chosen.by_python["3.12"]) == ["argcomplete-3.1", own, *rest]
    assert names(chosen.by_python["3.10"]) == ["argcomplete-3.1", own, *rest, "tomli-2.0"]
    assert all("cp310" in p.name for p in chosen.by_python["3.10"] if p.name.startswith("numpy"))
    assert chosen.pip.name.startswith("pip-23.0")
    assert "torch-2.0-py3-none-any.whl" not in chosen.files()


def test_a_jetson_gets_no_opencv_and_a_numpy_that_its_own_opencv_takes(tmp_path: Path) -> None:
    chosen = choose_wheels(fill(tmp_path, "aarch64"), platform_of("jetson-orin-nano", ["3.10"]))
    found = names(chosen.by_python["3.10"])
    assert "numpy-1.26.4" in found
    assert "onnxruntime-2026.1" in found
    assert not [name for name in found if name.startswith(("opencv", "openvino"))]


def test_an_older_wheel_is_taken_where_the_newest_needs_what_the_device_cannot_have(tmp_path: Path) -> None:
    folder = fill(tmp_path, "aarch64")
    for version, need in (("1.26", "numpy>=1.20"), ("1.27", "numpy>=2")):
        make_wheel(folder, "onnxruntime", version, "py3-none-any", needs=["ml-dtypes"])
        make_wheel(folder, "ml_dtypes", version, needs=[need])
    for path in folder.glob("onnxruntime-2026*"):
        path.unlink()
    found = names(choose_wheels(folder, platform_of("jetson-orin-nano", ["3.10"])).by_python["3.10"])
    assert {"numpy-1.26.4", "ml_dtypes-1.26", "onnxruntime-1.27"} < set(found)
    (folder / "ml_dtypes-1.26-py3-none-any.whl").unlink()
    with pytest.raises(UsageError, match=r"lacks wheels for aarch64: numpy<2,>=1\.23,>=2 "):
        choose_wheels(folder, platform_of("jetson-orin-nano", ["3.10"]))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_of_another_architecture_are_lacking(machine: str, x86_wheels: Path, tmp_path: Path) -> None:
    other = fill(tmp_path, "aarch64") if machine == "x86_64" else x86_wheels
    with pytest.raises(UsageError, match=f"lacks wheels for {machine}: .*numpy.*Python 3.10.*Python 3.12"):
        choose_wheels(other, platform_of(machine))


def test_the_hint_names_exactly_what_is_lacking(tmp_path: Path) -> None:
    folder = fill(tmp_path / "some wheels", "x86_64")
    for path in folder.glob("openvino-*-cp312-*"):
        path.unlink()
    with pytest.raises(UsageError, match=r"openvino>=2025 \(Python 3.12\)") as caught:
        choose_wheels(folder, platform_of("x86_64"))
    words = shlex.split(caught.value.hint)
    assert words[:4] == ["pip", "download", "-d", str(folder)]
    assert words[-1] == "openvino>=2025"
    assert "3.12" in words
    assert "3.10" not in words
    assert "manylinux2014_x86_64" in words


def test_a_wheel_for_a_newer_system_or_python_is_not_taken(tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    make_wheel(folder, "argcomplete", "4.0", python=">=3.11")
    make_wheel(folder, "numpy", "2.5", "cp310-cp310-manylinux_2_39_x86_64")
    make_wheel(folder, "numpy", "2.6", "cp310-cp310-musllinux_1_2_x86_64")
    make_wheel(folder, "numpy", "2.7", "cp310-cp310-win_amd64")
    chosen = choose_wheels(folder, platform_of("x86_64")).by_python
    assert "argcomplete-3.1" in names(chosen["3.10"])
    assert "argcomplete-4.0" in names(chosen["3.12"])
    assert "numpy-2.4.0" in names(chosen["3.10"])


def test_a_limit_that_is_found_late_changes_an_earlier_choice(tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    make_wheel(folder, "argcomplete", "5.0", needs=["zz-late"])
    make_wheel(folder, "zz-late", needs=["numpy<2"])
    chosen = choose_wheels(folder, platform_of("x86_64", ["3.12"])).by_python["3.12"]
    assert "numpy-1.26.4" in names(chosen)
    assert "numpy-2.4.0" not in names(chosen)


def test_requirements_in_a_circle_and_extras_of_others_are_followed(tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    make_wheel(folder, "argcomplete", "5.0", needs=["aa[fast]"])
    make_wheel(
        folder,
        "aa",
        needs=["argcomplete", 'bb; extra == "fast"', 'cc; extra == "slow"', 'dd; sys_platform == "win32"'],
    )
    make_wheel(folder, "bb")
    chosen = choose_wheels(folder, platform_of("x86_64", ["3.12"])).by_python["3.12"]
    assert {"aa-1.0", "bb-1.0"} <= set(names(chosen))


def test_a_wheel_of_edgestill_with_other_code_of_the_same_version_is_doubted(tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    chosen = choose_wheels(folder, platform_of("x86_64"))
    assert "has another edgestill.py" in own_wheel_doubts(chosen)[0]
    own = next(folder.glob(f"edgestill-{edgestill.__version__}-*"))
    with zipfile.ZipFile(own, "w") as archive:
        archive.write(edgestill.__file__, "edgestill/__init__.py")
    assert own_wheel_doubts(chosen) == ()


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_broken_wheel_is_named(data: bytes, tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    (folder / "argcomplete-9.0-py3-none-any.whl").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"argcomplete-9\.0-py3-none-any\.whl is a broken wheel"):
        choose_wheels(folder, platform_of("x86_64"))


def test_requirements_that_cannot_be_parsed_make_a_wheel_broken(tmp_path: Path) -> None:
    folder = fill(tmp_path, "x86_64")
    make_wheel(folder, "argcomplete", "9.0", needs=["!!"])
    with pytest.raises(ArtifactError, match="broken wheel"):
        choose_wheels(folder, platform_of("x86_64"))


def test_an_empty_or_missing_folder_gets_the_commands_that_fill_it(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError) as caught:
            choose_wheels(folder, platform_of("aarch64"))
        assert "pip download" in caught.value.hint
        assert "--python-version 3.10" in caught.value.hint
        assert "pip wheel --no-deps" in caught.value.hint


def test_the_commands_for_a_jetson_leave_opencv_out_and_fit_one_line() -> None:
    text = fill_commands(Path("wheels"), platform_of("jetson-orin-nano"))
    assert "opencv" not in text
    assert "'numpy<2'" in text
    assert "aarch64" in text
    assert len(text) < 2000  # a longer hint would be cut
    assert text.count(" && ") == 2


def test_every_device_has_an_architecture() -> None:
    found = {profile.key: platform_of(profile.key) for profile in load_profiles()}
    assert {platform.machine for platform in found.values()} == {"aarch64", "x86_64"}
    for profile in load_profiles():
        assert (found[profile.key].machine == "aarch64") == bool(profile.boards or profile.kind == "jetson")
        uses_system = profile.kind == "jetson" and profile.software["python"] in {"3.10", "3.12"}
        assert found[profile.key].system_packages == uses_system
    kinds = {(one.machine, one.extras, one.system_packages): one for one in found.values()}
    assert len(kinds) >= 4
    assert all(len(fill_commands(Path("wheels"), one)) < 2000 for one in kinds.values())


def test_a_jetson_whose_last_python_is_too_old_has_a_doubt() -> None:
    assert "Python 3.6" in platform_of("jetson-nano").doubts[0]
    assert "opencv-python" in fill_commands(Path("wheels"), platform_of("jetson-nano"))
    assert platform_of("jetson-orin-nano").doubts == ()


def test_unknown_devices_and_pythons_are_refused() -> None:
    with pytest.raises(UsageError, match="no device is called 'jetson-orin-nan'") as caught:
        platform_of("jetson-orin-nan")
    assert "jetson-orin-nano" in caught.value.hint
    with pytest.raises(UsageError, match=r"Python 3\.9"):
        platform_of("x86_64", ["3.9"])
