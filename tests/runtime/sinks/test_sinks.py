"""Where results go."""

import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.dataset import read_image
from edgestill.detections import Detections
from edgestill.errors import DataError, DeviceError, UsageError
from runtime.frames import Frame, open_source
from runtime.pipeline import FrameResult
from runtime.sinks.image_writer import ImageSink
from runtime.sinks.jsonlines import JsonLines
from runtime.sinks.video_writer import VideoSink
from runtime.sinks.window import WindowSink

CLASSES = ("red", "green")


def picture(value: int = 90, hw: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*hw, 3), value, np.uint8)


def result(index: int = 0, name: str = "a.png", time_s: float = 0.0, **changes: Any) -> FrameResult:
    frame = Frame(image_bgr=picture(), index=index, captured_s=0.0, name=name, decode_ms=1.0, time_s=time_s)
    found = Detections(
        np.array([[1.234, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        np.array([0.87654, 0.5], np.float32),
        np.array([0, 1]),
    )
    facts: dict[str, Any] = {
        "frame": frame,
        "detections": found,
        "track_id": None,
        "states": None,
        "age_ms": 12.3456,
        "rate_fps": None,
        "stages_ms": {"decode": 1.0, "inference": 2.00049},
        "is_live": False,
    }
    return FrameResult(**{**facts, **changes})


def line(**changes: Any) -> dict[str, Any]:
    stream = io.StringIO()
    JsonLines(stream, CLASSES).write(result(**changes), picture())
    (text,) = stream.getvalue().splitlines()
    return dict(json.loads(text))


def test_a_line_holds_what_scripts_rely_on() -> None:
    assert line(index=4, time_s=0.8) == {
        "frame": 4,
        "name": "a.png",
        "time_s": 0.8,
        "age_ms": None,
        "detections": [
            {"box": [1.23, 2.0, 3.0, 4.0], "score": 0.8765, "class_id": 0, "class": "red"},
            {"box": [5.0, 6.0, 7.0, 8.0], "score": 0.5, "class_id": 1, "class": "green"},
        ],
        "stages_ms": {"decode": 1.0, "inference": 2.0},
    }


def test_a_track_is_told_where_there_is_one() -> None:
    first, second = line(track_id=np.array([12, -1]))["detections"]
    assert first["track_id"] == 12
    assert "track_id" not in second


def test_a_state_is_told_where_there_is_a_judge() -> None:
    assert [d["state"] for d in line(states=("red", "unknown"))["detections"]] == ["red", "unknown"]


def test_a_line_is_there_as_soon_as_it_is_written() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    JsonLines(stream, CLASSES).write(result(), picture())
    assert stream.flushed == 1


def test_a_video_holds_every_picture(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out" / "x.mp4", 5, force=False)
    for i in range(6):
        assert sink.write(result(i, time_s=i / 5), picture(40 * i))
    assert sink.close(complete=True) == (tmp_path / "out" / "x.mp4",)
    source = open_source(str(tmp_path / "out" / "x.mp4"))
    levels = [float(f.image_bgr.mean()) for f in source.frames()]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160, 200], atol=4)
    assert source.fps == 5


def test_a_video_of_odd_size_is_written(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False)
    sink.write(result(), picture(hw=(49, 67)))
    sink.close(complete=True)
    assert len(list(open_source(str(tmp_path / "x.mp4")).frames())) == 1


def test_a_video_that_broke_off_is_not_left_behind(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False)
    sink.write(result(), picture())
    assert sink.close(complete=False) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_broke_off_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"old")
    sink = VideoSink(tmp_path / "x.mp4", 5, force=True)
    sink.write(result(), picture())
    sink.close(complete=False)
    assert (tmp_path / "x.mp4").read_bytes() == b"old"


def test_a_video_without_frames_is_no_file(tmp_path: Path) -> None:
    assert VideoSink(tmp_path / "x.mp4", 5, force=False).close(complete=True) == ()


def test_an_existing_video_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").touch()
    with pytest.raises(UsageError, match="exists already"):
        VideoSink(tmp_path / "x.mp4", 5, force=False)


def test_pictures_of_another_size_do_not_fit_into_a_video(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False)
    sink.write(result(), picture())
    with pytest.raises(DataError, match="64x50, the video began with 64x48"):
        sink.write(result(1), picture(hw=(50, 64)))
    sink.close(complete=False)


def test_a_recording_of_a_camera_keeps_real_time(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 10, force=False)
    for time_s in (0.0, 0.3, 0.31, 0.5):  # three frames were dropped, two came close together
        sink.write(result(time_s=time_s, is_live=True), picture())
    sink.close(complete=True)
    frames = open_source(str(tmp_path / "x.mp4")).frames()
    assert [f.time_s for f in frames] == pytest.approx([0, 0.3, 0.31, 0.5])


def test_one_image_is_written_under_its_name(tmp_path: Path) -> None:
    sink = ImageSink(tmp_path / "x.png", force=False)
    sink.write(result(), picture(77))
    assert sink.close(complete=True) == (tmp_path / "x.png",)
    assert (read_image(tmp_path / "x.png") == 77).all()


def test_a_folder_takes_the_names_of_the_images(tmp_path: Path) -> None:
    sink = ImageSink(tmp_path / "out", names=["a.png", "b.jpg"], force=False)
    sink.write(result(name="a.png"), picture())
    sink.write(result(name="b.jpg"), picture())
    assert [f.name for f in sink.close(complete=True)] == ["a.png", "b.jpg"]
    assert read_image(tmp_path / "out" / "b.jpg").shape == (48, 64, 3)


def test_an_existing_image_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(UsageError, match="exists already"):
        ImageSink(tmp_path / "x.png", force=False)


def test_a_window_without_a_display_is_a_device_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="--show needs a display"):
        WindowSink()


@pytest.mark.parametrize(
    ("key", "visible", "goes_on"),
    [(-1, 1.0, True), (ord("q"), 1.0, False), (27, 1.0, False), (-1, 0.0, False)],
)
def test_a_window_is_left_by_key_or_button(
    monkeypatch: pytest.MonkeyPatch, key: int, visible: float, goes_on: bool
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda *_: None)
    monkeypatch.setattr(cv2, "waitKey", lambda _: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: visible)
    assert WindowSink().write(result(), picture()) is goes_on
