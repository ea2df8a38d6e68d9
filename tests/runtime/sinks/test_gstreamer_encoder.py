"""The encoder in a GStreamer child: its pipeline, and the child for real where GStreamer is installed.

The pipeline of a Jetson is tested as text only.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.decoders.gst_elements import LAUNCH, has_element
from runtime.sinks import encoders, gstreamer_encoder
from runtime.sinks.encoders import H264Encoder, Mp4vEncoder, open_encoder
from runtime.sinks.gstreamer_encoder import (
    HARDWARE,
    SOFTWARE,
    GstreamerEncoder,
    pipeline,
    why_unusable,
)

PARSE = (
    "rawvideoparse format=i420 width=1280 height=720 framerate=30/1 colorimetry=2:4:5:1 "
    "plane-strides=<1280,640,640> plane-offsets=<0,921600,1152000> frame-size=1382400"
)
ENCODE = (
    "nvv4l2h264enc bitrate=4147200 iframeinterval=30 idrinterval=30 insert-sps-pps=true insert-vui=true "
    "maxperf-enable=true"
)


def plain(value: int, hw: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full((*hw, 3), value, np.uint8)


def test_the_pipeline_of_a_jetson_encodes_in_hardware_with_a_key_frame_every_second() -> None:
    parts = pipeline(HARDWARE, (1280, 720), 30.0, "mp4").split(" ! ")
    assert parts == [
        "fdsrc fd=0",
        PARSE,
        "nvvidconv",
        "video/x-raw(memory:NVMM),format=NV12",
        ENCODE,
        "h264parse",
        "mp4mux fragment-duration=1000 streamable=true",
        "fdsink fd=1 sync=false",
    ]


@pytest.mark.parametrize(
    ("fps", "rate", "keys"), [(30000 / 1001, "30000/1001", 30), (25.0, "25/1", 25), (0.5, "1/2", 1)]
)
def test_the_rate_of_frames_is_a_fraction(fps: float, rate: str, keys: int) -> None:
    text = pipeline("x264enc", (64, 48), fps, "matroska")
    assert f"framerate={rate} " in text
    assert f"key-int-max={keys} " in text
    assert "matroskamux streamable=true" in text


needs_gstreamer = pytest.mark.skipif(
    shutil.which(LAUNCH) is None, reason="GStreamer's tools are not installed (gstreamer1.0-tools)"
)


@pytest.fixture(params=SOFTWARE)
def element(request: pytest.FixtureRequest) -> str:
    """A software encoder that is installed."""
    for name in (request.param, "h264parse"):
        if not has_element(name):
            pytest.skip(f"GStreamer has no {name} here (gstreamer1.0-plugins-ugly, -bad)")
    return str(request.param)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize(
    ("wh", "even"), [((64, 48), (64, 48)), ((67, 49), (68, 50)), ((322, 242), (322, 242))]
)
def test_the_file_is_h264_that_browsers_play(
    tmp_path: Path, element: str, suffix: str, wh: tuple[int, int], even: tuple[int, int]
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"a [1] 'x'{suffix}"
    encoder = GstreamerEncoder(path, wh, 10, element)
    for i in range(12):
        encoder.write(np.full((wh[1], wh[0], 3), (200, 60, 15 * i), np.uint8), i / 10)
    encoder.close()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == even
        assert "Baseline" in context.profile
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(12)], abs=2e-3)
    for i in (0, 11):
        colour = frames[i].to_ndarray(format="bgr24").mean((0, 1))
        np.testing.assert_allclose(colour, (200, 60, 15 * i), atol=8)


def test_frames_are_repeated_and_left_out_to_keep_the_time(
    tmp_path: Path, element: str, frames_of: Callable[[Path], list[Any]]
) -> None:
    encoder = GstreamerEncoder(tmp_path / "x.mp4", (64, 48), 10, element)
    for time_s, value in ((0.0, 0), (0.3, 80), (0.31, 200), (0.5, 160)):
        encoder.write(plain(value), time_s)
    encoder.close()
    levels = [round(float(f.image_bgr.mean()) / 40) for f in frames_of(tmp_path / "x.mp4")]
    assert levels == [0, 2, 2, 2, 4, 4]


def test_a_file_plays_before_it_is_closed(tmp_path: Path, element: str, frames_of: Any) -> None:
    path = tmp_path / "x.mp4"
    encoder = GstreamerEncoder(path, (64, 48), 10, element)
    for i in range(60):
        encoder.write(plain(i), i / 10)
    os.kill(encoder._child.pid, signal.SIGKILL)  # all at once, as when the power fails
    with pytest.raises(DeviceError, match="exit code -9"):
        encoder.close()
    assert len(frames_of(path)) >= 20  # of the 6 s, all but the last fragments and what was in the pipe
    assert encoder._child.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_processes_of_a_service_does_not_end_the_child(
    tmp_path: Path, element: str, frames_of: Any, number: int
) -> None:
    encoder = GstreamerEncoder(tmp_path / "x.mp4", (64, 48), 10, element)
    for i in range(40):
        encoder.write(plain(i), i / 10)
        if i == 20:  # it runs: it has taken more than a pipe holds
            os.kill(encoder._child.pid, number)
    encoder.close()
    assert len(frames_of(tmp_path / "x.mp4")) == 40


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from runtime.sinks.gstreamer_encoder import GstreamerEncoder
encoder = GstreamerEncoder(Path(sys.argv[1]), (64, 48), 10, sys.argv[2])
for i in range(30):
    encoder.write(np.full((48, 64, 3), i, np.uint8), i / 10)
print(encoder._child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_child_finishes_the_file_of_a_process_that_is_killed(
    tmp_path: Path, element: str, frames_of: Any
) -> None:
    path = tmp_path / "x.mp4"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), element], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc") / done.stdout.strip()
    if sys.platform != "linux":
        pytest.skip("the end of the child is seen in /proc")
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        sleep(0.01)
    assert len(frames_of(path)) == 30


@needs_gstreamer
def test_a_child_that_ends_is_a_device_error_in_its_words(tmp_path: Path, element: str) -> None:
    encoder = GstreamerEncoder(tmp_path / "x.mp4", (64, 48), 10, element)
    encoder._child.kill()
    encoder._child.wait()
    with pytest.raises(DeviceError, match=f"GStreamer's {element}: ended with exit code"):
        encoder.write(plain(0), 0.0)
    with pytest.raises(DeviceError):
        encoder.close()


@needs_gstreamer
def test_a_pipeline_that_cannot_start_is_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gstreamer_encoder, "encoder_chain", lambda *_: "no-such-element")
    encoder = GstreamerEncoder(tmp_path / "x.mp4", (64, 48), 10, "x264enc")
    encoder._child.wait()
    with pytest.raises(DeviceError, match='no element "no-such-element"'):
        encoder.write(plain(0), 0.0)
    with pytest.raises(DeviceError):
        encoder.close()


def test_a_child_that_hangs_is_told_and_ended(
    tmp_path: Path, element: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gstreamer_encoder, "STALLED_S", 0.05)
    encoder = GstreamerEncoder(tmp_path / "x.mp4", (640, 480), 10, element)
    os.kill(encoder._child.pid, signal.SIGSTOP)
    with pytest.raises(DeviceError, match="took no frame"):  # noqa: PT012 (written until it fails)
        for i in range(50):
            encoder.write(plain(0, (480, 640)), i / 10)
    with pytest.raises(DeviceError, match="took no frame"):
        encoder.close()
    assert encoder._child.returncode == -signal.SIGKILL


def test_a_full_disk_is_told_as_one(tmp_path: Path, element: str) -> None:
    path = tmp_path / "full.mkv"
    path.symlink_to("/dev/full")
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    encoder = GstreamerEncoder(path, (64, 48), 10, element)
    with pytest.raises(OSError, match="No space left") as caught:  # noqa: PT012 (written until it fails)
        for i in range(10_000):
            encoder.write(plain(i % 256), i / 10)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="No space left"):
        encoder.close()


def test_an_element_is_tried_before_it_is_used(element: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unusable(element) is None
    why = why_unusable(HARDWARE) if not has_element(HARDWARE) else "no element"
    assert why is not None
    assert "no element" in why
    monkeypatch.setattr(gstreamer_encoder, "LAUNCH", "sleep")
    monkeypatch.setattr(gstreamer_encoder, "PROBE_S", 0.05)
    monkeypatch.setattr("shlex.split", lambda _: ["100"])
    monkeypatch.setattr(gstreamer_encoder.subprocess, "run", _stalled)
    assert why_unusable(element) == "no answer in 0 s"


def _stalled(command: list[str], **_: Any) -> None:
    raise subprocess.TimeoutExpired(command, 0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes ``open_encoder`` believe in hardware, PyAV and elements of GStreamer."""

    def believe(
        *, board: bool = False, pyav: bool = False, elements: tuple[str, ...] = (), works: bool = True
    ) -> None:
        monkeypatch.setattr(encoders, "has_video_encoder", lambda: board)
        monkeypatch.setattr(encoders, "has_h264", lambda: pyav)
        monkeypatch.setattr(encoders, "has_element", lambda name: name in elements)
        monkeypatch.setattr(gstreamer_encoder, "why_unusable", lambda _: None if works else "no device")
        monkeypatch.setattr(gstreamer_encoder, "GstreamerEncoder", lambda *args: args[-1])
        encoders._hardware_works.cache_clear()
        encoders._tell.cache_clear()

    yield believe
    encoders._hardware_works.cache_clear()
    encoders._tell.cache_clear()


@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        ({"board": True, "pyav": True, "elements": (HARDWARE, "x264enc")}, HARDWARE),
        ({"board": True, "elements": ("openh264enc", "x264enc")}, "x264enc"),  # GStreamer lacks its plugin
        ({"board": False, "elements": (HARDWARE, "openh264enc")}, "openh264enc"),  # an Orin Nano
        ({"board": True, "elements": (HARDWARE, "x264enc"), "works": False}, "x264enc"),
        ({"board": True, "pyav": True, "elements": (HARDWARE,), "works": False}, H264Encoder),
        ({"pyav": True, "elements": ("x264enc",)}, H264Encoder),
        ({}, Mp4vEncoder),
    ],
)
def test_hardware_comes_first_then_pyav_then_gstreamer_then_opencv(
    tmp_path: Path, machine: Any, facts: dict[str, Any], chosen: Any
) -> None:
    if chosen is H264Encoder:
        pytest.importorskip("av")
    machine(**facts)
    encoder = open_encoder(tmp_path / "x.mp4", (64, 48), 10)
    if isinstance(chosen, str):
        assert encoder == chosen
    else:
        assert type(encoder) is chosen
        encoder.close()


def test_the_encoder_in_use_is_told_once(
    tmp_path: Path, machine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(board=True, elements=(HARDWARE, "x264enc"), works=False)
    for name in ("a.mp4", "b.mp4"):
        open_encoder(tmp_path / name, (64, 48), 10)
    told = capsys.readouterr().err
    assert told.count("nvv4l2h264enc does not work here (no device): the CPU encodes") == 1
    assert told.count("encoded by GStreamer's x264enc, at a constant 10 frames per second") == 1
