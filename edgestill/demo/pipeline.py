"""Assembly of the pipeline for a detector, a source and the options of ``edgestill run``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.demo.lights import LightStates, are_lights
from edgestill.demo.overlay import FrameOverlay
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, resolved
from runtime.detector import ModelDetector
from runtime.frames import FrameSource
from runtime.pipeline import Pipeline, Sink
from runtime.sinks.image_writer import ImageSink
from runtime.sinks.video_writer import VideoSink
from runtime.tiling import TiledDetector, Tiling
from runtime.tracking import Tracker, TrackerSettings

VIDEO_SUFFIX = ".mp4"
LIVE_FPS = 25.0  # of a recording, for a camera that does not report its frame rate
TRACK_MEMORY_S = 1.0  # a track ends after this time without a detection
TRACK_MEMORY_FRAMES = (3, 30)  # smallest and largest number of frames of that time


def assemble(
    detector: ModelDetector,
    source: FrameSource,
    *,
    title: str,
    track: bool,
    sinks: Sequence[Sink],
    tiling: Tiling,
) -> Pipeline:
    """A pipeline for a model and a source.

    Args:
        detector: The model.
        source: Its frame rate determines the lifetime of tracks.
        title: Name of the model in the overlay.
        track: Whether to track objects, and to classify tracked traffic lights.
        sinks: Receivers of the results.
        tiling: The tiles of each frame that the model runs on.
    """
    classes = detector.spec.classes
    tracker = None
    if track:
        least, most = TRACK_MEMORY_FRAMES
        max_age = min(max(round(TRACK_MEMORY_S * (source.fps or LIVE_FPS)), least), most)
        tracker = Tracker(TrackerSettings(by_class=not are_lights(classes), max_age=max_age))
    suffix = "" if tiling.is_whole else f"  {tiling} tiles"
    return Pipeline(
        TiledDetector(detector, tiling),
        tracker=tracker,
        track_classifier=LightStates(classes) if are_lights(classes) else None,
        overlay=FrameOverlay(classes, f"{title}  {detector.backend.name}{suffix}"),
        sinks=sinks,
    )


def file_sink(
    target: Path, source: FrameSource, source_text: str, *, max_frames: int | None, force: bool
) -> Sink:
    """The sink of ``--save``: a video for a source with a frame rate, else one image or a folder of images.

    Args:
        target: File or folder.
        source: The opened source.
        source_text: The argument of ``--source``, so that it is not overwritten.
        max_frames: Largest number of frames that will be processed; None for all.
        force: Whether existing files are replaced.

    Raises:
        UsageError: The target does not suit the source, exists already, or may be the source.
    """
    suffix = target.suffix.lower()
    origin = Path(source_text)
    if _may_be_source(resolved(target), origin):
        raise UsageError(f"--save {target} may overwrite the source", hint="give another path")
    is_video = source.is_live or source.fps is not None
    if is_video and suffix in {"", VIDEO_SUFFIX}:
        name = origin.stem if origin.is_file() else "camera"
        path = target if suffix else target / f"{name}{VIDEO_SUFFIX}"
        return VideoSink(path, source.fps or LIVE_FPS, force=force)
    if suffix in IMAGE_SUFFIXES and 1 in {source.total, max_frames}:
        return ImageSink(target, is_folder=False, force=force)
    if not suffix and not is_video:
        refuse_overwrite(target, force=force)
        return ImageSink(target, is_folder=True, force=force)
    raise UsageError(
        f"--save {target} does not suit {'a video' if is_video else f'{source.total} images'}",
        hint="a video is saved as .mp4, one image as .png or .jpg, several images into a folder",
    )


def _may_be_source(target: Path, origin: Path) -> bool:
    """Whether writing to ``target`` could overwrite a source file: a file, or any of a folder or glob."""
    if origin.is_file():
        return target in {resolved(origin), resolved(origin).parent}
    fixed = takewhile(lambda part: not set(part) & set("*?["), origin.parts)
    folder = resolved(Path(*fixed))
    return target == folder or (target.is_file() and target.is_relative_to(folder))
