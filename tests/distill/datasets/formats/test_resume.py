"""A conversion that was interrupted goes on, and trusts nothing that it does not check."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.datasets.convert import ConversionResult, WriteOptions, convert_dataset
from distill.datasets.formats import _write, dtld
from edgestill.errors import DataError, UsageError

FRAMES = 6
HERE = "Berlin/Berlin1/2015-04-17_10-50-05"


class PulledPlugError(Exception):
    """What a pulled plug is to these tests."""


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The raw images that were decoded, by file name; ``stop`` in it interrupts after so many."""
    seen: list[str] = []
    real = dtld.bayer_to_bgr

    def bayer_to_bgr(path: Path) -> np.ndarray:
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(dtld, "bayer_to_bgr", bayer_to_bgr)
    return seen


@pytest.fixture
def source(dtld: Any) -> Path:
    for i in range(FRAMES):
        dtld.add(
            "train", f"{HERE[:-1]}{i}", [dtld.light(1 + i, 1, 5, 9), dtld.light(20, 4, 4, 8, state="green")]
        )
    return dtld.write()


Convert = Callable[..., ConversionResult]


@pytest.fixture
def convert(source: Path, out: Any) -> Convert:
    def call(**arguments: Any) -> ConversionResult:
        return convert_dataset("dtld", source, out.path, workers=1, **arguments)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    paths = (p for p in folder.rglob("*") if p.is_file() and p.name != "convert.jsonl")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, pictures: int) -> None:
    real, count = _write.write_bytes, 0

    def write_bytes(path: Path, data: bytes) -> None:
        nonlocal count
        count += path.suffix == ".txt"
        if count > pictures:
            raise PulledPlugError
        real(path, data)

    monkeypatch.setattr(_write, "write_bytes", write_bytes)


@pytest.fixture
def half(convert: Convert, decoded: list[str], monkeypatch: pytest.MonkeyPatch, out: Any) -> list[str]:
    """A conversion that was interrupted after three images; the list of what is decoded from now on."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(PulledPlugError):
            convert()
    assert not (out.path / "data.yaml").exists()
    decoded.clear()
    return decoded


def test_what_was_finished_is_not_decoded_anew(half: list[str], convert: Convert, out: Any) -> None:
    result = convert()
    assert result.pictures == {"kept": 3, "decoded": 3}
    assert len(half) == 3
    assert len(out.splits()) == FRAMES


def test_the_outcome_is_that_of_a_run_in_one_go(
    half: list[str], convert: Convert, source: Path, out: Any, tmp_path: Path
) -> None:
    convert()
    convert_dataset("dtld", source, tmp_path / "whole")
    assert contents(out.path) == contents(tmp_path / "whole")


def test_a_picture_that_was_damaged_meanwhile_is_made_again(
    half: list[str], convert: Convert, out: Any
) -> None:
    damaged = sorted(out.path.glob("images/*/*.jpg"))[0]
    good = damaged.read_bytes()
    damaged.write_bytes(b"\0" * len(good))  # of the same size, as after a loss of power
    assert convert().pictures == {"kept": 2, "decoded": 4}
    assert damaged.read_bytes() == good


def test_a_label_that_was_damaged_meanwhile_is_made_again(
    half: list[str], convert: Convert, out: Any
) -> None:
    damaged = sorted(out.path.glob("labels/*/*.txt"))[0]
    good = damaged.read_bytes()
    damaged.write_bytes(b"")
    assert convert().pictures["kept"] == 3
    assert damaged.read_bytes() == good


def test_a_file_without_a_line_in_the_state_is_not_trusted(
    half: list[str], convert: Convert, out: Any
) -> None:
    state = out.path / "convert.jsonl"
    lines = state.read_text().splitlines(keepends=True)
    state.write_text("".join(lines[:-1]) + lines[-1][:40])  # the last line was cut off
    assert convert().pictures == {"kept": 2, "decoded": 4}


def test_half_written_files_of_a_killed_run_are_removed(half: list[str], convert: Convert, out: Any) -> None:
    left = out.path / "images" / "train" / ".dtld-Berlin_x.4711.jpg"
    left.write_bytes(b"half")
    convert()
    assert not left.exists()


def test_a_source_that_changed_is_decoded_anew(
    half: list[str], convert: Convert, source: Path, out: Any
) -> None:
    state = [json.loads(line) for line in (out.path / "convert.jsonl").read_text().splitlines()]
    changed = Path(state[1]["done"]["source"][0])
    os.utime(changed, ns=(1, 1))
    convert()
    assert changed.name in half
    assert len(half) == 4


def test_a_finished_data_set_is_not_changed_without_force(convert: Convert) -> None:
    convert()
    with pytest.raises(UsageError, match="exists already"):
        convert()


def test_other_settings_do_not_go_into_the_same_folder(half: list[str], convert: Convert) -> None:
    with pytest.raises(UsageError, match="other settings: classes"):
        convert(classes="light")


def test_force_changes_the_labels_and_keeps_the_pictures(
    convert: Convert, decoded: list[str], source: Path, out: Any, tmp_path: Path
) -> None:
    convert()
    decoded.clear()
    result = convert(classes="light", force=True)
    assert (result.pictures, decoded) == ({"kept": FRAMES}, [])
    convert_dataset("dtld", source, tmp_path / "fresh", classes="light")
    assert contents(out.path) == contents(tmp_path / "fresh")


def test_force_moves_pictures_to_their_new_split_and_leaves_nothing_behind(
    convert: Convert, decoded: list[str], source: Path, out: Any, tmp_path: Path
) -> None:
    from distill.datasets.convert import SplitSettings

    convert()
    before = out.splits()
    decoded.clear()
    split_settings = SplitSettings(mode="sequence", val_share=0.4, test_share=0.3, seed=2)
    convert(split_settings=split_settings, force=True)
    assert out.splits() != before
    assert decoded == []
    convert_dataset("dtld", source, tmp_path / "fresh", split_settings=split_settings)
    assert contents(out.path) == contents(tmp_path / "fresh")


def test_force_with_another_picture_format_removes_the_old_pictures(
    convert: Convert, source: Path, out: Any, tmp_path: Path
) -> None:
    convert()
    convert(write_options=WriteOptions(png=True), force=True)
    convert_dataset("dtld", source, tmp_path / "fresh", write_options=WriteOptions(png=True))
    assert contents(out.path) == contents(tmp_path / "fresh")


def test_what_the_source_no_longer_has_is_removed(convert: Convert, source: Path, out: Any) -> None:
    convert()
    next(source.rglob("DE_0002*")).unlink()
    result = convert(force=True)
    assert result.pictures == {"kept": FRAMES - 1}
    assert not [name for name in contents(out.path) if "DE_0002" in name]


def test_a_city_that_is_unpacked_later_is_added(convert: Convert, source: Path, out: Any) -> None:
    late = next(source.rglob("DE_0002*"))
    late.rename(late.with_suffix(".later"))
    convert()
    late.with_suffix(".later").rename(late)
    result = convert(force=True)
    assert result.pictures == {"kept": FRAMES - 1, "decoded": 1}


def test_a_folder_of_something_else_is_never_touched(convert: Convert, out: Any) -> None:
    out.path.mkdir()
    (out.path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="will not be replaced"):
        convert(force=True)
    assert contents(out.path) == {"thesis.tex": b"x"}


def test_a_state_that_is_none_is_a_data_error(convert: Convert, out: Any) -> None:
    out.path.mkdir()
    (out.path / "convert.jsonl").write_text("7\n[]\n")
    with pytest.raises(DataError, match="not the state"):
        convert(force=True)


@pytest.mark.parametrize("line", ["[" * 60_000, '{"name":' * 60_000])
def test_a_line_that_was_damaged_is_left_out_however_deep_it_is(
    line: str, half: list[str], convert: Convert, out: Any
) -> None:
    with (out.path / "convert.jsonl").open("a") as stream:
        stream.write(f"{line}\n")
    assert convert().pictures == {"kept": 3, "decoded": 3}


def test_the_source_is_never_written_to(convert: Convert, source: Path) -> None:
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*") if path.is_file()
    }
    convert()
    after = {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in source.rglob("*") if path.is_file()
    }
    assert after == before


def test_links_are_checked_by_the_file_they_lead_to(
    voc: Any, out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stem in ("a", "b", "c"):
        voc.add(stem, ["dog 11 5 20 24"])
    assert convert_dataset("voc", voc.root, out.path).pictures == {"linked": 3}
    picture = sorted(out.path.glob("images/*/*"))[0]
    data = picture.read_bytes()
    picture.unlink()
    picture.write_bytes(data)  # the same content, but no link
    result = convert_dataset("voc", voc.root, out.path, force=True)
    assert result.pictures == {"kept": 2, "linked": 1}


def test_where_links_cannot_be_made_pictures_are_copied(
    voc: Any, out: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise OSError("another file system")

    voc.add("a", ["dog 11 5 20 24"])
    monkeypatch.setattr(os, "link", link)
    assert convert_dataset("voc", voc.root, out.path).pictures == {"copied": 1}
    assert convert_dataset("voc", voc.root, out.path, force=True).pictures == {"kept": 1}


def test_a_copy_shares_nothing_with_its_source(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    convert_dataset("voc", voc.root, out.path, write_options=WriteOptions(copy=True))
    (copy,) = out.path.glob("images/*/*")
    (original,) = voc.root.glob("JPEGImages/*")
    assert copy.read_bytes() == original.read_bytes()
    assert not copy.samefile(original)


def test_labels_that_cannot_be_read_any_more_leave_the_old_data_set(voc: Any, out: Any) -> None:
    voc.add("a", ["dog 11 5 20 24"])
    convert_dataset("voc", voc.root, out.path)
    before = contents(out.path)
    voc.add("a", ["dog 11 5 20 x"])
    with pytest.raises(DataError, match="no object could be converted"):
        convert_dataset("voc", voc.root, out.path, force=True)
    assert contents(out.path) == before


def test_a_data_set_that_is_being_changed_has_no_data_yaml(
    convert: Convert, monkeypatch: pytest.MonkeyPatch, out: Any
) -> None:
    convert()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(PulledPlugError):
            convert(classes="light", force=True)
    assert not (out.path / "data.yaml").exists()
    convert(classes="light", force=True)
    assert (out.path / "data.yaml").exists()
