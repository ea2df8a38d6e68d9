"""Writers of a video file: H.264 by the encoder of a Jetson or by PyAV, or what there is without PyAV."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from devices.video_encoder import has_video_encoder
from edgestill.errors import DeviceError
from edgestill.files import is_utf8
from edgestill.progress import say
from runtime.decoders.gst_elements import has_element
from runtime.sinks import gstreamer_encoder as gstreamer
from runtime.sinks.video_codec import (
    FORMATS,
    H264,
    KEY_FRAME_EVERY_S,
    MP4V,
    ConstantRate,
    Encoder,
    padded_to_even,
)
from runtime.sinks.whole_file import WholeFile

TICKS_PER_S = 90_000
MIN_STEP_TICKS = TICKS_PER_S // 1000  # Matroska counts in milliseconds
FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof"
# CPU time of a frame of 1280x720, of a real drive on an x86 server: ultrafast 11.5 ms, superfast 17 ms,
# veryfast 22 ms; OpenCV's mp4v takes 9.7 ms for a file of twice the size. zerolatency holds no frame back.
X264_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
THREADS = 2
# Values of FFmpeg's AVColor*: BT.601 is what the conversion from BGR and OpenCV's reader use. A file without
# these tags is shown with BT.709 by browsers, from 720 lines on.
BT709, BT601, LIMITED_RANGE = 1, 6, 1


def open_encoder(path: Path, size_wh: tuple[int, int], fps: float) -> Encoder:
    """The best encoder that this machine has.

    Args:
        path: The file; its suffix chooses the container.
        size_wh: Width and height of all frames, pixels.
        fps: Mean number of frames per second.

    Raises:
        DeviceError: There is no encoder for this container and size.
    """
    if _hardware_works():
        return _by_gstreamer(path, size_wh, fps, gstreamer.HARDWARE)
    if has_h264():
        return H264Encoder(path, size_wh, fps)
    element = next(filter(has_element, gstreamer.SOFTWARE), None)
    return Mp4vEncoder(path, size_wh, fps) if element is None else _by_gstreamer(path, size_wh, fps, element)


@cache
def _hardware_works() -> bool:
    """Whether this machine has an encoder that encodes; found out once, as a recording has many files."""
    if not has_video_encoder() or not has_element(gstreamer.HARDWARE):
        return False
    why = gstreamer.why_unusable(gstreamer.HARDWARE)
    if why is not None:
        say(f"{gstreamer.HARDWARE} does not work here ({why}): the CPU encodes")
    return why is None


def _by_gstreamer(path: Path, size_wh: tuple[int, int], fps: float, element: str) -> Encoder:
    _tell(element, fps)
    return gstreamer.GstreamerEncoder(path, size_wh, fps, element)


@cache
def _tell(element: str, fps: float) -> None:
    say(f"video is encoded by GStreamer's {element}, at a constant {fps:g} frames per second")


def has_h264() -> bool:
    """Whether PyAV is installed and has libx264."""
    try:
        import av  # noqa: PLC0415 (optional)
    except ImportError:
        return False
    return "libx264" in av.codecs_available


class H264Encoder:
    """H.264, with the time of each frame. What a killed process wrote plays, but for the last second.

    MP4 is fragmented. Odd sizes are padded, see ``padded_to_even``.
    """

    codec = H264

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        import av  # noqa: PLC0415 (optional)

        self._av: Any = av
        # Opened here: FFmpeg takes "12:30.mp4" for a URL. Marked between packets, so cut to a whole fragment.
        self._file = WholeFile(path)
        form = FORMATS[path.suffix.lower()]
        options = {"cluster_time_limit": "1000"} if form == "matroska" else {"movflags": FRAGMENTED}
        self._container = av.open(self._file, "w", format=form, options=options)
        self._stream: Any = self._container.add_stream("libx264", options=X264_OPTIONS)
        width, height = size_wh
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS_PER_S)
        context.framerate = Fraction(fps).limit_denominator(1001)
        context.thread_count = THREADS
        context.color_range, context.colorspace = LIMITED_RANGE, BT601
        context.color_primaries = context.color_trc = BT709
        self._last = -MIN_STEP_TICKS
        self._key_from_s = -KEY_FRAME_EVERY_S

    def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
        """See ``Encoder``; a time that does not increase is moved by a millisecond."""
        image = np.ascontiguousarray(padded_to_even(image_bgr))
        # Without a copy: the encoder converts it before it returns.
        frame = self._av.VideoFrame.from_numpy_buffer(image, format="bgr24")
        self._last = max(round(time_s * TICKS_PER_S), self._last + MIN_STEP_TICKS)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS_PER_S)
        if time_s - self._key_from_s >= KEY_FRAME_EVERY_S:
            frame.pict_type = self._av.video.frame.PictureType.I
            self._key_from_s = time_s
        self._mux(frame)

    def close(self) -> None:
        """See ``Encoder``."""
        try:
            if self._last >= 0:
                self._mux(None)
        finally:
            try:
                self._container.close()
            finally:
                self._file.close()

    def _mux(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
                self._file.mark()
        except self._av.FFmpegError as error:  # errors of the file system are plain OSErrors
            size = f"{self._stream.width}x{self._stream.height}"
            hint = "save images into a folder, or record a smaller picture"
            raise DeviceError(f"libx264 cannot write {size} video: {error}", hint=hint) from error


class Mp4vEncoder:
    """MPEG-4 Part 2 by OpenCV, at a constant frame rate: frames are repeated or left out to keep the time.

    The file only plays after ``close``.
    """

    codec = MP4V

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float) -> None:
        self._rate = ConstantRate(fps)
        if not is_utf8(path):
            raise DeviceError(f"OpenCV cannot write {str(path)!a}", hint="give a name in UTF-8")
        fourcc = cv2.VideoWriter.fourcc(*MP4V)
        self._writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, fourcc, fps, size_wh)
        if not self._writer.isOpened():
            raise DeviceError(f"this OpenCV cannot write {MP4V} video", hint="pip install av")

    def write(self, image_bgr: NDArray[np.uint8], time_s: float) -> None:
        """See ``Encoder``."""
        for _ in range(self._rate.times(time_s)):
            self._writer.write(image_bgr)

    def close(self) -> None:
        """See ``Encoder``."""
        self._writer.release()
