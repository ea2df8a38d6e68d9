"""Where results go."""

import errno
import io
import json
import shutil
import subprocess
import sys
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
    assert line(index=4, time_s=0.8, source="csi0") == {
        "source": "csi0",
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


def test_the_age_of_a_live_frame_is_told() -> None:
    assert line(is_live=True)["age_ms"] == 12.346


FULL_FILE = """
import io, resource, sys
import numpy as np
from edgestill.detections import Detections
from edgestill.errors import UsageError
from runtime.frames import Frame
from runtime.pipeline import FrameResult
from runtime.sinks.jsonlines import JsonLines
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
image = np.zeros((4, 4, 3), np.uint8)
frame = Frame(image_bgr=image, index=0, captured_s=0.0, name="a", decode_ms=1.0)
result = FrameResult(frame=frame, detections=Detections.empty(), track_id=None, states=None, age_ms=1.0,
                     rate_fps=None, stages_ms={}, is_live=False)
try:
    for _ in range(100):
        JsonLines(sys.stdout, ("a",)).write(result, image)
except UsageError as error:
    print(error.what, file=sys.stderr)
"""


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    with (tmp_path / "lines").open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-c", FULL_FILE], stdout=stream, stderr=subprocess.PIPE, text=True, check=True
        )
    assert done.stderr.startswith("the JSON lines cannot be written")
    lines = (tmp_path / "lines").read_text()
    assert lines.endswith("\n")
    assert [json.loads(text)["frame"] for text in lines.splitlines()] == [0] * len(lines.splitlines())
    assert len(lines.splitlines()) > 5


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


def test_a_camera_recording_that_broke_off_stays(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False, is_live=True)
    for i in range(3):
        sink.write(result(time_s=i / 5), picture())
    assert sink.close(complete=False) == (tmp_path / "x.mp4",)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    assert len(list(open_source(tmp_path / "x.mp4").frames())) == 3


def test_a_camera_recording_that_broke_off_replaces_no_older_one(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"older")
    sink = VideoSink(tmp_path / "x.mp4", 5, force=True, is_live=True)
    sink.write(result(), picture())
    assert sink.close(complete=False) == (tmp_path / "x.part.mp4",)
    assert (tmp_path / "x.mp4").read_bytes() == b"older"
    assert len(list(open_source(tmp_path / "x.part.mp4").frames())) == 1


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes the first frame."""

    class Full:
        codec = "h264"

        def __init__(self, path: Path, *_: Any) -> None:
            self._path = path

        def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
            if time_s:
                raise OSError(errno.ENOSPC, "No space left on device")
            self._path.write_bytes(b"film")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("runtime.sinks.video_writer.open_encoder", Full)


@pytest.mark.usefixtures("full_disk")
def test_what_a_full_disk_took_stays(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False, is_live=True)
    sink.write(result(), picture())
    with pytest.raises(UsageError, match=r"x\.mp4: No space left on device"):
        sink.write(result(time_s=1.0), picture())
    assert sink.close(complete=False) == (tmp_path / "x.mp4",)
    assert (tmp_path / "x.mp4").read_bytes() == b"film"


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize(("is_live", "left"), [(True, ["x.mp4"]), (False, [])])
def test_a_disk_that_is_full_at_the_end_is_an_error(tmp_path: Path, is_live: bool, left: list[str]) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False, is_live=is_live)
    sink.write(result(), picture())
    with pytest.raises(UsageError, match="No space left on device"):
        sink.close(complete=True)
    assert [p.name for p in tmp_path.iterdir()] == left


def test_a_first_frame_that_no_encoder_takes_leaves_no_file(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False, is_live=True)
    with pytest.raises(DeviceError, match="20000x2 video"):
        sink.write(result(), picture(hw=(2, 20_000)))
    assert sink.close(complete=False) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_was_unplugged_is_two_lines(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "usb" / "x.mp4", 5, force=False, is_live=True)
    sink.write(result(), picture())
    shutil.rmtree(tmp_path / "usb")
    with pytest.raises(UsageError, match=r"x\.part\.mp4: No such file"):
        sink.close(complete=True)


def test_the_fallback_codec_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runtime.sinks.encoders.has_h264", lambda: False)
    monkeypatch.setattr("runtime.sinks.encoders.has_element", lambda _: False)
    sink = VideoSink(tmp_path / "x.mp4", 5, force=False)
    for i in range(3):
        sink.write(result(time_s=i / 5), picture())
    sink.close(complete=True)
    assert sink.codec == "mp4v"
    assert capsys.readouterr().err.count("pip install av") == 1


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


def test_equal_names_in_two_folders_stay_apart(tmp_path: Path) -> None:
    sink = ImageSink(tmp_path / "out", names=["a/1.jpg", "b/1.jpg"], force=False)
    sink.write(result(name="a/1.jpg"), picture(50))
    sink.write(result(name="b/1.jpg"), picture(150))
    levels = [round(float(read_image(path).mean())) for path in sink.close(complete=True)]
    assert levels == [50, 150]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["A.jpg", "a.jpg"], ["A.jpg", "a-2.jpg"]),
        (["x/1.png", "X/1.png", "x/1.jpg"], ["x/1.png", "X/1-2.png", "x/1.jpg"]),
        (["\u00e9.png", "e\u0301.png"], ["\u00e9.png", "e\u0301-2.png"]),
    ],
)
def test_names_that_some_file_systems_take_for_one_are_two(
    tmp_path: Path, names: list[str], files: list[str]
) -> None:
    sink = ImageSink(tmp_path, names=names, force=False)
    for name in names:
        sink.write(result(name=name), picture())
    assert sink.close(complete=True) == tuple(tmp_path / file for file in files)


@pytest.mark.parametrize("link", [False, True])
def test_an_image_that_is_read_is_not_written(tmp_path: Path, link: bool) -> None:
    source = tmp_path / "in" / "x.png"
    source.parent.mkdir()
    source.write_bytes(b"image")
    target = tmp_path / "out" if link else tmp_path / "in"
    if link:
        target.mkdir()
        (target / "x.png").hardlink_to(source)
    with pytest.raises(UsageError, match="would overwrite the source"):
        ImageSink(target, names=["x.png"], sources=[source], force=True)


def test_every_image_of_a_folder_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.png").touch()
    with pytest.raises(UsageError, match=r"2\.png exists already"):
        ImageSink(tmp_path, names=["a/1.png", "b/2.png"], force=False)


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


def test_each_of_several_sources_has_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    shown: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda title, _: opened.append(title))
    monkeypatch.setattr(cv2, "imshow", lambda title, _: shown.append(title))
    monkeypatch.setattr(cv2, "waitKey", lambda _: -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, _: float(title in opened))
    window = WindowSink(["csi0", "drive.mp4"])
    assert all(window.write(result(source=name), picture()) for name in ("csi0", "drive.mp4", "csi0"))
    assert opened == ["edgestill csi0", "edgestill drive.mp4"]
    assert shown == ["edgestill csi0", "edgestill drive.mp4", "edgestill csi0"]
    one = WindowSink(["drive.mp4"])
    one.write(result(source="drive.mp4"), picture())
    assert opened[-1] == shown[-1] == "edgestill"
