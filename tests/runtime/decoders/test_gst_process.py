"""GStreamer in a child process, for real."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgestill.errors import DeviceError
from runtime.decoders import gst_elements
from runtime.decoders.gst_process import GstReader
from runtime.frames import open_source

if not gst_elements.has_gst_launch():
    pytest.skip("gst-launch-1.0 is not installed (gstreamer1.0-tools)", allow_module_level=True)

BGR = "videoconvert ! video/x-raw, format=BGR"
TEN = "videotestsrc num-buffers=10 pattern=red ! video/x-raw, width={}, height=48, framerate=5/1"


def reader(pipeline: str, *, is_live: bool = False) -> GstReader:
    return GstReader(f"{pipeline} ! {BGR}", "test", is_live=is_live)


@pytest.fixture
def opened() -> Iterator[list[GstReader]]:
    readers: list[GstReader] = []
    yield readers
    for one in readers:
        one.close()


@pytest.mark.parametrize("width", [64, 65, 66, 67])  # rows of the others are padded in the pipe
def test_every_frame_comes_with_its_size_and_time(opened: list[GstReader], width: int) -> None:
    child = reader(TEN.format(width))
    opened.append(child)
    frames = []
    while grabbed := child.grab():
        frames.append((grabbed.to_bgr(), grabbed.stamp_s))
    assert child.fps == 5
    assert [stamp for _, stamp in frames] == pytest.approx([i / 5 for i in range(10)])
    for image, _ in frames:
        assert image.shape == (48, width, 3)
        np.testing.assert_array_equal(image, np.broadcast_to([0, 0, 255], image.shape))


def test_frames_that_are_held_are_not_written_over(opened: list[GstReader]) -> None:
    child = reader("videotestsrc num-buffers=5 pattern=ball motion=sweep ! video/x-raw, width=64, height=48")
    opened.append(child)
    images: list[Any] = []
    copies = []
    while grabbed := child.grab():
        images.append(grabbed.to_bgr())
        copies.append(images[-1].copy())
    for image, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(image, copy)
    assert len({image.__array_interface__["data"][0] for image in images}) == 5


def test_arrays_that_nobody_holds_are_used_again(opened: list[GstReader]) -> None:
    child = reader(TEN.format(64))
    opened.append(child)
    places = set()
    while grabbed := child.grab():
        places.add(grabbed.to_bgr().__array_interface__["data"][0])
    assert len(places) <= 2


def test_closing_ends_the_child(opened: list[GstReader]) -> None:
    child = reader("videotestsrc is-live=true ! video/x-raw, width=64, height=48", is_live=True)
    assert child.grab() is not None
    number = child._child.pid
    child.close()
    child.close()
    assert child.grab() is None
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_missing_element_is_named() -> None:
    with pytest.raises(DeviceError, match="test needs GStreamer's element nvarguscamerasr, which") as caught:
        reader("nvarguscamerasr")
    assert "nvidia-l4t-gstreamer" in caught.value.hint
    assert "gst-inspect-1.0 nvarguscamerasr" in caught.value.hint


def test_missing_gstreamer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="test needs GStreamer, which is not installed") as caught:
        reader("videotestsrc")
    assert "apt install gstreamer1.0-tools" in caught.value.hint


@pytest.mark.parametrize(
    ("pipeline", "what"),
    [
        ("videotestsrc nosuch=1", 'no property "nosuch"'),
        ("filesrc location=/nonexistent ! decodebin", "Resource not found"),
        ("rtspsrc location=rtsp://me:hidden@127.0.0.1:9/x ! decodebin", "Could not open resource"),
    ],
)
def test_why_a_pipeline_does_not_start_is_told(pipeline: str, what: str) -> None:
    with pytest.raises(DeviceError) as caught:
        reader(pipeline)
    assert what in caught.value.what
    assert "hidden" not in str(caught.value)


def test_gst_as_a_source() -> None:
    source = open_source("gst://videotestsrc is-live=true pattern=blue ! video/x-raw, width=64, height=48")
    frames = source.frames()
    first, second = next(frames), next(frames)
    source.close()
    assert (source.is_live, source.decoder) == (True, "gst-launch-1.0")
    assert first.image_bgr[0, 0].tolist() == [255, 0, 0]
    assert second.time_s > first.time_s


def test_a_video_by_gstreamer_is_that_by_opencv(tmp_path: Path) -> None:
    path = tmp_path / 'a "b" c.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for i in range(10):
        writer.write(np.full((48, 64, 3), 20 * i, np.uint8))
    writer.release()
    found = {}
    for decoder in ("gstreamer", "opencv"):
        source = open_source(path, decoder=decoder)
        frames = list(source.frames())
        source.close()
        assert (source.total, source.fps, list(source.doubts), source.broke_off) == (10, 5, [], None)
        found[decoder] = [(round(f.time_s, 3), round(float(f.image_bgr.mean()) / 4)) for f in frames]
    assert found["gstreamer"] == found["opencv"]
