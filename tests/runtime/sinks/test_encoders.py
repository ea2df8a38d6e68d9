"""Video files: codec, times, sizes, and what is left of one that broke off."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.sinks import encoders
from runtime.sinks.encoders import open_encoder
from runtime.sinks.video_codec import H264, MP4V

av = pytest.importorskip("av")
TIMES = [0.0, 0.04, 0.5, 0.51, 3.0]


def plain(value: int, hw: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*hw, 3), value, np.uint8)


def written(path: Path, times: list[float] = TIMES, hw: tuple[int, int] = (48, 64)) -> Path:
    encoder = open_encoder(path, (hw[1], hw[0]), 10)
    for i, time_s in enumerate(times):
        encoder.write(plain(40 * i, hw), time_s)
    encoder.close()
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".m4v"])
def test_a_file_is_h264_that_browsers_play_with_the_times_of_its_frames(tmp_path: Path, suffix: str) -> None:
    with av.open(str(written(tmp_path / f"x{suffix}"))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (H264, "yuv420p")
        assert [frame.time for frame in container.decode(stream)] == pytest.approx(TIMES, abs=1e-3)


def test_times_that_do_not_increase_are_moved_by_a_millisecond(tmp_path: Path, frames_of: Any) -> None:
    path = written(tmp_path / "x.mkv", [0.0, 0.1, 0.1, 0.05, 0.2])
    assert [f.time_s for f in frames_of(path)] == pytest.approx([0, 0.1, 0.101, 0.102, 0.2])


@pytest.mark.parametrize(("hw", "even"), [((49, 67), (50, 68)), ((48, 65), (48, 66)), ((3, 2), (4, 2))])
def test_an_odd_size_is_padded_with_the_edge(
    tmp_path: Path, frames_of: Any, hw: tuple[int, int], even: tuple[int, int]
) -> None:
    image = frames_of(written(tmp_path / "x.mp4", [0.0, 0.1, 0.2], hw))[2].image_bgr
    assert image.shape[:2] == even
    np.testing.assert_allclose(image, 80, atol=4)


@pytest.mark.parametrize("bgr", [(0, 0, 220), (60, 200, 20), (200, 40, 40)])
def test_colours_stay(tmp_path: Path, frames_of: Any, bgr: tuple[int, int, int]) -> None:
    encoder = open_encoder(tmp_path / "x.mp4", (64, 48), 10)
    encoder.write(np.full((48, 64, 3), bgr, np.uint8), 0.0)
    encoder.close()
    np.testing.assert_allclose(frames_of(tmp_path / "x.mp4")[0].image_bgr.mean((0, 1)), bgr, atol=6)


def test_the_colour_matrix_is_written_into_the_file(tmp_path: Path) -> None:
    with av.open(str(written(tmp_path / "x.mp4"))) as container:
        assert container.streams.video[0].codec_context.colorspace == encoders.BT601


@pytest.mark.parametrize("name", ["12:30.mp4", "[a].mp4", "100%d.mkv", "红灯.mp4", "-x.mp4"])
def test_any_name_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames_of: Any, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(written(Path(name)))) == len(TIMES)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_plays_before_it_is_closed(tmp_path: Path, frames_of: Any, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    encoder = open_encoder(path, (64, 48), 10)
    for i in range(35):
        encoder.write(plain(i), i / 10)
    copy = tmp_path / f"copy{suffix}"
    copy.write_bytes(path.read_bytes())  # what is on disk when the process is killed
    encoder.close()
    assert len(frames_of(copy)) >= 20  # of the 3.5 s, all but what began in the last 1.5 s
    assert len(frames_of(path)) == 35


FULL = """
import resource, sys
import numpy as np
from pathlib import Path
from runtime.sinks.encoders import open_encoder
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
encoder = open_encoder(Path(sys.argv[1]), (128, 96), 10)
noise = np.random.default_rng(0)
try:
    for i in range(10_000):
        encoder.write(noise.integers(0, 255, (96, 128, 3), dtype=np.uint8), i / 10)
except OSError as error:
    print(error.errno)
try:
    encoder.close()
except OSError as error:
    print(error.errno)
"""


@pytest.mark.default_cases(".mp4")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_file_that_may_not_grow_is_cut_to_what_plays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["27", "27"]  # EFBIG, also from close
    assert path.stat().st_size < 100_000
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 10  # and no error


@pytest.fixture
def without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "has_h264", lambda: False)
    monkeypatch.setattr("runtime.sinks.encoders.has_element", lambda _: False)


@pytest.mark.usefixtures("without_pyav")
def test_without_pyav_mp4v_keeps_the_time_by_repeating_frames(
    tmp_path: Path, frames_of: Callable[[Path], list[Any]]
) -> None:
    path = written(tmp_path / "x.mp4", [0.0, 0.3, 0.5])
    levels = [round(float(f.image_bgr.mean()) / 40) for f in frames_of(path)]
    assert levels == [0, 1, 1, 1, 2, 2]
    capture = cv2.VideoCapture(str(path))
    assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").lower() in {b"mp4v", b"fmp4"}


@pytest.mark.usefixtures("without_pyav")
def test_a_name_that_crashes_opencv_is_a_device_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="OpenCV cannot write"):
        open_encoder(tmp_path / "\udcff.mp4", (64, 48), 10)


@pytest.mark.parametrize("size_wh", [(20_000, 16), (16, 20_000)])
def test_a_size_that_h264_does_not_have_is_a_device_error(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    encoder = open_encoder(tmp_path / "x.mp4", size_wh, 10)
    with pytest.raises(DeviceError, match="libx264 cannot write"):
        encoder.write(plain(0, (size_wh[1], size_wh[0])), 0.0)
    with pytest.raises(DeviceError):
        encoder.close()


@pytest.mark.usefixtures("without_pyav")
def test_the_codec_is_told(tmp_path: Path) -> None:
    assert open_encoder(tmp_path / "x.mp4", (64, 48), 10).codec == MP4V


def test_pyav_that_is_not_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert not encoders.has_h264()
