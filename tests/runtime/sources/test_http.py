"""An MJPEG camera over HTTP, for real: a small server in this process."""

from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from time import sleep

import cv2
import numpy as np
import pytest

from edgestill.errors import DeviceError, UsageError
from runtime.frames import open_source


class Camera(ThreadingHTTPServer):
    """Sends ten JPEG images a connection, each brighter than the one before; then the connection ends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.paths: list[str] = []
        self.file: bytes | None = None
        self.go_on = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Camera

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.server.file is not None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.file)))
            self.end_headers()
            self.wfile.write(self.server.file)
            return
        if "password=right" not in self.path:
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        with suppress(OSError):
            for i in range(10):
                _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 20 * i, np.uint8))
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_frames_come_over_http_and_again_after_the_end(
    camera: Camera, decoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if decoder == "pyav":
        pytest.importorskip("av")
    source = open_source(f"{camera.url}/video?password=right&n=1", decoder=decoder)
    seen = []
    for frame in source.frames():
        seen.append(frame)
        if sum(f.after_gap for f in seen) == 2:
            break
    source.close()
    assert source.is_live
    assert seen[0].image_bgr.shape == (48, 64, 3)
    assert not seen[0].after_gap
    times = [f.time_s for f in seen]
    assert times == sorted(times)
    assert camera.paths[0] == "/video?password=right&n=1"
    told = capsys.readouterr().err
    assert "stopped sending; waiting for it" in told
    assert "right" not in told


def test_why_it_does_not_open_is_told_without_the_password(camera: Camera) -> None:
    pytest.importorskip("av")
    with pytest.raises(DeviceError, match="401 Unauthorized") as caught:
        open_source(f"{camera.url}/video?password=wrong", decoder="pyav")
    assert "wrong" not in str(caught.value)


def test_a_file_is_no_stream(camera: Camera, tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "x.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(20):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    camera.file = path.read_bytes()
    with pytest.raises(DeviceError, match=r"is a file of 2\.0 s, and no live stream"):
        open_source(f"{camera.url}/x.mp4", decoder="pyav")


def test_gstreamer_has_no_pipeline_for_it() -> None:
    with pytest.raises(UsageError, match="--decoder gstreamer is not for http://"):
        open_source("http://127.0.0.1:9/", decoder="gstreamer")
