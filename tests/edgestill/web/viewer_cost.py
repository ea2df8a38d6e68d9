"""What viewers cost: ``python -m tests.edgestill.web.viewer_cost`` prints milliseconds of CPU for a frame.

A frame of 1280 x 720 goes to the web view 30 times a second. CPU times depend less than those of a clock on
what else the machine does. Viewers that read are processes of their own and not counted.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.demo.web.run_state import RunFacts
from edgestill.demo.web.web_address import WebAddress
from edgestill.demo.web.web_view import WebView
from edgestill.detections import Detections
from runtime.frames import Frame, FrameSource, open_source
from runtime.pipeline import FrameResult

PERIOD_S = 1 / 30
REQUEST = b"GET /pictures HTTP/1.1\r\nHost: localhost\r\n\r\n"
READER = f"""
import socket, sys
viewer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
viewer.sendall({REQUEST!r})
while viewer.recv(1 << 20): pass
"""
CASES = ((0, True), (1, True), (8, True), (8, False))


class Detector:
    """Has a threshold."""

    conf = 0.25


@contextmanager
def viewers(count: int, port: int, *, reads: bool) -> Iterator[None]:
    """So many viewers while the block runs."""
    with ExitStack() as stack:
        for _ in range(count):
            if reads:
                process = subprocess.Popen([sys.executable, "-c", READER, str(port)])
                stack.callback(process.wait)
                stack.callback(process.kill)
            else:
                viewer = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
                viewer.sendall(REQUEST)
        yield


def result_of(frame: Frame) -> FrameResult:
    """A frame with three tracked lights."""
    boxes = np.array([[300, 100, 320, 150], [600, 90, 618, 140], [900, 80, 925, 140]], np.float32)
    return FrameResult(
        frame=frame,
        detections=Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 2, 0])),
        track_id=np.array([1, 2, 3]),
        states=("red", "green", "unknown"),
        age_ms=30.0,
        rate_fps=30.0,
        stages_ms={"decode": 3.0, "letterbox": 1.0, "inference": 20.0, "postprocess": 0.5, "track": 0.3},
        is_live=True,
    )


def cost(
    source: FrameSource, images: list[NDArray[np.uint8]], count: int, *, reads: bool
) -> tuple[float, ...]:
    """For a frame: median CPU ms of the pipeline's thread, mean of the whole process, and pictures."""
    facts = RunFacts(model="student", backend="ort", device="CPU", classes=("red", "yellow", "green", "off"))
    with closing(WebView(WebAddress.parse("0"))) as view:
        sink, _ = view.serve(facts, {"cam": source}, Detector(), version="0")
        with viewers(count, int(view.url.split(":")[2].strip("/")), reads=reads):
            while sink._feed.viewers < count:
                time.sleep(0.05)
            own, whole = [], time.process_time()
            for index, image in enumerate(images):
                frame = Frame(image_bgr=image, index=index, captured_s=0.0, name="cam", decode_ms=3.0)
                result, start = result_of(frame), time.thread_time()
                sink.write(result, image)
                own.append((time.thread_time() - start) * 1e3)
                time.sleep(PERIOD_S)
            whole = (time.process_time() - whole) * 1e3
        return float(np.median(own)), whole / len(images), sink._feed.encoded / len(images)


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", help="a video whose frames are sent, in 1280 x 720")
    parser.add_argument("--frames", type=int, default=300)
    args = parser.parse_args()
    with closing(open_source(args.video)) as source:
        frames = [cv2.resize(frame.image_bgr, (1280, 720)) for frame in islice(source.frames(), 60)]
        images = [np.asarray(frames[i % len(frames)], np.uint8) for i in range(args.frames)]
        print("viewers          pipeline ms  process ms  pictures a frame")
        for count, reads in CASES:
            own, whole, pictures = cost(source, images, count, reads=reads)
            name = f"{count} that {'read' if reads else 'never read'}"
            print(f"{name:16} {own:11.2f} {whole:11.2f} {pictures:17.2f}")


if __name__ == "__main__":
    main()
