"""PyAV and OpenCV give the same frames; arrays are used again; images are turned."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgestill.errors import DeviceError, UsageError
from runtime.array_pool import MOST, ArrayPool
from runtime.decoders import path_choice
from runtime.decoders.opencv_reader import OpencvReader
from runtime.decoders.orientation import flipped, rotated
from runtime.decoders.path_choice import Machine, choose
from runtime.frames import Frame, open_source

X86 = Machine(is_jetson=False, has_pyav=True, has_gstreamer=True, has_nv_decoder=False)
JETSON = Machine(is_jetson=True, has_pyav=True, has_gstreamer=True, has_nv_decoder=True)
BARE = Machine(is_jetson=False, has_pyav=False, has_gstreamer=False, has_nv_decoder=False)
IN_CONTAINER = Machine(is_jetson=True, has_pyav=True, has_gstreamer=True, has_nv_decoder=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Noise of an odd width, whose rows are padded in FFmpeg's buffers."""
    path = tmp_path / "x.avi"
    random = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (75, 49))
    for _ in range(6):
        writer.write(cv2.resize(random.integers(0, 255, (7, 9, 3), np.uint8), (75, 49)))
    writer.release()
    return path


def read(path: Path, decoder: str) -> Iterator[Frame]:
    source = open_source(path, decoder=decoder)
    try:
        yield from source.frames()
    finally:
        source.close()


def test_pyav_and_opencv_give_the_same_frames_at_the_same_times(clip: Path) -> None:
    pytest.importorskip("av")
    one, other = list(read(clip, "pyav")), list(read(clip, "opencv"))
    assert [f.time_s for f in one] == pytest.approx([f.time_s for f in other])
    assert len(one) == 6
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.image_bgr, b.image_bgr)
        assert a.image_bgr.flags.c_contiguous


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_frames_that_are_held_are_not_written_over(clip: Path, decoder: str) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    frames, copies = [], []
    for frame in read(clip, decoder):
        frames.append(frame)
        copies.append(frame.image_bgr.copy())
    for frame, copy in zip(frames, copies, strict=True):
        np.testing.assert_array_equal(frame.image_bgr, copy)


def test_opencv_writes_into_arrays_that_nobody_holds(clip: Path) -> None:
    places = {f.image_bgr.__array_interface__["data"][0] for f in read(clip, "opencv")}
    assert len(places) <= 3


@pytest.mark.parametrize(
    ("machine", "wanted", "by_hardware", "decoder"),
    [
        (X86, None, True, "pyav"),
        (BARE, None, True, "opencv"),
        (JETSON, None, True, "gstreamer"),
        (JETSON, None, False, "pyav"),  # MJPEG over HTTP
        (IN_CONTAINER, None, True, "pyav"),
        (JETSON, "opencv", True, "opencv"),
        (X86, "gstreamer", True, "gstreamer"),
    ],
)
def test_the_decoder_is_the_best_of_the_machine_or_the_one_that_was_asked_for(
    machine: Machine, wanted: str | None, by_hardware: bool, decoder: str
) -> None:
    assert choose(machine, wanted, by_hardware=by_hardware) == decoder


def test_an_unknown_decoder_is_a_usage_error(clip: Path) -> None:
    with pytest.raises(UsageError, match="no decoder is called 'ffmpeg'"):
        open_source(clip, decoder="ffmpeg")


def test_pyav_that_is_not_installed_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(DeviceError, match="the decoder 'pyav' needs 'av', which is not installed"):
        open_source(clip, decoder="pyav")
    source = open_source(clip)
    assert source.decoder == "OpenCV (FFmpeg)"
    source.close()


def test_a_jetson_is_known_by_its_files() -> None:
    assert path_choice.this_machine().is_jetson == Path("/etc/nv_tegra_release").exists()


class Camera:
    """The part of ``cv2.VideoCapture`` that a reader uses; its third frame is damaged."""

    def __init__(self, *, stamp_s: float) -> None:
        self.count, self._stamp_s = 0, stamp_s

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_POS_MSEC: self._stamp_s * 1e3}.get(name, -1.0)

    def grab(self) -> bool:
        self.count += 1
        return self.count <= 4

    def retrieve(self, room: Any) -> tuple[bool, Any]:
        if self.count == 3:
            return False, None
        room = np.empty((4, 6, 3), np.uint8) if room is None else room
        room[:] = self.count
        return True, room

    def release(self) -> None:
        pass


def values(reader: OpencvReader) -> list[int]:
    found = []
    while grabbed := reader.grab():
        found.append(int(grabbed.to_bgr()[0, 0, 0]))
    return found


def test_a_damaged_frame_of_a_camera_is_left_out_and_counted() -> None:
    reader = OpencvReader(Camera(stamp_s=0), cv2.CAP_V4L2, is_live=True)
    assert (values(reader), reader.failed) == ([1, 2, 4], 1)


def test_a_damaged_frame_ends_a_file() -> None:
    reader = OpencvReader(Camera(stamp_s=0), cv2.CAP_FFMPEG, is_live=False)
    assert values(reader) == [1, 2]


@pytest.mark.parametrize(
    ("clock_s", "stamp_s", "captured_s"),
    [
        pytest.param(50.0, 49.95, 49.95, id="on this clock"),
        pytest.param(50.0, 1_700_000_000.0, 50.0, id="wall clock"),
        pytest.param(50.0, 0.0, 50.0, id="no stamp"),
        pytest.param(50.0, 50.01, 50.0, id="ahead"),
    ],
)
def test_a_frame_of_a_v4l2_camera_has_the_kernels_time_of_capture(
    monkeypatch: pytest.MonkeyPatch, clock_s: float, stamp_s: float, captured_s: float
) -> None:
    monkeypatch.setattr("runtime.decoders.opencv_reader.perf_counter", lambda: clock_s)
    grabbed = OpencvReader(Camera(stamp_s=stamp_s), cv2.CAP_V4L2, is_live=True).grab()
    assert grabbed is not None
    assert (grabbed.captured_s, grabbed.stamp_s) == (captured_s, None)


def test_a_pool_gives_no_array_that_somebody_holds() -> None:
    pool = ArrayPool()
    held = [pool.take((2, 3))[:1] for _ in range(MOST + 3)]  # views
    for i, view in enumerate(held):
        view[:] = i
    assert [int(view[0, 0]) for view in held] == list(range(MOST + 3))
    assert all(view.base is not None for view in held)


def test_a_pool_forgets_another_size() -> None:
    pool = ArrayPool()
    for _ in range(3):
        assert pool.take((2, 3)).shape == (2, 3)
        assert pool.take((4, 3)).shape == (4, 3)
    assert len(pool._arrays) == 1


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        (0, ["ab", "cd"]),
        (1, ["bd", "ac"]),
        (2, ["dc", "ba"]),
        (3, ["ca", "db"]),
        (4, ["ba", "dc"]),
        (5, ["db", "ca"]),
        (6, ["cd", "ab"]),
        (7, ["ac", "bd"]),
    ],
)
def test_images_are_turned_as_gstreamer_turns_them(method: int, rows: list[str]) -> None:
    image = np.array([[[ord(c)] * 3 for c in row] for row in ("ab", "cd")], np.uint8)
    turned = ["".join(chr(pixel[0]) for pixel in row) for row in flipped(image, method)]
    assert turned == rows


@pytest.mark.parametrize(("degrees", "method"), [(0, 0), (90, 1), (-90, 3), (180, 2), (-180, 2), (45, 0)])
def test_angles_count_to_the_left(degrees: int, method: int) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(rotated(image, degrees), flipped(image, method))
