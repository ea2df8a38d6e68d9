"""H.264 by GStreamer in a child process: the encoder of a Jetson, or a software one without PyAV.

The child reads raw frames from a pipe and writes the file. It needs no Python binding of GStreamer, so that a
virtual environment needs nothing of the system's Python. When this process is killed, the child finishes the
file.

Source: NVIDIA Jetson Linux Developer Guide, Accelerated GStreamer; ``gst-inspect-1.0`` of each element.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import subprocess
import tempfile
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DeviceError
from runtime.decoders.gst_elements import LAUNCH
from runtime.sinks.video_codec import (
    FORMATS,
    H264,
    KEY_FRAME_EVERY_S,
    ConstantRate,
    padded_to_even,
)

HARDWARE = "nvv4l2h264enc"
SOFTWARE = ("x264enc", "openh264enc")
BITS_PER_PIXEL = 0.15  # of encoders without constant quality: 4 Mbit/s for 1280x720 at 30 frames per second
STALLED_S = 20.0  # a hung driver; a software encoder takes a frame of 4K in less than a second
PROBE_S = 20.0
# Range 16 to 235, matrix of BT.601 as OpenCV converts, transfer and primaries of BT.709; see GstVideo.
COLORIMETRY = "2:4:5:1"
#: systemd sends SIGTERM to all processes of a service; the child ends by the end of its input.
UNDISTURBED = ("sh", "-c", 'trap "" INT TERM HUP; exec "$@"', "sh")
MUXERS = {
    "mp4": "mp4mux fragment-duration=1000 streamable=true",
    "mov": "qtmux fragment-duration=1000 streamable=true",
    "matroska": "matroskamux streamable=true",
}
#: What GStreamer says of errors of a file system, which it knows by their text only.
DISK_ERRORS = {
    "No space left on the resource": errno.ENOSPC,
    **{os.strerror(number): number for number in (errno.EDQUOT, errno.EIO, errno.EROFS)},
}


def pipeline(element: str, size_wh: tuple[int, int], fps: float, form: str) -> str:
    """The pipeline of the child: I420 frames on stdin, a file on stdout.

    Args:
        element: ``HARDWARE`` or one of ``SOFTWARE``.
        size_wh: Even width and height, pixels.
        fps: Frames per second.
        form: A value of ``FORMATS``.
    """
    width, height = size_wh
    rate = Fraction(fps).limit_denominator(1001)
    luma, chroma = width * height, width * height // 4
    # GStreamer would take rows of a multiple of four bytes.
    planes = (
        f"plane-strides=<{width},{width // 2},{width // 2}> "
        f"plane-offsets=<0,{luma},{luma + chroma}> frame-size={luma + 2 * chroma}"
    )
    parse = (
        f"rawvideoparse format=i420 width={width} height={height} "
        f"framerate={rate.numerator}/{rate.denominator} colorimetry={COLORIMETRY} {planes}"
    )
    return " ! ".join(
        ("fdsrc fd=0", parse, encoder_chain(element, size_wh, fps), MUXERS[form], "fdsink fd=1 sync=false")
    )


def encoder_chain(element: str, size_wh: tuple[int, int], fps: float) -> str:
    """The part of a pipeline from raw frames to parsed H.264, with a key frame every second."""
    bits = round(size_wh[0] * size_wh[1] * fps * BITS_PER_PIXEL)
    keys = max(round(fps * KEY_FRAME_EVERY_S), 1)
    chains = {
        HARDWARE: "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! "
        f"{HARDWARE} bitrate={bits} iframeinterval={keys} idrinterval={keys} insert-sps-pps=true "
        "insert-vui=true maxperf-enable=true",
        "x264enc": f"x264enc pass=qual quantizer=23 speed-preset=ultrafast tune=zerolatency threads=2 "
        f"key-int-max={keys}",
        "openh264enc": f"openh264enc rate-control=bitrate bitrate={bits} complexity=low gop-size={keys}",
    }
    return f"{chains[element]} ! h264parse"


def why_unusable(element: str) -> str | None:
    """Encode a few frames; None if that works, else what GStreamer says.

    An element that is installed does not work in a container without the devices of the encoder.
    """
    chain = encoder_chain(element, (320, 240), 30.0)
    text = f"videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=320,height=240 ! {chain} ! fakesink"
    command = [LAUNCH, "-q", *shlex.split(text)]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=PROBE_S, env=_environment(), text=True
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_S:.0f} s"
    return None if done.returncode == 0 else _first_error(done.stderr) or f"exit code {done.returncode}"


class GstreamerEncoder:
    """H.264 at a constant frame rate: frames are repeated or left out to keep the time.

    The file is fragmented, and plays at any time. Odd sizes are padded, see ``padded_to_even``.

    Args:
        path: The file; its suffix chooses the container.
        size_wh: Width and height of all frames, pixels.
        fps: Frames per second.
        element: ``HARDWARE`` or one of ``SOFTWARE``.

    Raises:
        OSError: The file cannot be opened.
    """

    codec = H264

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float, element: str) -> None:
        width, height = size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2
        text = pipeline(element, (width, height), fps, FORMATS[path.suffix.lower()])
        self._element, self._rate = element, ConstantRate(fps)
        self._failed: OSError | DeviceError | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (a pipe that nobody reads would fill)
        try:
            with path.open("wb") as file:
                self._child = subprocess.Popen(
                    [*UNDISTURBED, LAUNCH, "-q", *shlex.split(text)],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=self._errors,
                    env=_environment(),
                    bufsize=0,
                    start_new_session=True,  # Ctrl-C is for this process, which then closes the file
                )
        except BaseException:
            self._errors.close()
            raise
        assert self._child.stdin is not None
        self._pipe = self._child.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
        """See ``Encoder``.

        Raises:
            DeviceError: The child ended, or takes no more frames.
        """
        count = self._rate.times(time_s)
        if not count:
            return
        i420 = cv2.cvtColor(np.ascontiguousarray(padded_to_even(image_bgr)), cv2.COLOR_BGR2YUV_I420)
        data = memoryview(i420).cast("B")
        for _ in range(count):
            self._send(data)

    def close(self) -> None:
        """See ``Encoder``; a child that does not end is killed, and what it wrote stays."""
        with suppress(OSError):
            self._pipe.close()
        try:
            if self._failed is None:
                self._failed = self._end()
        finally:
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()
            self._errors.close()
        if self._failed is not None:
            raise self._failed

    def _send(self, data: memoryview) -> None:
        if self._failed is not None:
            raise self._failed
        poll = select.poll()
        poll.register(self._pipe.fileno(), select.POLLOUT)
        while data:
            if not poll.poll(STALLED_S * 1e3):
                self._failed = DeviceError(
                    f"{self._element} took no frame for {STALLED_S:.0f} s",
                    hint="what was recorded is kept; restart the run, or the machine if that does not help",
                )
                raise self._failed
            try:
                data = data[os.write(self._pipe.fileno(), data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                self._failed = self._end() or self._error("ended")
                raise self._failed from error

    def _end(self) -> OSError | DeviceError | None:
        """Wait for the child; what went wrong in it."""
        try:
            code = self._child.wait(STALLED_S)
        except subprocess.TimeoutExpired:
            return self._error(f"did not end in {STALLED_S:.0f} s")
        if code == 0:
            return None
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace")
        for words, number in DISK_ERRORS.items():
            if words in text:
                return OSError(number, os.strerror(number))
        return self._error(_first_error(text) or f"ended with exit code {code}")

    def _error(self, what: str) -> DeviceError:
        hint = "what was recorded is kept; pip install av encodes on the CPU instead"
        return DeviceError(f"GStreamer's {self._element}: {what}", hint=hint)


def _environment() -> dict[str, str]:
    """That of this process, with messages in English."""
    return {**os.environ, "LC_ALL": "C"}


def _first_error(text: str) -> str | None:
    """The first line of an error message of ``gst-launch-1.0``, without the name of the element."""
    lines = [line.strip() for line in text.splitlines()]
    for line in lines:
        if line.startswith(("ERROR:", "WARNING: erroneous pipeline:")):
            return line.rpartition(": ")[2]
    return next((line for line in lines if line), None)
