"""An annotated video file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgestill.errors import DataError, UsageError
from edgestill.files import refuse_overwrite
from edgestill.progress import say
from runtime.pipeline import FrameResult
from runtime.sinks.encoders import open_encoder
from runtime.sinks.part_file import PartFile, write_error
from runtime.sinks.video_codec import FORMATS, H264, Encoder

#: What ``VideoSink`` writes; ``.mp4`` only, where ``has_h264`` is false.
VIDEO_SUFFIXES = frozenset(FORMATS)
LOOK_EVERY_S = 1.0  # of the stream, between two looks whether the file is still there


class VideoSink:
    """Writes annotated frames into a video file, each at its own time; see ``runtime.pipeline.Sink``.

    The file is ``NAME.part.mp4`` until the run ends. A recording of a live source stays however the run ends:
    under its own name if no older file has that, else as the part file.

    Args:
        path: The file, with one of ``VIDEO_SUFFIXES``.
        fps: Mean number of frames per second.
        force: Whether an existing file is replaced, at the end of a complete run.
        is_live: Whether the frames come from a camera, and so cannot be had again.

    Attributes:
        codec: ``h264`` or ``mp4v``; None before the first frame.
    """

    needs_overlay = True

    def __init__(self, path: Path, fps: float, *, force: bool, is_live: bool = False) -> None:
        refuse_overwrite(path, force=force)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._fps, self._is_live = path, fps, is_live
        self._part: PartFile | None = None
        self._encoder: Encoder | None = None
        self._hw: tuple[int, ...] = ()
        self._first_s = self._looked_s = 0.0
        self.codec: str | None = None

    def write(self, result: FrameResult, image_bgr: NDArray[np.uint8]) -> bool:
        """Add a frame at its time in the source.

        Raises:
            DataError: The frame has another size than the first.
            UsageError: The disk is full, or the file cannot be written for another reason.
            DeviceError: There is no encoder.
        """
        try:
            if self._encoder is None:
                self._encoder = self._open(image_bgr)
                self._first_s = result.frame.time_s
            if image_bgr.shape[:2] != self._hw:
                raise DataError(
                    f"{result.frame.name} is {image_bgr.shape[1]}x{image_bgr.shape[0]}, "
                    f"the video began with {self._hw[1]}x{self._hw[0]}",
                    hint="one video file has one size; start again, or save images into a folder",
                )
            self._encoder.write(image_bgr, result.frame.time_s - self._first_s)
            self._look(result.frame.time_s)
        except OSError as error:
            raise write_error(self._path, error) from error
        return True

    def close(self, *, complete: bool) -> tuple[Path, ...]:
        """Finish the file; that of a source that can be read again is removed if it is not complete."""
        part, encoder = self._part, self._encoder
        self._part = self._encoder = None
        if part is None:
            return ()
        try:
            return self._settle(part, encoder, complete=complete)
        except OSError as error:  # as of a disk that was unplugged
            raise write_error(part.path, error) from error

    def _settle(self, part: PartFile, encoder: Encoder | None, *, complete: bool) -> tuple[Path, ...]:
        """Close the encoder, and rename or remove the part."""
        failed: Exception | None = None
        try:
            if encoder is not None:
                encoder.close()
        except Exception as error:  # as of a full disk; what is in the file stays
            failed = write_error(self._path, error) if isinstance(error, OSError) else error
        files: tuple[Path, ...] = ()
        if encoder is None or part.is_empty():
            part.discard()
        elif complete and failed is None:
            files = (part.finish(),)
        elif self._is_live:
            files = (part.keep(),)
        else:
            part.discard()
            say(f"{self._path} was not written, as the run broke off")
        if complete and failed is not None:
            if files:
                say(f"kept what was recorded: {files[0]}")
            raise failed
        return files

    def _look(self, time_s: float) -> None:
        """Raise UsageError if the file has been removed: the system would write on, for nobody."""
        if self._part is None or abs(time_s - self._looked_s) < LOOK_EVERY_S:
            return
        self._looked_s = time_s
        if not self._part.path.exists():
            hint = "leave the file and its folder alone while they are written, and the disk mounted"
            raise UsageError(f"{self._part.path} is gone, it was removed during the recording", hint=hint)

    def _open(self, image_bgr: NDArray[np.uint8]) -> Encoder:
        height, width = self._hw = image_bgr.shape[:2]
        self._part = PartFile(self._path)
        encoder = open_encoder(self._part.path, (width, height), self._fps)
        self.codec = encoder.codec
        if self.codec != H264:
            say(
                f"{self._path}: written as {self.codec}, which browsers do not play and a killed process "
                "loses; for H.264: pip install av"
            )
        return encoder
