"""Recordings in segments: names, limits, wrong clocks, and what may be removed."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import UsageError
from runtime.pipeline import FrameResult
from runtime.sinks.segment_list import SegmentList
from runtime.sinks.segments import SegmentSink

NOON = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
MakeResult = Callable[..., FrameResult]


def plain(value: int = 90, hw: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*hw, 3), value, np.uint8)


@pytest.fixture
def clock() -> SimpleNamespace:
    """A clock that can be set."""
    return SimpleNamespace(now=NOON)


@pytest.fixture
def sink(tmp_path: Path, clock: SimpleNamespace) -> Iterator[Callable[..., SegmentSink]]:
    """Opens a sink of segments of 10 s of ``drive.mkv``, which is closed at the end."""
    with ExitStack() as stack:

        def opened(**options: Any) -> SegmentSink:
            facts = {"segment_s": 10.0, "is_live": True, "clock": lambda: clock.now, **options}
            out = SegmentSink(facts.pop("path", tmp_path / "drive.mkv"), 5, **facts)
            stack.callback(out.close, complete=False)
            return out

        yield opened


def videos(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".mkv")


def listed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "drive.segments.jsonl").read_text().splitlines()]


def test_a_segment_ends_by_the_time_of_the_stream_and_is_named_by_the_clock(
    tmp_path: Path, sink: Any, clock: SimpleNamespace, make_result: MakeResult, frames_of: Any
) -> None:
    out = sink()
    for i in range(25):
        clock.now = NOON + timedelta(seconds=i)
        assert out.write(make_result(plain(), float(i)), plain())
    names = [f"drive-20260601T1200{s}Z.mkv" for s in ("00", "10", "20")]
    assert videos(tmp_path) == [names[0], names[1], names[2].replace(".mkv", ".part.mkv")]
    assert out.close(complete=True) == tuple(tmp_path / name for name in names)
    assert [len(frames_of(tmp_path / name)) for name in names] == [10, 10, 5]
    assert frames_of(tmp_path / names[1])[0].time_s == 0
    assert out.codec == "h264"


@pytest.mark.parametrize("hours", [-24 * 365, -1, 24 * 365])
def test_a_clock_that_jumps_overwrites_nothing_and_the_oldest_is_still_the_oldest(
    tmp_path: Path, sink: Any, clock: SimpleNamespace, make_result: MakeResult, hours: int
) -> None:
    out = sink(keep_bytes=10**9)
    for i in range(3):
        clock.now = NOON + timedelta(hours=i * hours)
        out.write(make_result(plain(), 10.0 * i), plain())
    files = out.close(complete=True)
    by_stream = [
        f"drive-{(NOON + timedelta(hours=i * hours)).strftime('%Y%m%dT%H%M%SZ')}.mkv" for i in range(3)
    ]
    assert [path.name for path in files] == by_stream

    clock.now = NOON + timedelta(hours=hours)  # also in the next run
    again = sink(keep_bytes=sum(path.stat().st_size for path in files) - 1)
    again.write(make_result(plain(), 0.0), plain())
    assert not files[0].exists()  # written first, whatever its name says
    assert files[1].exists()
    assert files[2].exists()


def test_a_clock_that_stands_still_gives_different_names(
    tmp_path: Path, sink: Any, make_result: MakeResult
) -> None:
    out = sink()
    for i in range(3):
        out.write(make_result(plain(), 10.0 * i), plain())
    assert [path.name for path in out.close(complete=True)] == [
        "drive-20260601T120000Z.mkv",
        "drive-20260601T120000Z_2.mkv",
        "drive-20260601T120000Z_3.mkv",
    ]


def test_the_oldest_go_first_and_files_of_others_stay(
    tmp_path: Path, sink: Any, clock: SimpleNamespace, make_result: MakeResult
) -> None:
    mine = ["drive-19990101T000000Z.mkv", "drive.mkv", "other-20260601T120000Z.mkv", "notes.txt"]
    for name in mine:
        (tmp_path / name).write_bytes(b"x" * 100_000)
    out = sink(keep_bytes=2000)  # a segment has about 900 bytes
    for i in range(60):
        clock.now = NOON + timedelta(seconds=i)
        out.write(make_result(plain(), float(i)), plain(i))
    files = out.close(complete=True)
    assert files[-1].name == "drive-20260601T120050Z.mkv"
    assert 1 <= len(files) < 6
    assert set(videos(tmp_path)) == {path.name for path in files} | {n for n in mine if n.endswith("mkv")}
    assert (tmp_path / "notes.txt").exists()
    assert sum(path.stat().st_size for path in files[:-1]) <= 2000
    removed = [line["file"] for line in listed(tmp_path) if line.get("removed")]
    assert removed == [f"drive-20260601T1200{s}0Z.mkv" for s in range(6 - len(files))]


def test_the_running_segment_counts_and_stays(tmp_path: Path, sink: Any, make_result: MakeResult) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    out = sink(keep_bytes=50_000)
    out.write(make_result(plain(), 0.0), plain(hw=(96, 128)))
    for i in range(9):
        out.write(make_result(noise, 10.0 + i), noise)
    (file,) = out.close(complete=True)
    assert file.name == "drive-20260601T120000Z_2.mkv"
    assert file.stat().st_size > 50_000


def test_a_file_that_took_the_place_of_a_segment_is_kept(
    tmp_path: Path, sink: Any, make_result: MakeResult, capsys: pytest.CaptureFixture[str]
) -> None:
    out = sink()
    out.write(make_result(plain(), 0.0), plain())
    out.write(make_result(plain(), 10.0), plain())
    first, second = out.close(complete=True)
    segments = SegmentList(tmp_path / "drive.mkv", lambda: NOON)
    first.write_bytes(b"cut and saved under the same name")
    segments.make_room(0)
    segments.close()
    assert first.read_bytes() == b"cut and saved under the same name"
    assert not second.exists()
    assert "is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        '{"file": "../victim.mkv", "bytes": 6}',
        '{"file": "victim.mkv", "bytes": 6}',
        '{"file": "drive-20260601T120000Z.mkv/../victim.mkv", "bytes": 6}',
        '{"file": 7}',
        "[" * 100_000,
        "\x00\xff",
        '{"file": "drive-20260601T1200',
    ],
)
def test_a_list_that_was_altered_removes_no_other_file(
    tmp_path: Path, sink: Any, make_result: MakeResult, line: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "victim.mkv").write_bytes(b"victim")
    (tmp_path / "victim.mkv").write_bytes(b"victim")
    (tmp_path / "in" / "drive.segments.jsonl").write_text(line)
    out = sink(path=tmp_path / "in" / "drive.mkv", keep_bytes=1)
    out.write(make_result(plain(), 0.0), plain())
    assert len(out.close(complete=True)) == 1
    assert (tmp_path / "victim.mkv").exists()
    assert (tmp_path / "in" / "victim.mkv").exists()
    last = (tmp_path / "in" / "drive.segments.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["bytes"] > 0


def test_a_disk_that_fills_up_loses_the_oldest_one_at_a_time(
    tmp_path: Path, sink: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = sink(keep_bytes=10**12)
    for i in range(4):
        out.write(make_result(plain(), 10.0 * i), plain())
    full = SimpleNamespace(total=10**9, free=10**7)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    out.write(make_result(plain(), 31.5), plain())
    assert len(videos(tmp_path)) == 3
    full.free = 10**8
    out.write(make_result(plain(), 33.0), plain())
    assert len(out.close(complete=True)) == 3


def test_without_a_limit_nothing_is_removed(
    tmp_path: Path, sink: Any, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=1))
    out = sink()
    for i in range(4):
        out.write(make_result(plain(), 10.0 * i), plain())
    assert len(out.close(complete=True)) == 4


def test_frames_of_another_size_begin_a_segment(
    tmp_path: Path, sink: Any, make_result: MakeResult, frames_of: Any
) -> None:
    out = sink()
    out.write(make_result(plain(), 0.0), plain())
    out.write(make_result(plain(), 1.0), plain(hw=(64, 64)))
    first, second = out.close(complete=True)
    assert frames_of(first)[0].image_bgr.shape == (48, 64, 3)
    assert frames_of(second)[0].image_bgr.shape == (64, 64, 3)


def test_a_second_process_with_this_name_is_refused(
    tmp_path: Path, sink: Any, make_result: MakeResult
) -> None:
    sink().write(make_result(plain(), 0.0), plain())
    with pytest.raises(UsageError, match=r"another process records segments of .*drive\.mkv"):
        sink().write(make_result(plain(), 0.0), plain())
    sink(path=tmp_path / "rear.mkv").write(make_result(plain(), 0.0), plain())


@pytest.mark.parametrize(("is_live", "left"), [(True, 2), (False, 1)])
def test_of_a_run_that_breaks_off_the_complete_segments_stay(
    tmp_path: Path, sink: Any, make_result: MakeResult, is_live: bool, left: int
) -> None:
    out = sink(is_live=is_live)
    out.write(make_result(plain(), 0.0), plain())
    out.write(make_result(plain(), 10.0), plain())
    assert len(out.close(complete=False)) == left
    assert len(videos(tmp_path)) == left


def test_a_run_without_frames_leaves_nothing(tmp_path: Path, sink: Any) -> None:
    assert sink().close(complete=True) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_is_shortened(tmp_path: Path, sink: Any, make_result: MakeResult) -> None:
    out = sink(path=tmp_path / f"{'x' * 250}.mkv")
    out.write(make_result(plain(), 0.0), plain())
    (file,) = out.close(complete=True)
    assert file.exists()


def test_a_folder_that_vanishes_is_told_while_it_records(
    tmp_path: Path, sink: Any, make_result: MakeResult
) -> None:
    out = sink(path=tmp_path / "usb" / "drive.mkv")
    out.write(make_result(plain(), 0.0), plain())
    shutil.rmtree(tmp_path / "usb")
    with pytest.raises(UsageError, match="gone"):
        out.write(make_result(plain(), 1.5), plain())
    with pytest.raises(UsageError, match="No such file"):
        out.close(complete=False)


KILLED = """
import sys
from pathlib import Path
import numpy as np
from edgestill.detections import Detections
from runtime.frames import Frame
from runtime.pipeline import FrameResult
from runtime.sinks.segments import SegmentSink
image = np.full((48, 64, 3), 90, np.uint8)
sink = SegmentSink(Path(sys.argv[1]), 5, segment_s=10.0, is_live=True)
for i in range(70):
    frame = Frame(image_bgr=image, index=i, captured_s=0.0, name="a", decode_ms=1.0, time_s=i / 5)
    sink.write(FrameResult(frame=frame, detections=Detections.empty(), track_id=None, states=None, age_ms=1.0,
                           rate_fps=None, stages_ms={}, is_live=True), image)
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_left_plays_and_gets_its_name_and_its_turn(
    tmp_path: Path, sink: Any, make_result: MakeResult, frames_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "drive.mkv")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, signal.SIGKILL)
    assert sum(".part" in name for name in videos(tmp_path)) == 1
    out = sink(keep_bytes=10**9)
    out.write(make_result(plain(), 0.0), plain())
    assert "left by a recording that was killed" in capsys.readouterr().err
    (new,) = out.close(complete=True)
    first, second = (tmp_path / name for name in videos(tmp_path) if name != new.name)
    assert len(frames_of(first)) == 50
    assert len(frames_of(second)) >= 10  # of the 20 frames of 4 s
    again = sink(keep_bytes=new.stat().st_size)
    again.write(make_result(plain(), 0.0), plain())
    assert not first.exists()
    assert not second.exists()
    assert new.exists()
