"""The name of a recording while it is written."""

from pathlib import Path

import pytest

from runtime.sinks.part_file import PartFile


def test_it_becomes_the_target_when_it_is_finished(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "new" / "a.mp4")
    part.path.write_bytes(b"film")
    assert part.path.name == "a.part.mp4"
    assert part.finish() == tmp_path / "new" / "a.mp4"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_what_a_killed_process_left_is_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.part.mp4").write_bytes(b"first")
    (tmp_path / "a.part2.mp4").write_bytes(b"second")
    part = PartFile(tmp_path / "a.mp4")
    assert part.path.name == "a.part3.mp4"
    told = capsys.readouterr().err
    assert "a.part.mp4" in told
    assert "a.part2.mp4" in told
    part.discard()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "a.part.mp4": b"first",
        "a.part2.mp4": b"second",
    }


def test_an_older_file_is_not_replaced_by_a_part_that_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"old")
    part = PartFile(tmp_path / "a.mkv")
    assert part.keep() == tmp_path / "a.part.mkv"
    assert (tmp_path / "a.mkv").read_bytes() == b"old"


@pytest.mark.parametrize("stem", ["x" * 250, "图" * 83, "x" * 251])
def test_a_long_name_is_shortened_while_it_is_written(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.mp4"
    part = PartFile(target)
    assert len(part.path.name.encode()) <= 255
    assert part.finish().name == target.name
