"""The pictures of the web view in the documents: ``python -m tests.edgestill.web.screenshots VIDEO``.

A server on this machine plays the video as an MJPEG camera, again and again, at its own rate, and
``edgestill run`` shows it. Each picture is taken at a moment with several lights whose states are confirmed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np

from tests.edgestill.web.chromium import Chromium, program

QUALITY = 66  # of JPEG
WAIT_S = 120.0
#: As many lights as are asked for in the picture and below it, and none whose state is open.
GOOD = """
document.querySelectorAll('.objects small').length >= {0} && !document.querySelector('.objects .doubt')
&& /^[^?]*(#[^?]*){{{0},}}$/.test(document.querySelector('canvas').ariaLabel)
"""


@contextmanager
def camera(video: Path) -> Iterator[str]:
    """A video as an MJPEG camera; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for jpeg in _again_and_again(video):
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
            except OSError:  # the reader is gone
                pass

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def _again_and_again(video: Path) -> Iterator[bytes]:
    """The frames of a video as JPEG at its own rate; after the last one comes the first."""
    while True:
        capture = cv2.VideoCapture(str(video))
        period_s = 1 / capture.get(cv2.CAP_PROP_FPS)
        while (read := capture.read())[0]:
            yield cv2.imencode(".jpg", np.asarray(read[1]))[1].tobytes()
            time.sleep(period_s)
        capture.release()


@contextmanager
def running(source: str) -> Iterator[str]:
    """``edgestill run`` with a web view; gives the view's address."""
    words = ["run", "student", "--source", source, "--track", "--web", "0"]
    command = [sys.executable, "-u", "-m", "edgestill", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        try:
            assert run.stderr is not None
            for line in run.stderr:
                if found := re.search(r"web view: (\S+)", line):
                    break
            else:
                raise SystemExit("the run ended without a web view")
            Thread(target=run.stderr.read, daemon=True).start()
            yield found[1]
        finally:
            run.terminate()


def look(url: str, out: Path, history_s: float, lights: int) -> None:
    """Take the pictures, once the charts have a history."""
    path = program()
    assert path is not None, "there is no Chromium"
    with tempfile.TemporaryDirectory() as profile, closing(Chromium(path, Path(profile))) as browser:
        browser.size(1360, 900)
        browser.open(url)
        time.sleep(history_s)
        for name, scheme in (("light", "light"), ("dark", "dark"), ("phone", "dark")):
            browser.colours(scheme)
            if name == "phone":
                browser.size(390, 844, scale=2, mobile=True)
            time.sleep(1)
            browser.wait(GOOD.format(lights), WAIT_S)
            shot = out / f"web-{name}.png"
            browser.screenshot(shot)
            image = np.asarray(cv2.imread(str(shot)))
            cv2.imwrite(str(shot.with_suffix(".jpg")), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            shot.unlink()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--history-s", type=float, default=125.0, help="what the charts show")
    parser.add_argument("--lights", type=int, default=3, help="how many there must be")
    args = parser.parse_args()
    with camera(args.video) as source, running(source) as url:
        look(url, args.out, args.history_s, args.lights)


if __name__ == "__main__":
    main()
