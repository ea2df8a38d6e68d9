"""How ``--save`` writes: one video, segments of it, or a folder with an image for each frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.errors import UsageError
from runtime.frames import FrameSource
from runtime.sinks.frame_names import refuse_full
from runtime.sinks.image_writer import FrameFolderSink, ImageSink
from runtime.sinks.segments import SegmentSink
from runtime.sinks.video_writer import VIDEO_SUFFIXES, VideoSink
from runtime.sources.images import ImageFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveOptions:
    """The flags beside ``--save``.

    Attributes:
        image_suffix: Suffix of the images of a folder, with its dot; None for a video, or for images with the
            names of their sources.
        segment_s: Length of the segments of a video, seconds; None for one file.
        keep_bytes: The most that all segments have; None for no limit.
    """

    image_suffix: str | None = None
    segment_s: float | None = None
    keep_bytes: int | None = None


def image_folder(
    target: Path, source: FrameSource, suffix: str, *, force: bool
) -> FrameFolderSink | ImageSink:
    """The sink of ``--save DIR --save-format``.

    Raises:
        UsageError: The target is the name of a file, or has images already.
    """
    if target.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and not target.is_dir():
        hint = f"name a folder, as --save {target.with_suffix('')}"
        raise UsageError(f"--save-format is about the images of a folder, and {target} is a file", hint=hint)
    if not isinstance(source, ImageFiles):
        return FrameFolderSink(target, suffix, force=force)
    refuse_full(target, force=force)
    return ImageSink(target, names=source.names, sources=source.paths, suffix=suffix, force=force)


def video_sink(
    path: Path, source: FrameSource, fps: float, options: SaveOptions, *, force: bool
) -> VideoSink | SegmentSink:
    """The sink of a video file, or of its segments.

    Raises:
        UsageError: The file exists and ``force`` is false. Segments replace no file.
    """
    if options.segment_s is None:
        return VideoSink(path, fps, force=force, is_live=source.is_live)
    return SegmentSink(
        path, fps, segment_s=options.segment_s, keep_bytes=options.keep_bytes, is_live=source.is_live
    )
