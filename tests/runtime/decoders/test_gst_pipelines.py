"""Texts of pipelines, against what NVIDIA's elements and GStreamer expect."""

import subprocess
from pathlib import Path

import pytest

from runtime.decoders import gst_pipelines as gst
from runtime.decoders.gst_elements import has_gst_launch

HD = gst.Mode(width=1280, height=720, fps=30)
END = "nvvidconv ! video/x-raw, format=BGRx ! videoconvert ! video/x-raw, format=BGR"


def test_a_csi_camera_goes_through_argus_and_the_vic() -> None:
    assert gst.csi(1, HD, 2) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM), width=(int)1280, height=(int)720, "
        "framerate=(fraction)30/1 ! nvvidconv flip-method=2 ! video/x-raw, format=(string)BGRx "
        "! videoconvert ! video/x-raw, format=BGR"
    )
    assert "flip-method" not in gst.csi(0, HD, 0)


def test_jpeg_of_a_usb_camera_is_decoded_by_hardware_on_a_jetson() -> None:
    assert gst.v4l2("/dev/video0", HD, "MJPG", on_jetson=True) == (
        'v4l2src device="/dev/video0" do-timestamp=true ! image/jpeg, width=(int)1280, height=(int)720, '
        f"framerate=(fraction)30/1 ! jpegparse ! nvv4l2decoder mjpeg=1 enable-max-performance=1 ! {END}"
    )


def test_a_usb_camera_elsewhere() -> None:
    to_bgr = "videoconvert ! video/x-raw, format=BGR"
    start = 'v4l2src device="/dev/video0" do-timestamp=true'
    any_raw = gst.v4l2("/dev/video0", None, None, on_jetson=False)
    assert any_raw == f"{start} ! video/x-raw ! {to_bgr}"
    sized = gst.Mode(width=640, height=480, fps=None)
    yuyv = gst.v4l2("/dev/video0", sized, "YUYV", on_jetson=False)
    assert yuyv == f"{start} ! video/x-raw, format=YUY2, width=(int)640, height=(int)480 ! {to_bgr}"
    jpeg = gst.v4l2("/dev/video0", None, "MJPG", on_jetson=False)
    assert jpeg == f"{start} ! image/jpeg ! jpegparse ! jpegdec ! {to_bgr}"


def test_rtsp_on_a_jetson_is_decoded_by_hardware() -> None:
    text = gst.rtsp("rtsp://me:pw@cam/x?a=1&b=2", latency_ms=50, transport="tcp", on_jetson=True)
    assert text == (
        'rtspsrc location="rtsp://me:pw@cam/x?a=1&b=2" latency=50 drop-on-latency=true protocols=tcp '
        "! application/x-rtp, media=video ! queue ! parsebin ! nvv4l2decoder enable-max-performance=1 "
        f"! {END}"
    )


def test_a_file_on_a_jetson_is_decoded_by_hardware() -> None:
    text = gst.file("/data/drive.mp4", on_jetson=True)
    decoder = "parsebin ! nvv4l2decoder enable-max-performance=1"
    assert text == f'filesrc location="/data/drive.mp4" ! {decoder} ! {END}'
    assert "decodebin" in gst.file("/data/drive.mp4", on_jetson=False)


@pytest.mark.parametrize(("fps", "text"), [(30, "30/1"), (29.97, "29970/1000"), (0.5, "500/1000")])
def test_a_rate_is_a_fraction(fps: float, text: str) -> None:
    assert gst.Mode(width=2, height=2, fps=fps).caps.endswith(f"framerate=(fraction){text}")


@pytest.mark.parametrize(
    "text",
    [
        "videotestsrc ! videoconvert",
        "videotestsrc ! videoconvert !",
        " videotestsrc ! videoconvert ! appsink drop=1 max-buffers=1",
        "videotestsrc ! videoconvert !appsink",
    ],
)
def test_a_users_pipeline_ends_in_bgr_whatever_its_end(text: str) -> None:
    wanted = "videotestsrc ! videoconvert ! videoconvert ! video/x-raw, format=BGR"
    assert gst.custom(text) == wanted


def test_opencv_gets_the_newest_frame_of_a_camera_and_every_one_of_a_file() -> None:
    assert gst.for_opencv("x", is_live=True) == "x ! appsink drop=1 max-buffers=1 sync=false"
    assert gst.for_opencv("x", is_live=False) == "x ! appsink sync=false"


def test_the_child_gets_one_argument_a_word_and_quotes_stay_whole() -> None:
    arguments = gst.for_child('filesrc location="/a b/\\"c\\".mp4" ! decodebin', 7, is_live=False)
    assert arguments[:5] == ["-v", "filesrc", 'location="/a b/\\"c\\".mp4"', "!", "decodebin"]
    assert arguments[-3:] == ["fdsink", "fd=7", "sync=false"]
    assert "queue" not in arguments
    live = gst.for_child("x", 7, is_live=True)
    assert live[live.index("queue") + 1] == "leaky=downstream"


def test_the_elements_of_a_pipeline_are_found() -> None:
    text = 'a name=x ! video/x-raw(memory:NVMM), width=1 ! b-c p="d ! e" ! x. ! b-c ! application/x-rtp ! f'
    assert gst.elements(text) == ["a", "b-c", "f"]


@pytest.mark.parametrize(
    "value", ["/plain", "/with space", '/with "quotes"', "/back\\slash", "/a!b", "/ä 红", "/a;b$(c)'d'"]
)
def test_gstreamer_reads_a_quoted_value_as_it_was(tmp_path: Path, value: str) -> None:
    if not has_gst_launch():
        pytest.skip("gst-launch-1.0 is not installed")
    path = tmp_path / value.replace("/", "")
    path.write_bytes(b"content")
    out = tmp_path / "out"
    text = f"filesrc location={gst.quoted(str(path))} ! filesink location={gst.quoted(str(out))}"
    arguments = gst.for_child(text, 1, is_live=False)
    subprocess.run(["gst-launch-1.0", *arguments[: arguments.index("identity") - 1]], check=True, timeout=60)
    assert out.read_bytes() == b"content"
