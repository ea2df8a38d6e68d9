"""The pictures of the web view in the documents: ``python -m tests.edgestill.web.screenshots VIDEO``.

The video is played in the place of a camera, again and again, at its own rate. Each picture is taken at a
moment with several lights whose states are confirmed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill import open_detector
from edgestill.demo.pipeline import assemble
from edgestill.demo.web.run_state import RunFacts
from edgestill.demo.web.web_address import WebAddress
from edgestill.demo.web.web_view import WebView
from runtime.pipeline import FrameResult
from runtime.sources._live import LiveSource
from runtime.tiling import Tiling
from tests.edgestill.web.chromium import Chromium, program

QUALITY = 66  # of JPEG
WAIT_S = 120.0
#: As many lights as are asked for in the picture and below it, and none whose state is open.
GOOD = """
document.querySelectorAll('.objects small').length >= {0} && !document.querySelector('.objects .doubt')
&& /^[^?]*(#[^?]*){{{0},}}$/.test(document.querySelector('canvas').ariaLabel)
"""


class Player:
    """Plays a video as a camera; a ``runtime.sources._live.Capture``."""

    def __init__(self, video: Path) -> None:
        self._capture = cv2.VideoCapture(str(video))
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))

    def grab(self) -> bool:
        """Wait for the next frame; after the last one comes the first."""
        time.sleep(1 / self.fps)
        if not self._capture.grab():
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return bool(self._capture.grab())
        return True

    def retrieve(self) -> tuple[bool, NDArray[Any]]:
        """The grabbed frame."""
        good, image = self._capture.retrieve()
        return good, np.asarray(image)

    def release(self) -> None:
        """Close the file."""
        self._capture.release()


class Until:
    """Ends the run once an event is set; a ``runtime.pipeline.Sink``."""

    needs_overlay = False

    def __init__(self, done: Event) -> None:
        self._done = done

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Whether the event is not set yet."""
        return not self._done.is_set()

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """No files."""
        return ()


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


def watched(video: Path, then: Callable[[str], None]) -> None:
    """Run the shipped student on a video with a web view while ``then`` looks at its address."""
    player, done = Player(video), Event()

    def look_and_end(url: str) -> None:
        try:
            then(url)
        finally:
            done.set()

    with (
        closing(WebView(WebAddress.parse("0"))) as view,
        closing(open_detector("student", threads=1)) as detector,
        closing(LiveSource(player, video.stem, player.fps)) as source,
    ):
        backend, classes = detector.backend, detector.spec.classes
        facts = RunFacts(model="student", backend=backend.name, device=backend.device, classes=classes)
        sink, gate = view.serve(facts, {"camera": source}, detector, version="0")
        sinks = (sink, Until(done))
        pipeline = assemble(detector, source, title="", track=True, sinks=sinks, tiling=Tiling(), gate=gate)
        Thread(target=look_and_end, args=(view.url,), daemon=True).start()
        pipeline.run(source)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--history-s", type=float, default=125.0, help="what the charts show")
    parser.add_argument("--lights", type=int, default=3, help="how many there must be")
    args = parser.parse_args()
    watched(args.video, lambda url: look(url, args.out, args.history_s, args.lights))


if __name__ == "__main__":
    main()
