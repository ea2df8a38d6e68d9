"""The archive: the same bytes for the same files; whatever is not such an archive is refused."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgestill.errors import ArtifactError
from export.bundle import archive
from export.bundle.archive import open_tar, read_archive, write_archive

zstandard = pytest.importorskip("zstandard")

FILES: list[tuple[str, Path | bytes]] = [
    ("SHA256SUMS", b"a list\n"),
    ("models/a/empty", b""),
    ("models/a/model.onnx", bytes(range(256)) * 9),
    ("run.sh", b"#!/bin/sh\n"),
]
both_forms = pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])


def written(folder: Path, suffix: str, name: str = "x") -> Path:
    path = folder / f"{name}{suffix}"
    write_archive(path, FILES, force=True)
    return path


def contents(path: Path) -> list[tuple[str, bytes]]:
    return [(name, b"".join(content)) for name, _, content in read_archive(path)]


@both_forms
def test_files_come_back_as_they_were_written(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, suffix)
    assert contents(path) == FILES
    assert [(name, size) for name, size, _ in read_archive(path)] == [(n, len(c)) for n, c in FILES]
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@both_forms
def test_the_same_files_give_the_same_bytes_wherever_and_whenever_they_lie(
    suffix: str, tmp_path: Path
) -> None:
    path = written(tmp_path, suffix)
    here = tmp_path / "elsewhere"
    here.mkdir()
    for name, content in FILES:
        file = here / Path(name).name
        file.write_bytes(content if isinstance(content, bytes) else b"")
        file.chmod(0o600)
        os.utime(file, (1, 1))
    again = here / f"again{suffix}"
    write_archive(again, [(name, here / Path(name).name) for name, _ in FILES], force=False)
    assert again.read_bytes() == path.read_bytes()


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    path = written(tmp_path, ".tar")
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [name for name, _ in FILES]
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", archive.MTIME)}
        assert [m.mode for m in members] == [0o644, 0o644, 0o644, 0o755]
    assert path.stat().st_size % tarfile.RECORDSIZE == 0


def test_the_tar_inside_the_compressed_form_is_the_other_form(tmp_path: Path) -> None:
    plain, packed = written(tmp_path, ".tar"), written(tmp_path, ".tar.zst")
    assert packed.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    with open_tar(packed) as stream:
        assert stream.read() == plain.read_bytes()


@both_forms
def test_a_truncated_archive_is_refused_wherever_it_ends(suffix: str, tmp_path: Path) -> None:
    data = written(tmp_path, suffix).read_bytes()
    path = tmp_path / f"cut{suffix}"
    ends = {0, 1, 100, 512, 513, 1024, len(data) // 2, len(data) - 1, *range(0, len(data), 397)}
    for end in sorted(end for end in ends if end < len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ArtifactError, match=r"truncated|no bundle"):
            contents(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(1, 255), packed=st.booleans())
def test_one_altered_byte_is_refused_or_changes_one_content_only(
    place: int, value: int, packed: bool, tmp_path: Path
) -> None:
    suffix = ".tar.zst" if packed else ".tar"
    data = bytearray(written(tmp_path, suffix).read_bytes())
    data[place % len(data)] ^= value
    path = tmp_path / f"altered{suffix}"
    path.write_bytes(data)
    try:
        found = contents(path)
    except ArtifactError:
        return
    assert [name for name, _ in found] == [name for name, _ in FILES]
    assert packed or sum(a != b for a, b in zip(found, FILES, strict=True)) <= 1


@pytest.mark.parametrize("behind", [b"x", b"x" * 600, bytes(10240), bytes(512)])
@both_forms
def test_data_behind_the_end_is_refused(suffix: str, behind: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, suffix)
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(ArtifactError):
        contents(path)


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def one_more(name: str = "b", **fields: object) -> Callable[[tarfile.TarFile], None]:
    return lambda tar: tar.addfile(member(name, **fields), io.BytesIO())


HOSTILE: dict[str, Callable[[tarfile.TarFile], None]] = {
    "absolute": one_more("/etc/cron.d/x"),
    "up": one_more("../x"),
    "up-inside": one_more("models/../../x"),
    "dot": one_more("./x"),
    "hidden": one_more(".bashrc"),
    "deep": one_more("a/b/c/d"),
    "space": one_more("a b"),
    "newline": one_more("a\nb"),
    "option": one_more("-rf"),
    "backslash": one_more("a\\b"),
    "control": one_more("a\x1b[31m"),
    "empty-part": one_more("a//b"),
    "slash-end": one_more("a/"),
    "symlink": one_more(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hardlink": one_more(type=tarfile.LNKTYPE, linkname="a"),
    "folder": one_more(type=tarfile.DIRTYPE),
    "fifo": one_more(type=tarfile.FIFOTYPE),
    "character-device": one_more(type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block-device": one_more(type=tarfile.BLKTYPE, devmajor=8),
    "sparse": one_more(type=tarfile.GNUTYPE_SPARSE),
    "unknown-type": one_more(type=b"Z"),
    "old-type": one_more(type=tarfile.AREGTYPE),
    "twice": one_more("a"),
    "not-ascii": one_more("ü"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_entry_that_is_no_plain_file_is_refused(case: str, form: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        one_more("a")(tar)
        HOSTILE[case](tar)
    with pytest.raises(ArtifactError):
        contents(path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_in_extended_headers_are_refused(form: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        one_more("a" * 300)(tar)
    with pytest.raises(ArtifactError, match="no regular file"):
        contents(path)


def test_a_file_that_claims_more_than_the_limit_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    path = tmp_path / "x.tar"
    path.write_bytes(member("a", size=1001).tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(ArtifactError, match="unpacks to more"):
        contents(path)


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(member("a", size=-512).tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(ArtifactError, match="-512 bytes"):
        contents(path)


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    assert len(contents(_of(tmp_path, 3))) == 3
    with pytest.raises(ArtifactError, match="more than 3 files"):
        contents(_of(tmp_path, 4))


def _of(folder: Path, count: int) -> Path:
    path = folder / f"{count}.tar"
    write_archive(path, [(f"f{n}", b"") for n in range(count)], force=True)
    return path


def test_zeros_without_end_are_refused_at_once(tmp_path: Path) -> None:
    """A gigabyte of zeros is 32 kB in Zstandard: only a record of it may be read."""
    path = tmp_path / "x.tar.zst"
    with zstandard.ZstdCompressor(level=1).stream_writer(path.open("wb")) as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))
    with pytest.raises(ArtifactError, match="behind its end"):
        contents(path)


def test_a_decompressor_that_would_need_much_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=28)
    path = tmp_path / "x.tar.zst"
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(path.open("wb")) as stream:
        stream.write(bytes(1 << 20))
    with pytest.raises(ArtifactError, match="too much memory"):
        contents(path)


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text\n" * 500, bytes(20480)])
def test_another_file_is_refused(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        next(read_archive(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tar", tmp_path):
        with pytest.raises(ArtifactError):
            contents(path)
