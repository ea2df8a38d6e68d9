"""A network camera for real: GStreamer's RTSP server, killed and started again."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import pytest

from edgestill.errors import DeviceError
from runtime.decoders.gst_elements import has_element
from runtime.frames import Frame, open_source
from runtime.sources.rtsp import ffmpeg_options

SERVER = Path(__file__).parent / "servers" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"
QUERY = "channel=1&subtype=0"
BACK_WITHIN_S = 5.0
ENOUGH = 20


class Server:
    """The server's process on one port."""

    def __init__(self, encoder: str) -> None:
        self._encoder = encoder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Start it; when it was ready, seconds of ``perf_counter``."""
        command = [SYSTEM_PYTHON, str(SERVER), str(self.port), self._encoder]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={}
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return perf_counter()

    def kill(self) -> str:
        """Kill it at once; what it had printed."""
        assert self._process is not None
        self._process.kill()
        return self._process.communicate()[0]


@pytest.fixture
def server() -> Iterator[Server]:
    encoder = next((name for name in ("x264enc", "openh264enc") if has_element(name)), None)
    if encoder is None:
        pytest.skip("GStreamer has no H.264 encoder (gstreamer1.0-plugins-ugly, or -bad)")
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([SYSTEM_PYTHON, "-c", check], check=False, capture_output=True, env={}).returncode:
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    one = Server(encoder)
    yield one
    one.kill()


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["pyav", "opencv", "gstreamer"])
def test_frames_come_again_after_the_server_is_back(
    server: Server, decoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    server.start()
    source = open_source(
        f"rtsp://me:hidden@127.0.0.1:{server.port}/cam?channel=1&latency=50&subtype=0", decoder=decoder
    )
    frames = source.frames()
    before = [next(frames) for _ in range(ENOUGH)]
    asked = server.kill()
    ready_s = server.start()
    after: list[Frame] = []
    while len(after) < ENOUGH:
        frame = next(frames)
        if after or frame.after_gap:
            after.append(frame)
    source.close()

    assert after[0].captured_s - ready_s < BACK_WITHIN_S
    assert [f.after_gap for f in (*before, *after)].count(True) == 1
    assert {f.image_bgr.shape for f in (*before, *after)} == {(240, 320, 3)}
    times = [f.time_s for f in (*before, *after)]
    assert times == sorted(times)
    # The options are ours, the rest of the query reaches the camera
    assert f"/cam?{QUERY}\n" in asked
    told = capsys.readouterr().err
    assert f"rtsp://127.0.0.1:{server.port}/cam?{QUERY} stopped sending; waiting for it" in told
    assert "is back after" in told
    assert "hidden" not in told


@pytest.mark.slow
def test_a_wrong_path_fails_at_once_and_says_why(server: Server) -> None:
    pytest.importorskip("av")
    server.start()
    with pytest.raises(DeviceError, match="does not open: Server returned 404 Not Found"):
        open_source(f"rtsp://127.0.0.1:{server.port}/nowhere", decoder="pyav")


@pytest.mark.parametrize("decoder", ["pyav", "opencv", "gstreamer"])
def test_a_camera_that_is_not_there_fails_at_once(decoder: str) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    if decoder == "gstreamer" and not has_element("rtspsrc"):
        pytest.skip("GStreamer's rtspsrc is not installed (gstreamer1.0-plugins-good)")
    with pytest.raises(DeviceError, match="does not open") as caught:
        open_source("rtsp://me:hidden@127.0.0.1:9/x", decoder=decoder)
    assert "hidden" not in str(caught.value)


def test_options_are_in_the_units_of_ffmpeg() -> None:
    options = ffmpeg_options("udp", 250)
    assert (options["rtsp_transport"], options["max_delay"]) == ("udp", "250000")
    assert options["timeout"] == "10000000"
