"""The cache of decoded images gives back what it was given, or nothing; it never breaks a training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.data.disk_cache import HEADER, PARTIAL_SUFFIX, SUFFIX, DiskCache, ScaledImage, default_folder

HW = (96, 160)
MIB_IMAGE = (512, 682, 3)  # just under a MiB


def picture(seed: int = 0, shape: tuple[int, int, int] = (90, 160, 3)) -> ScaledImage:
    return ScaledImage(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), (900, 1600))


def source(folder: Path, name: str = "a.png") -> Path:
    path = folder / name
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    return path


def key_of(cache: DiskCache, path: Path, input_hw: tuple[int, int] = HW) -> str:
    key = cache.key(path, input_hw)
    assert key is not None
    return key


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{SUFFIX}"))


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(then, then))


def test_an_entry_comes_back_as_it_was_put(tmp_path: Path) -> None:
    cache, made = DiskCache(tmp_path / "cache", 10), picture()
    key = key_of(cache, source(tmp_path))
    assert cache.get(key) is None
    cache.put(key, made)
    found = DiskCache(tmp_path / "cache", 10).get(key)
    assert found is not None
    assert found.source_hw == made.source_hw
    np.testing.assert_array_equal(found.image_bgr, made.image_bgr)


def test_a_view_of_a_larger_image_is_put_as_its_pixels(tmp_path: Path) -> None:
    cache, whole = DiskCache(tmp_path, 10), picture().image_bgr
    cache.put("0" * 32, ScaledImage(whole[5:40, 7:90], (1, 1)))
    found = cache.get("0" * 32)
    assert found is not None
    np.testing.assert_array_equal(found.image_bgr, whole[5:40, 7:90])


def test_a_changed_image_another_size_and_another_path_are_other_entries(tmp_path: Path) -> None:
    cache, path = DiskCache(tmp_path / "cache", 10), source(tmp_path)
    keys = [key_of(cache, path), key_of(cache, path, (96, 192)), key_of(cache, source(tmp_path, "b.png"))]
    age(path, 1)
    keys.append(key_of(cache, path))
    path.write_bytes(path.read_bytes() + b" ")
    age(path, path.stat().st_mtime)
    keys.append(key_of(cache, path))
    assert len(set(keys)) == 5


def test_an_image_that_is_gone_has_no_key(tmp_path: Path) -> None:
    assert DiskCache(tmp_path, 10).key(tmp_path / "none.png", HW) is None


def turn_a_bit(data: bytes) -> bytes:
    return data[:500] + bytes([data[500] ^ 1]) + data[501:]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:20], id="half-a-header"),
        pytest.param(lambda data: data[:-1], id="cut-off"),
        pytest.param(lambda data: data + b"x", id="too-long"),
        pytest.param(turn_a_bit, id="a-bit-of-a-pixel"),
        pytest.param(lambda data: data[:16] + b"\x01" + data[17:], id="the-size-of-the-source"),
        pytest.param(lambda data: data[:8] + b"\xff" * 8 + data[16:], id="a-huge-image"),
        pytest.param(lambda data: bytes(len(data)), id="zeros-after-a-crash"),
    ],
)
def test_a_corrupt_entry_is_none_and_is_made_again(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    cache, made = DiskCache(tmp_path, 10), picture()
    cache.put("0" * 32, made)
    (entry,) = entries(tmp_path)
    entry.write_bytes(spoil(entry.read_bytes()))
    assert cache.get("0" * 32) is None
    cache.put("0" * 32, made)
    found = cache.get("0" * 32)
    assert found is not None
    np.testing.assert_array_equal(found.image_bgr, made.image_bgr)


def test_the_budget_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = DiskCache(tmp_path, 3)
    for i in range(6):
        cache.put(f"{i:032}", picture(i, MIB_IMAGE))
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 3 * 2**20
    assert [cache.get(f"{i:032}") is not None for i in range(6)] == [True] * 3 + [False] * 3
    assert capsys.readouterr().err.count("is full: disk_cache_mib = 3") == 1


def test_the_budget_counts_what_earlier_runs_kept(tmp_path: Path) -> None:
    for first in (0, 2):
        cache = DiskCache(tmp_path, 3)
        cache.mark_used([f"{i:032}" for i in range(6)])
        for i in range(first, first + 2):
            cache.put(f"{i:032}", picture(i, MIB_IMAGE))
    assert [cache.get(f"{i:032}") is not None for i in range(4)] == [True] * 3 + [False]


def test_what_no_run_uses_makes_room_oldest_first(tmp_path: Path) -> None:
    old = DiskCache(tmp_path, 4)
    for i in range(4):
        old.put(f"{i:032}", picture(i, MIB_IMAGE))
        age(old._entry_path(f"{i:032}"), 100 - i)
    cache = DiskCache(tmp_path, 4)
    assert cache.mark_used([f"{0:032}", f"{9:032}", None]) == 1
    cache.put(f"{4:032}", picture(4, MIB_IMAGE))
    assert [cache.get(f"{i:032}") is not None for i in range(5)] == [True, False, False, True, True]


def test_only_entries_are_removed_to_make_room(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    strangers = [tmp_path / "ab" / "holiday.jpg", tmp_path / "notes.bgr"]
    for path in strangers:
        path.write_bytes(bytes(2**20))
        age(path, 1000)
    cache = DiskCache(tmp_path, 1)
    cache.put("ab" + "0" * 30, picture(0, MIB_IMAGE))
    cache.put("ab" + "1" * 30, picture(0, MIB_IMAGE))
    assert all(path.exists() for path in strangers)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    for name, seconds in (("old", 7200), ("new", 10)):
        (tmp_path / f"{name}{PARTIAL_SUFFIX}").write_bytes(b"half")
        age(tmp_path / f"{name}{PARTIAL_SUFFIX}", seconds)
    DiskCache(tmp_path, 1)
    assert [path.stem for path in tmp_path.rglob(f"*{PARTIAL_SUFFIX}")] == ["new"]


def test_a_full_disk_ends_the_writing_and_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path, 10)
    cache.put("0" * 32, picture())

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        cache.put("1" * 32, picture(1))
    cache.put("2" * 32, picture(2))
    assert [cache.get(str(i) * 32) is not None for i in range(3)] == [True, False, False]
    assert capsys.readouterr().err.count("No space left on device") == 1
    assert list(tmp_path.rglob(f"*{PARTIAL_SUFFIX}")) == []


def test_the_last_of_the_disk_is_left_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, usage = DiskCache(tmp_path, 10, spare_mib=5), namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(free=5 * 2**20 + 100))
    cache.put("0" * 32, picture())
    assert entries(tmp_path) == []
    assert "less than 5 MiB of its disk free" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", 10)
    cache.put("0" * 32, picture())
    assert cache.get("0" * 32) is None
    assert capsys.readouterr().err.count("cannot be written") == 1


WRITER = """
import sys
from pathlib import Path
import numpy as np
from distill.data.disk_cache import DiskCache, ScaledImage
cache = DiskCache(Path(sys.argv[1]), 100)
print("ready", flush=True)
sys.stdin.readline()
for round in range(3):
    for i in range(20):
        image = np.random.default_rng(i).integers(0, 256, (90, 160, 3), np.uint8)
        found = cache.get(f"{i:032}")
        assert found is None or (found.image_bgr == image).all()
        cache.put(f"{i:032}", ScaledImage(image, (i, i)))
"""


def test_processes_may_write_the_same_entries_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n")
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    cache = DiskCache(tmp_path, 100)
    for i in range(20):
        found = cache.get(f"{i:032}")
        assert found is not None
        assert found.source_hw == (i, i)
    wanted = 20 * (HEADER.size + 90 * 160 * 3)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.*")) == wanted


def test_the_folder_is_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "edgestill" / "images"
