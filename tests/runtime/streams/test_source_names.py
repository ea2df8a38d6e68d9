"""Every source has a short name of its own, without a password in it."""

from pathlib import Path

import pytest

from runtime.streams.source_names import source_names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/drive.mp4", "drive.mp4"),
        ("a/drive[1].mp4", "a"),
        ("frames/", "frames"),
        ("a/frames/*.png", "frames"),
        ("*.png", "source"),
        (".", "source"),
        ("0", "camera0"),
        ("csi://0", "csi0"),
        ("csi://1?width=1280&fps=30", "csi1"),
        ("v4l2:///dev/video2?format=MJPG", "video2"),
        ("rtsp://admin:secret@10.0.0.7:554/live?channel=1", "10.0.0.7"),
        ("http://cam.example/mjpeg", "cam.example"),
        ("rtsp://[fe80::1]/x", "fe80::1"),
        ("rtsp://[", "rtsp"),
        ("gst://videotestsrc ! videoconvert", "gst"),
    ],
)
def test_the_name_is_short(text: str, name: str) -> None:
    assert source_names([text]) == (name,)


def test_equal_names_get_numbers() -> None:
    texts = ["a/drive.mp4", "b/drive.mp4", "c/Drive.mp4", "drive-2.mp4", "rtsp://host/1", "rtsp://host/2"]
    names = ("drive.mp4", "drive-2.mp4", "Drive-3.mp4", "drive-2-2.mp4", "host", "host-2")
    assert source_names(texts) == names


def test_a_file_whose_name_looks_like_a_pattern_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "drive[1].mp4").touch()
    assert source_names([str(tmp_path / "drive[1].mp4")]) == ("drive[1].mp4",)
