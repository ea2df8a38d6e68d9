"""``--events``: a line for each change of state of a light."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.frames import Frame
from runtime.pipeline import FrameResult
from runtime.sinks.events import FORGET_AFTER_S, EventSink
from runtime.sinks.wall_clock import Clock

NOON = datetime(2026, 6, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)
IMAGE = np.zeros((48, 64, 3), np.uint8)


def lights(time_s: float, *states: tuple[int, str], source: str = "csi0", **changes: Any) -> FrameResult:
    """A frame with lights, each a track id and a state."""
    n = len(states)
    box = np.arange(4 * n, dtype=np.float32).reshape(n, 4) + 0.126
    facts: dict[str, Any] = {
        "frame": Frame(image_bgr=IMAGE, index=0, captured_s=0.0, name="n", decode_ms=1.0, time_s=time_s),
        "detections": Detections(box, np.full(n, 0.5, np.float32), np.zeros(n, np.int64)),
        "track_id": np.array([track_id for track_id, _ in states], np.int64),
        "states": tuple(state for _, state in states),
        "age_ms": 250.0,
        "rate_fps": None,
        "stages_ms": {},
        "is_live": True,
        "source": source,
    }
    return FrameResult(**{**facts, **changes})


def open_sink(
    path: Path, *, force: bool = False, is_live: bool = True, clock: Clock = lambda: NOON
) -> EventSink:
    return EventSink(path, force=force, is_live=is_live, clock=clock)


@pytest.fixture
def sink() -> Iterator[Callable[..., EventSink]]:
    """``open_sink``, closed at the end of the test."""
    with ExitStack() as stack:

        def opened(*args: Any, **options: Any) -> EventSink:
            out = open_sink(*args, **options)
            stack.callback(out.close, complete=False)
            return out

        yield opened


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def changes(path: Path) -> list[tuple[Any, ...]]:
    return [(e["source"], e["track_id"], e["from"], e["to"], e["time_s"]) for e in events(path)]


def test_a_line_holds_what_scripts_rely_on(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "new" / "e.jsonl")
    out.write(lights(1.23456, (7, "red")), IMAGE)
    assert events(tmp_path / "new" / "e.jsonl") == [  # before it is closed
        {
            "source": "csi0",
            "track_id": 7,
            "from": "unknown",
            "to": "red",
            "time_s": 1.2346,
            "wall_time": "2026-06-01T12:00:00.000Z",  # of the capture, a quarter of a second ago
            "box": [0.13, 1.13, 2.13, 3.13],
        }
    ]
    assert out.close(complete=True) == (tmp_path / "new" / "e.jsonl",)
    assert out.written == 1


def test_only_a_change_is_a_line(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "e")
    for time_s, state in enumerate(["unknown", "unknown", "red", "red", "green", "unknown", "green"]):
        out.write(lights(time_s, (1, state)), IMAGE)
    assert changes(tmp_path / "e") == [
        ("csi0", 1, "unknown", "red", 2),
        ("csi0", 1, "red", "green", 4),
        ("csi0", 1, "green", "unknown", 5),
        ("csi0", 1, "unknown", "green", 6),
    ]


def test_lights_and_sources_are_kept_apart(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "e")
    out.write(lights(0, (1, "red"), (2, "green")), IMAGE)
    out.write(lights(0, (1, "green"), source="csi1"), IMAGE)
    out.write(lights(1, (2, "green"), (1, "red")), IMAGE)
    assert changes(tmp_path / "e") == [
        ("csi0", 1, "unknown", "red", 0),
        ("csi0", 2, "unknown", "green", 0),
        ("csi1", 1, "unknown", "green", 0),
    ]


def test_a_source_without_a_name_has_that_of_its_frames(
    tmp_path: Path, sink: Callable[..., EventSink]
) -> None:
    sink(tmp_path / "e").write(lights(0, (1, "red"), source=""), IMAGE)
    assert events(tmp_path / "e")[0]["source"] == "n"


def test_a_detection_without_a_track_is_no_light(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "e")
    out.write(lights(0, (-1, "red")), IMAGE)
    out.write(lights(1, (1, "red"), states=None), IMAGE)
    out.write(lights(2, (1, "red"), track_id=None), IMAGE)
    assert events(tmp_path / "e") == []


def test_a_light_that_was_not_seen_for_a_moment_is_the_same(
    tmp_path: Path, sink: Callable[..., EventSink]
) -> None:
    out = sink(tmp_path / "e")
    out.write(lights(0, (1, "red")), IMAGE)
    out.write(lights(FORGET_AFTER_S - 1), IMAGE)
    out.write(lights(FORGET_AFTER_S, (1, "red")), IMAGE)
    assert len(events(tmp_path / "e")) == 1


def test_lights_that_are_gone_take_no_memory(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "e")
    for i in range(1000):
        out.write(lights(float(i), (i, "red")), IMAGE)
    assert len(out._states) < 100
    assert out.written == 1000


def test_an_existing_file_is_refused_before_the_work(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    (tmp_path / "e").touch()
    with pytest.raises(UsageError, match="exists already"):
        sink(tmp_path / "e")


def test_events_of_a_camera_are_appended_with_force(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    (tmp_path / "e").write_text('{"old": 1}\n')
    out = sink(tmp_path / "e", force=True)
    out.write(lights(0, (1, "red")), IMAGE)
    out.close(complete=False)
    assert [set(line) >= {"to"} for line in events(tmp_path / "e")] == [False, True]


@pytest.mark.parametrize(("complete", "left"), [(True, "red"), (False, "old")])
def test_events_of_a_file_replace_older_ones_at_the_end_of_a_good_run(
    tmp_path: Path, complete: bool, left: str, sink: Callable[..., EventSink]
) -> None:
    (tmp_path / "e.jsonl").write_text('{"to": "old"}\n')
    out = sink(tmp_path / "e.jsonl", force=True, is_live=False)
    out.write(lights(0, (1, "red"), is_live=False), IMAGE)
    assert events(tmp_path / "e.jsonl") == [{"to": "old"}]
    out.close(complete=complete)
    assert [e["to"] for e in events(tmp_path / "e.jsonl")] == [left]
    assert [p.name for p in tmp_path.iterdir()] == ["e.jsonl"]


def test_the_wall_time_of_a_file_is_that_of_its_result(
    tmp_path: Path, sink: Callable[..., EventSink]
) -> None:
    out = sink(tmp_path / "e", is_live=False)
    out.write(lights(0, (1, "red"), is_live=False), IMAGE)
    out.close(complete=True)
    assert events(tmp_path / "e")[0]["wall_time"] == "2026-06-01T12:00:00.250Z"


def test_a_clock_of_another_zone_and_that_jumps_back_is_written_as_utc(
    tmp_path: Path, sink: Callable[..., EventSink]
) -> None:
    times = iter([NOON.astimezone(timezone(timedelta(hours=2))), NOON - timedelta(days=400)])
    out = sink(tmp_path / "e", clock=lambda: next(times))
    out.write(lights(0, (1, "red")), IMAGE)
    out.write(lights(1, (1, "green")), IMAGE)
    assert [e["wall_time"] for e in events(tmp_path / "e")] == [
        "2026-06-01T12:00:00.000Z",
        "2025-04-27T12:00:00.000Z",
    ]


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[2]).parent))
from test_events import IMAGE, lights, open_sink
from edgestill.errors import UsageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
out = open_sink(Path(sys.argv[1]))
try:
    for i in range(100):
        out.write(lights(float(i), (i, "red")), IMAGE)
except UsageError as error:
    print(error)
print(*out.close(complete=False))
"""


def test_a_full_disk_leaves_whole_lines_and_is_two_lines(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "e"), __file__],
        capture_output=True,
        text=True,
        check=True,
    )
    what, hint, kept = done.stdout.splitlines()
    assert what == f"{tmp_path / 'e'}: File too large"
    assert hint.startswith("  hint: ")
    assert kept == str(tmp_path / "e")
    assert len(events(tmp_path / "e")) > 3
    assert (tmp_path / "e").read_text().endswith("\n")


def test_a_folder_that_is_gone_is_two_lines(tmp_path: Path, sink: Callable[..., EventSink]) -> None:
    out = sink(tmp_path / "usb" / "e", is_live=False)
    out.write(lights(0, (1, "red")), IMAGE)
    shutil.rmtree(tmp_path / "usb")
    with pytest.raises(UsageError, match="e: No such file"):
        out.close(complete=True)
