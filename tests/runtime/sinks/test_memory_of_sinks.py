"""Recordings and events of a run of days take no more memory than those of a minute."""

import subprocess
import sys
from pathlib import Path

import pytest

FRAMES, SETTLED, MOST_MIB = 100_000, 1_000, 5

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from edgestill.detections import Detections
from runtime.frames import Frame
from runtime.pipeline import FrameResult
from runtime.sinks.events import EventSink
from runtime.sinks.segments import SegmentSink

folder, frames, settled = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
image = np.full((48, 64, 3), 90, np.uint8)
found = Detections(np.ones((3, 4), np.float32), np.full(3, 0.5, np.float32), np.zeros(3, np.int64))
sinks = [
    SegmentSink(folder / "a.mp4", 30, segment_s=60.0, keep_bytes=200_000, is_live=True),
    EventSink(folder / "e", force=False, is_live=True),
]
def rss_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
for i in range(frames):
    frame = Frame(image_bgr=image, index=i, captured_s=0.0, name="a", decode_ms=1.0, time_s=i / 30)
    ids = np.array([i // 50, 10**6 + i // 70, 10**7 + i // 90])  # lights come and go
    states = ("red", "green" if i % 200 < 100 else "red", "off")
    result = FrameResult(frame=frame, detections=found, track_id=ids, states=states, age_ms=1.0,
                         rate_fps=None, stages_ms={}, is_live=True)
    for sink in sinks:
        sink.write(result, image)
    if i == settled:
        print(rss_mib())
print(rss_mib())
for sink in sinks:
    sink.close(complete=True)
"""


@pytest.mark.slow
def test_a_hundred_thousand_frames_leave_memory_flat(tmp_path: Path) -> None:
    pytest.importorskip("av")
    if not Path("/proc/self/status").exists():
        pytest.skip("reads the memory from /proc")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(FRAMES), str(SETTLED)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    settled, last = map(float, done.stdout.split())
    assert last - settled < MOST_MIB
    assert 1 < len(list(tmp_path.glob("*.mp4"))) < 12
