"""Video files: the times of their frames, and those that are broken."""

import os
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgestill.errors import DataError
from runtime.frames import Frame, FrameSource, open_source

av = pytest.importorskip("av")
TICKS = 90_000


def film(path: Path, times: Sequence[float], *, codec: str = "libx264", **options: str) -> Path:
    """A video of noise with a white upper left quarter and these times, a key frame every five frames."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        pixels = "rgb8" if codec == "gif" else "yuv420p"
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        if codec != "mpeg4":
            stream.codec_context.time_base = Fraction(1, 100 if codec == "gif" else TICKS)
        stream.codec_context.gop_size = 5
        for time_s in times:
            image = noise.integers(0, 60, (48, 64, 3), dtype=np.uint8)
            image[:24, :32] = 255
            frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=pixels)
            base = stream.codec_context.time_base or Fraction(1, 10)
            frame.pts, frame.time_base = round(time_s / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read(path: Path) -> tuple[FrameSource, list[Frame]]:
    source = open_source(path)
    try:
        return source, list(source.frames())
    finally:
        source.close()


STEADY = [i / 10 for i in range(40)]
VARIABLE = [0, 0.04, 0.07, 0.5, 0.53, 3.0, 3.04]


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.mov", "x.ts"])
def test_a_frame_has_the_time_of_its_stamp(tmp_path: Path, name: str) -> None:
    source, frames = read(film(tmp_path / name, VARIABLE))
    assert [f.time_s for f in frames] == pytest.approx(VARIABLE, abs=2e-3)
    assert (list(source.doubts), source.broke_off) == ([], None)


def test_an_animated_gif_has_the_times_of_its_frames(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 2.2, 2.3, 2.4]
    _, frames = read(film(tmp_path / "x.gif", times, codec="gif"))
    assert [f.time_s for f in frames] == pytest.approx(times)


def test_a_stream_without_stamps_has_the_mean_rate_and_says_so(tmp_path: Path) -> None:
    source, frames = read(film(tmp_path / "x.h264", STEADY))
    assert [f.time_s for f in frames[:3]] == pytest.approx([0, 1 / 25, 2 / 25])
    assert "has no time stamps; times are those of 25 frames" in source.doubts[0]


def test_two_streams_in_one_file_are_counted_on(tmp_path: Path) -> None:
    path = film(tmp_path / "x.ts", STEADY)
    path.write_bytes(path.read_bytes() * 2)
    source, frames = read(path)
    assert [f.time_s for f in frames] == pytest.approx([i / 10 for i in range(80)], abs=2e-3)
    assert "jump back 1 times" in source.doubts[0]


@pytest.mark.parametrize(
    ("name", "options"), [("x.mp4", {"movflags": "faststart"}), ("x.mkv", {}), ("x.flv", {})]
)
def test_a_file_that_was_cut_is_told_with_its_frames(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    path = film(tmp_path / name, STEADY, **options)
    assert read(path)[0].broke_off is None
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    source, frames = read(path)
    assert 15 <= len(frames) <= 30
    assert source.broke_off is not None
    assert f"{len(frames)} of {source.total} frames could be decoded" in source.broke_off


def test_a_file_whose_middle_is_garbage_is_told(tmp_path: Path) -> None:
    path = film(tmp_path / "x.avi", STEADY, codec="mpeg4")
    data = bytearray(path.read_bytes())
    start, size = len(data) // 2, len(data) // 4
    data[start : start + size] = np.random.default_rng(1).integers(0, 255, size, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    source, frames = read(path)
    told = f"{source.broke_off} {source.doubts}"
    assert len(frames) < 40
    assert "of 40 frames could" in told


def test_a_variable_rate_is_no_broken_file(tmp_path: Path) -> None:
    # Without an index OpenCV computes the number of frames from the rate: far too many
    source, frames = read(film(tmp_path / "x.mkv", [0, 0.1, 0.2, 2.2, 2.3, 2.4]))
    assert (source.total or 0) > len(frames)
    assert (source.broke_off, list(source.doubts)) == (None, [])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_video_of_a_phone_is_turned_as_its_metadata_say(tmp_path: Path, turns: int) -> None:
    path = film(tmp_path / "x.mp4", STEADY[:3])
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # the matrix of the track header, version 0
    a, b, c, d = [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][turns - 1]
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    image = read(path)[1][0].image_bgr
    upright: Any = np.zeros((48, 64))
    upright[:24, :32] = 1
    turned = np.rot90(upright, -turns)  # clockwise
    assert image.shape[:2] == turned.shape
    assert image[turned == 1].mean() > 200
    assert image[turned == 0].mean() < 100


def test_a_video_without_frames_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(DataError, match="has no frame that can be decoded"):
        read(path)


@pytest.mark.parametrize("name", ["12:30.mp4", "[x].mp4", "100%03d.mp4", "红灯.mp4"])
def test_any_name_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    film(tmp_path / "x.mp4", STEADY[:3]).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(Path(name))[1]) == 3


def test_a_name_that_is_not_utf_8_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.mp4")
    film(tmp_path / "x.mp4", STEADY[:3]).rename(path)
    with pytest.raises(DataError, match="is not a name in UTF-8"):
        open_source(path)
