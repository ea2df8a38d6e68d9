"""A run of many frames takes no more memory than a run of a few."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from runtime.decoders.gst_elements import has_gst_launch

FRAMES, FIRST, MOST_MIB = 100_000, 1000, 5.0

#: A fresh process, so that nothing of other tests is counted; prints frames of the source and growth in MiB.
PROGRAM = """
import gc, os, sys
import numpy as np
from pathlib import Path
from edgestill.detections import Detections
from edgestill.spec import ModelSpec
from runtime.frames import open_source
from runtime.pipeline import Pipeline, Stream
from runtime.tracking import Tracker

source_text, frames, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

class Fake:
    spec = ModelSpec(name="fake", input_hw=(32, 32), classes=("red", "green"))
    def timed(self, image_bgr):
        shift = float(image_bgr[0, 0, 0])
        box = np.array([[5 + shift, 5, 15 + shift, 15]], np.float32)
        return Detections(box, np.array([0.9], np.float32), np.array([0])), {"inference": 1.0}
    def __call__(self, image_bgr):
        return self.timed(image_bgr)[0]

class Memory:
    needs_overlay = False
    count, start, end = 0, None, 0.0
    def write(self, result, image_bgr):
        self.count = result.frame.index + 1
        if self.start is None and self.count >= first:
            self.start = resident()
        if self.count >= frames:
            self.end = resident()
        return self.count < frames
    def close(self, *, complete):
        return ()

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

memory = Memory()
source = open_source(source_text)
tracker = Tracker() if source.is_live else None  # of a file every frame would be tracked, which takes long
Pipeline(Fake(), sinks=(memory,), concurrency=2).run([Stream(source=source, name="x", tracker=tracker)])
source.close()
print(memory.count, memory.end - memory.start)
"""


def growth(source: Path | str) -> tuple[int, float]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(FRAMES), str(FIRST)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    count, mib = done.stdout.split()
    return int(count), float(mib)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc of Linux")
def test_a_fast_camera_leaves_memory_flat() -> None:
    if not has_gst_launch():
        pytest.skip("gst-launch-1.0 is not installed (gstreamer1.0-tools)")
    count, mib = growth("gst://videotestsrc pattern=ball ! video/x-raw, width=160, height=120")
    assert count >= FRAMES
    assert mib < MOST_MIB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc of Linux")
def test_a_long_video_leaves_memory_flat(tmp_path: Path) -> None:
    av: Any = pytest.importorskip("av")
    import numpy as np

    path = tmp_path / "long.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        (packet,) = stream.encode(
            av.VideoFrame.from_ndarray(noise, format="bgr24").reformat(format="yuvj420p")
        )
        data = bytes(packet)
        for i in range(FRAMES):  # one image, many times: encoding each would take minutes
            again = av.Packet(data)
            again.stream, again.pts, again.dts, again.time_base = stream, i, i, Fraction(1, 30)
            again.is_keyframe = True
            container.mux(again)
    count, mib = growth(path)
    assert count == FRAMES
    assert mib < MOST_MIB
