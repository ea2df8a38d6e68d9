"""Video files, decoded by PyAV or OpenCV with FFmpeg, or by GStreamer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import cv2

from edgestill.errors import DataError
from edgestill.files import is_utf8
from runtime.decoders import gst_pipelines, path_choice
from runtime.decoders.opencv_reader import OpencvReader, open_capture
from runtime.decoders.orientation import rotated
from runtime.decoders.pyav_reader import open_pyav
from runtime.decoders.reader import DamagedFrameError, Reader
from runtime.frames import Frame
from runtime.sources._address import Address
from runtime.sources._missing import missing_source, refuse_model
from runtime.sources._reading import Reading
from runtime.sources._stamps import StampClock

UNKNOWN_FPS = 30.0  # assumed for files without a valid frame rate
#: A file broke off if more is missing at its end than this share of it, and than so many frames. Containers
#: round their length, and some count frames that no decoder gives.
MISSING_SHARE, MISSING_FRAMES = 0.05, 3
#: Containers that count their frames; of others the number is computed from length and rate.
COUNTED = frozenset({".mp4", ".m4v", ".mov", ".avi", ".gif"})


class VideoFile:
    """All frames of a video file, rotated as its metadata say; see ``runtime.frames.FrameSource``.

    Args:
        path: The file.
        reader: Its decoder.
        turn: Degrees to the left by which images are turned that the decoder does not turn.
    """

    is_live = False
    dropped = 0
    drops: Mapping[str, int] = MappingProxyType({})

    def __init__(self, path: Path, reader: Reader, *, turn: int = 0) -> None:
        self._path, self._turn = path, turn
        self._reader: Reader | None = reader
        self.decoder = reader.decoder
        self._fps = reader.fps or UNKNOWN_FPS
        self.fps: float | None = self._fps
        self.total = reader.total
        self.broke_off: str | None = None
        self._lost = 0
        self._clock = StampClock(1 / self._fps)

    @property
    def doubts(self) -> list[str]:
        """What was unusual so far."""
        found = self._clock.doubts()
        if self._lost:
            found.append(f"{self._lost} of {self.total} frames could not be decoded")
        return [f"{self._path}: {doubt}" for doubt in found]

    def frames(self) -> Iterator[Frame]:
        """Yield the frames up to the last one that can be decoded; DataError if there is none."""
        index, time_s, stamp_s = 0, 0.0, 0.0
        while self._reader is not None:
            start = perf_counter()
            grabbed = self._reader.grab()
            if grabbed is None:
                self._end(self._reader, index, time_s)
                break
            try:
                image_bgr = rotated(grabbed.to_bgr(), self._turn)
            except DamagedFrameError:
                self._reader.failed += 1
                continue
            captured_s = perf_counter()
            if (
                grabbed.stamp_s is not None
            ):  # a frame without one repeats the stamp before, which the clock mends
                stamp_s = grabbed.stamp_s
            time_s = self._clock.time_s(stamp_s)
            yield Frame(
                image_bgr=image_bgr,
                index=index,
                captured_s=captured_s,
                name=self._path.name,
                decode_ms=(captured_s - start) * 1e3,
                time_s=time_s,
            )
            index += 1
        if index == 0:
            raise DataError(f"{self._path} has no frame that can be decoded", hint="play it with ffplay")

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _end(self, reader: Reader, frames: int, last_s: float) -> None:
        """Note what is missing of a file that gave so many frames, the last at ``last_s`` seconds."""
        self.broke_off = self._missing(frames, last_s)
        if self.broke_off is None:
            is_counted = self._path.suffix.lower() in COUNTED
            self._lost = max((self.total or 0) - frames, 0) if is_counted else reader.failed

    def _missing(self, frames: int, last_s: float) -> str | None:
        """What is said of a file that ended too early; None if it did not."""
        # The count alone is no proof: without an index it is computed as length times mean rate.
        if self.total is None or frames >= self.total:
            return None
        length_s = self.total / self._fps
        missing_s = length_s - (last_s + 1 / self._fps)
        if missing_s <= max(MISSING_SHARE * length_s, MISSING_FRAMES / self._fps):
            return None
        return (
            f"{self._path} breaks off after {last_s:.1f} of {length_s:.1f} s: "
            f"{frames} of {self.total} frames could be decoded"
        )


def open_frames(address: Address, reading: Reading) -> VideoFile:
    """Open a video file.

    Raises:
        UsageError: There is no decoder of that name.
        DataError: It is missing, truncated, or not a video that can be decoded.
        DeviceError: The decoder that was asked for is not installed.
    """
    path = Path(address.target)
    if not path.is_file():
        raise missing_source(address.target)
    refuse_model(path)
    if not is_utf8(path):
        what = f"{address.target!a} is not a name in UTF-8, which decoders of videos need"
        raise DataError(what, hint="rename the file")
    decoder = path_choice.choose(path_choice.this_machine(), reading.decoder)
    if decoder == path_choice.GSTREAMER:
        return _by_gstreamer(path)
    return VideoFile(path, _by_pyav(path) if decoder == path_choice.PYAV else _by_opencv(path))


def _by_pyav(path: Path) -> Reader:
    try:
        # Absolute, because FFmpeg takes the start of "12:30.mp4" for the scheme of a URL.
        return open_pyav(str(path.absolute()), is_live=False)
    except (OSError, DataError):
        raise _no_video(path) from None


def _by_opencv(path: Path) -> OpencvReader:
    capture = open_capture(str(path.absolute()), cv2.CAP_FFMPEG)
    if capture is None:
        raise _no_video(path)
    return OpencvReader(capture, cv2.CAP_FFMPEG, is_live=False)


def _by_gstreamer(path: Path) -> VideoFile:
    """GStreamer tells neither the number of frames nor turns them: OpenCV reads that from the file's head."""
    capture = open_capture(str(path.absolute()), cv2.CAP_FFMPEG)
    if capture is None:
        raise _no_video(path)
    head, clockwise = (
        OpencvReader(capture, cv2.CAP_FFMPEG, is_live=False),
        capture.get(cv2.CAP_PROP_ORIENTATION_META),
    )
    head.close()
    on_jetson = path_choice.this_machine().has_nv_decoder
    pipeline = gst_pipelines.file(str(path.absolute()), on_jetson=on_jetson)
    reader = path_choice.open_pipeline(pipeline, str(path), is_live=False)
    reader.fps, reader.total = head.fps, head.total
    return VideoFile(path, reader, turn=-round(clockwise))


def _no_video(path: Path) -> DataError:
    return DataError(
        f"{path} is not a video that can be decoded, or it is truncated ({path.stat().st_size} bytes)",
        hint="copy the file again, or test it with ffplay",
    )
