"""A GStreamer pipeline in a child process, which writes raw frames to a pipe.

So a virtual environment needs nothing of the system's Python or OpenCV. What ``gst-launch-1.0 -v`` prints
tells the size of the frames (the caps of the sink) and the time stamp of each (an ``identity`` element).
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections import deque
from select import select
from threading import Condition, Thread
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.array_pool import ArrayPool
from runtime.decoders import gst_elements, gst_pipelines
from runtime.decoders.reader import Grabbed
from runtime.decoders.redaction import without_secrets

NAME = gst_elements.LAUNCH
OPEN_S = 10.0  # most seconds until the first frame's size is known
PIPE_BYTES = 1 << 20  # the most that a user may ask for without rights
STAMP_WAIT_S = 1.0
END_S = 2.0
LINES_KEPT = 8
_CAPS = re.compile(
    r"fdsink\d+\.GstPad:sink: caps = video/x-raw.*width=\(int\)(\d+), height=\(int\)(\d+)"
    r"(?:.*framerate=\(fraction\)(\d+)/(\d+))?"
)
_STAMP = re.compile(r"\(stamps:sink\) \(\d+ bytes,.* pts: (?:none|(\d+):(\d\d):(\d\d\.\d+))")
_ERROR = re.compile(r"^ERROR: from element (?:\S*: )?(.*)|^WARNING: erroneous pipeline: (.*)")


class GstReader:
    """Frames of a pipeline that ends in raw BGR; see ``runtime.decoders.reader.Reader``.

    Args:
        pipeline: Its text, see ``runtime.decoders.gst_pipelines``.
        shown: Name of the source for messages.
        is_live: Whether it is a camera, of which frames that wait are replaced by newer ones.
        stall_s: Seconds without a frame after which it counts as gone.

    Raises:
        DeviceError: GStreamer or an element is missing, or the pipeline gives no frame.
    """

    def __init__(self, pipeline: str, shown: str, *, is_live: bool, stall_s: float = OPEN_S) -> None:
        gst_elements.require_elements(shown, gst_pipelines.elements(pipeline))
        self.decoder = NAME
        self.fps: float | None = None
        self.total: int | None = None
        self.failed = 0
        self._shown, self._stall_s = shown, stall_s
        self._pool = ArrayPool()
        self._news = Condition()
        self._size_hw: tuple[int, int] | None = None
        self._stamps: deque[float | None] = deque()
        self._errors: deque[str] = deque(maxlen=LINES_KEPT)
        self._ended = False
        self._pipe, write_end = os.pipe()
        _widen(self._pipe)
        arguments = gst_pipelines.for_child(pipeline, write_end, is_live=is_live)
        # Its own session: Ctrl-C is for the parent, which ends the child.
        self._child = subprocess.Popen(
            [gst_elements.LAUNCH, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(write_end,),
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
            text=True,
            errors="replace",
        )
        os.close(write_end)
        self._listener = Thread(target=self._listen, name=f"gst {shown}", daemon=True)
        self._listener.start()
        self._await_size()

    def grab(self) -> Grabbed | None:
        """See ``Reader``."""
        if self._pipe < 0 or self._size_hw is None:
            return None
        height, width = self._size_hw
        stride = (3 * width + 3) // 4 * 4  # rows of raw video are padded to four bytes
        rows: Any = self._pool.take((height, stride))
        if not self._fill(memoryview(rows.reshape(-1))):
            return None
        arrived_s = perf_counter()
        # A copy only of widths whose rows are padded.
        image: NDArray[np.uint8] = np.ascontiguousarray(rows[:, : 3 * width]).reshape(height, width, 3)
        return Grabbed(to_bgr=lambda: image, captured_s=arrived_s, stamp_s=self._next_stamp())

    def stop(self) -> None:
        """End the child, so that a waiting ``grab`` returns."""
        if self._child.poll() is None:
            self._child.terminate()

    def close(self) -> None:
        """See ``Reader``."""
        if self._pipe < 0:
            return
        self.stop()
        os.close(self._pipe)
        self._pipe = -1
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join(END_S)

    def error(self) -> str | None:
        """What the child said of its end; None if it said nothing."""
        return next(iter(self._errors), None)

    def _await_size(self) -> None:
        with self._news:
            known = self._news.wait_for(lambda: self._size_hw is not None or self._ended, OPEN_S)
        if self._size_hw is None:
            self.close()
            why = self.error() or (
                "it ended without a frame" if known else f"no frame came within {OPEN_S:g} s"
            )
            raise DeviceError(
                f"{self._shown} does not open: {why}",
                hint="run the pipeline by itself with gst-launch-1.0 -v, and its source, to see more",
            )

    def _fill(self, room: memoryview) -> bool:
        """Read as many bytes as fit; False if the pipe ends or stalls before."""
        while room:
            if not select([self._pipe], [], [], self._stall_s)[0]:
                return False
            count = os.readv(self._pipe, [room])
            if count == 0:
                return False
            room = room[count:]
        return True

    def _next_stamp(self) -> float | None:
        """The time stamp of the frame that was read; its line may come a little later than the frame."""
        with self._news:
            self._news.wait_for(lambda: bool(self._stamps) or self._ended, STAMP_WAIT_S)
            return self._stamps.popleft() if self._stamps else None

    def _listen(self) -> None:
        """Read what the child prints."""
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                self._hear(line)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _hear(self, line: str) -> None:
        stamp, caps, error = _STAMP.search(line), _CAPS.search(line), _ERROR.search(line)
        with self._news:
            if stamp:
                self._stamps.append(_seconds(stamp))
            elif caps:
                self._size_hw = (int(caps[2]), int(caps[1]))
                self.fps = int(caps[3]) / int(caps[4]) if caps[3] and int(caps[3]) and int(caps[4]) else None
            elif error:
                self._errors.append(without_secrets(error[1] or error[2]))
            self._news.notify_all()


def _seconds(stamp: re.Match[str]) -> float | None:
    if stamp[1] is None:
        return None
    return int(stamp[1]) * 3600 + int(stamp[2]) * 60 + float(stamp[3])


def _widen(pipe: int) -> None:
    """Make a pipe hold more, so that parent and child switch less often."""
    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux, Python 3.10
    if set_size is not None:
        try:
            fcntl.fcntl(pipe, set_size, PIPE_BYTES)
        except OSError:  # the user's pipes are at their limit: it works with less
            return
