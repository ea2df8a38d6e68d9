"""Where frames come from."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import DataError, DeviceError, UsageError
from runtime.frames import SOURCES, Frame, open_source


def grey(value: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in {"b.png": 20, "a.png": 10, "c.jpg": 30}.items():
        cv2.imwrite(str(tmp_path / name), grey(value))
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames at 5 fps, each brighter than the one before."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 5, (64, 48))
    for i in range(10):
        writer.write(grey(20 * i))
    writer.release()
    return path


def take(text: str) -> list[Frame]:
    source = open_source(text)
    try:
        return list(source.frames())
    finally:
        source.close()
        source.close()


def brightness(frames: list[Frame]) -> list[int]:
    return [round(float(f.image_bgr.mean())) for f in frames]


def test_one_image_is_one_frame(folder: Path) -> None:
    (frame,) = take(str(folder / "b.png"))
    assert (frame.index, frame.name, frame.image_bgr.shape) == (0, "b.png", (48, 64, 3))


def test_a_folder_gives_its_images_by_name(folder: Path) -> None:
    frames = take(str(folder))
    assert [f.name for f in frames] == ["a.png", "b.png", "c.jpg"]
    assert [f.index for f in frames] == [0, 1, 2]


def test_a_glob_picks(folder: Path) -> None:
    assert brightness(take(str(folder / "*.png"))) == [10, 20]


def test_a_glob_may_go_down(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.png").rename(folder / "deep" / "a.png")
    assert len(take(str(folder / "**" / "*.png"))) == 2


def test_images_know_their_number_and_have_no_pace(folder: Path) -> None:
    source = open_source(str(folder))
    assert (source.total, source.fps, source.is_live, source.dropped) == (3, None, False, 0)


def test_a_video_gives_every_frame_in_order(clip: Path) -> None:
    frames = take(str(clip))
    assert [f.index for f in frames] == list(range(10))
    assert brightness(frames) == sorted(brightness(frames))


def test_a_video_knows_its_pace_and_length(clip: Path) -> None:
    source = open_source(str(clip))
    assert (source.total, source.fps, source.is_live) == (10, 5, False)


def test_a_frames_time_is_its_place_in_the_video(clip: Path) -> None:
    assert [f.time_s for f in take(str(clip))[:3]] == pytest.approx([0, 0.2, 0.4])


def test_decoding_is_timed(clip: Path) -> None:
    assert all(f.decode_ms > 0 for f in take(str(clip)))


def test_a_file_of_no_known_suffix_is_taken_for_a_video(clip: Path) -> None:
    clip.rename(clip.with_suffix(".clip"))
    assert len(take(str(clip.with_suffix(".clip")))) == 10


@pytest.mark.parametrize("name", ["x.png", "x.mp4", "nowhere/*.png", "x"])
def test_a_missing_file_is_a_data_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(str(tmp_path / name))


def test_a_folder_without_images_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        open_source(str(tmp_path))


def test_a_truncated_image_ends_the_run_where_it_lies(folder: Path) -> None:
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:-20])
    frames = open_source(str(folder)).frames()
    assert next(frames).name == "a.png"
    with pytest.raises(DataError, match=r"b\.png is truncated"):
        next(frames)


@pytest.mark.parametrize("part", [0.0, 0.5])
def test_a_truncated_video_is_a_data_error(clip: Path, part: float) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(DataError, match="not a video that can be decoded"):
        take(str(clip))


@pytest.mark.parametrize("source", ["cut.mp4", "97"])
def test_opencv_and_ffmpeg_stay_silent_when_a_source_does_not_open(tmp_path: Path, source: str) -> None:
    (tmp_path / "cut.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(500))
    code = f"""
from edgestill.errors import ToolchainError
from runtime.frames import open_source
try:
    open_source({source!r})
except ToolchainError as error:
    print(error.what)
"""
    # FFmpeg reads its log level once a process, so only a fresh one shows what a user sees
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_video_whose_frames_are_garbage_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "x.avi"
    path.write_bytes(b"RIFF\x00\x00\x00\x00AVI " + bytes(200))
    with pytest.raises(DataError):
        take(str(path))


@pytest.mark.parametrize("scheme", ["ftp", "webcam", "video", "images"])
def test_a_scheme_that_nobody_reads_gets_the_list(scheme: str) -> None:
    with pytest.raises(UsageError, match=f"no frame source reads {scheme}://") as caught:
        open_source(f"{scheme}://0")
    assert "rtsp://" in caught.value.hint


def test_every_source_file_opens_frames() -> None:
    assert all(callable(SOURCES.load(name).open_frames) for name in SOURCES.names())


def test_a_camera_that_is_not_there_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="camera 97 does not open"):
        open_source("97")


def test_a_device_file_that_is_not_there_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="/dev/video97 does not exist"):
        open_source("v4l2:///dev/video97")


def test_a_password_is_in_no_message() -> None:
    with pytest.raises(DeviceError) as caught:
        open_source("rtsp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)
