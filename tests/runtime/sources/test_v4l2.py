"""Cameras by device file: what is asked of OpenCV and GStreamer, and sensors that have no picture."""

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgestill.errors import DeviceError, UsageError
from runtime.frames import open_source
from runtime.sources._address import Options
from runtime.sources._v4l2_formats import pixel_formats, refuse_bayer
from runtime.sources.v4l2 import capture_options


class FakeDriver:
    """``VIDIOC_ENUM_FMT`` as the kernel answers it: EINVAL behind the last format, ENOTTY for no camera."""

    def __init__(self, *formats: str, is_camera: bool = True) -> None:
        self._formats, self._is_camera = formats, is_camera

    def __call__(self, handle: int, request: int, argument: bytes) -> bytes:
        assert os.fstat(handle)
        assert request == 0xC0405602
        assert len(argument) == (request >> 16) & 0x3FFF == 64
        index, kind = struct.unpack_from("=II", argument)
        assert kind == 1
        if not self._is_camera:
            raise OSError(errno.ENOTTY, "not a camera")
        if index >= len(self._formats):
            raise OSError(errno.EINVAL, "no such format")
        return struct.pack("=3I32s4s4I", index, kind, 0, b"name", self._formats[index].encode(), 0, 0, 0, 0)


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "video3"
    path.touch()
    return str(path)


def test_the_formats_are_those_of_the_driver(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", FakeDriver("MJPG", "YUYV"))
    assert pixel_formats(device) == ["MJPG", "YUYV"]


@pytest.mark.parametrize("formats", [("RG10",), ("RG10", "BG10", "BA12"), ("pRAA",), ("BA81", "GRBG")])
def test_a_sensor_with_raw_data_only_is_sent_to_csi(
    device: str, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...]
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", FakeDriver(*formats))
    with pytest.raises(DeviceError, match="is a CSI sensor: it gives only raw Bayer data") as caught:
        open_source(f"v4l2://{device}")
    assert "use csi://3" in caught.value.hint
    assert formats[0] in caught.value.what


@pytest.mark.parametrize(
    "formats", [("MJPG",), ("RG10", "YUYV"), ("NV12",), ("RGB3", "BGR3", "GREY"), ("H264",)]
)
def test_other_cameras_are_not(
    device: str, monkeypatch: pytest.MonkeyPatch, formats: tuple[str, ...]
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", FakeDriver(*formats))
    refuse_bayer(device)


def test_a_file_that_is_no_camera_has_no_formats(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pixel_formats(device) == []
    monkeypatch.setattr(fcntl, "ioctl", FakeDriver(is_camera=False))
    assert pixel_formats(device) == []
    assert pixel_formats("/dev/video97") == []


def test_a_file_that_is_no_camera_does_not_open(device: str) -> None:
    with pytest.raises(DeviceError, match="does not open"):
        open_source(f"v4l2://{device}")


def test_an_address_without_a_device_is_told() -> None:
    with pytest.raises(UsageError, match="v4l2:// names no device"):
        open_source("v4l2://")


def test_what_is_wanted_is_asked_of_the_camera(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("runtime.sources.v4l2.open_capture", lambda *args: asked.append(args))
    with pytest.raises(DeviceError, match="does not open"):
        open_source(f"v4l2://{device}?width=1280&height=720&fps=30&format=MJPG")
    jpeg = cv2.VideoWriter.fourcc(*"MJPG")
    ((target, api, options),) = asked
    assert (target, api) == (device, cv2.CAP_V4L2)
    assert options[:2] == [cv2.CAP_PROP_FOURCC, jpeg]  # first: sizes depend on it
    assert dict(zip(options[2::2], options[3::2], strict=True)) == {
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 30,
    }


def test_what_is_not_wanted_is_left_to_the_camera() -> None:
    assert capture_options(Options()) == []


def test_a_format_without_a_name_in_gstreamer_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="format=BGR3 is not for --decoder gstreamer"):
        open_source(f"v4l2://{device}?format=BGR3", decoder="gstreamer")


@pytest.mark.parametrize("source", ["v4l2:///dev/video0", "0", "csi://0", "gst://fakesrc"])
def test_pyav_reads_no_local_camera(source: str) -> None:
    with pytest.raises(UsageError, match="--decoder pyav does not read"):
        open_source(source, decoder="pyav")
