"""Assembly of the pipeline for a detector, a source and the options of ``edgestill run``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import takewhile
from pathlib import Path

from edgestill.dataset import IMAGE_SUFFIXES
from edgestill.demo.lights import LightStates, are_lights
from edgestill.demo.overlay import FrameOverlay
from edgestill.demo.save_options import SaveOptions, image_folder, video_sink
from edgestill.errors import UsageError
from edgestill.files import MAX_NAME_BYTES, refuse_overwrite, resolved, shortened
from runtime.class_filter import ClassFilter
from runtime.detector import ModelDetector, TimedDetector
from runtime.frames import FrameSource
from runtime.light_states.lights_of_detector import LightClassifier
from runtime.pipeline import Gate, Pipeline, Sink, Stream
from runtime.sinks.encoders import has_h264
from runtime.sinks.image_writer import ImageSink
from runtime.sinks.segments import SegmentSink
from runtime.sinks.video_writer import VIDEO_SUFFIXES, VideoSink
from runtime.sources.images import ImageFiles
from runtime.tiling import TiledDetector, Tiling
from runtime.tracking import Tracker, TrackerSettings

VIDEO_SUFFIX = ".mp4"
LIVE_FPS = 25.0  # assumed for a camera that does not report its frame rate
SANE_FPS = (0.1, 1000.0)


def assemble(
    detector: ModelDetector,
    *,
    title: str,
    sinks: Sequence[Sink],
    tiling: Tiling,
    class_ids: Collection[int] | None = None,
    lights: LightClassifier | None = None,
    strip: bool = True,
    gate: Gate | None = None,
) -> Pipeline:
    """A pipeline for a model.

    Args:
        detector: The model.
        title: Name of the model in the overlay.
        sinks: Receivers of the results of all sources.
        tiling: The tiles of each frame that the model runs on.
        class_ids: The classes that are kept; None for all.
        lights: Classifies the state of lights that the model finds; None for the model's own classes.
        strip: Whether annotated frames have a status strip below the picture.
        gate: Decides which frames are processed; None for all.
    """
    tiled: TimedDetector = TiledDetector(detector, tiling)
    if lights is not None:
        tiled = lights.around(tiled)
    suffix = "" if tiling.is_whole else f"  {tiling} tiles"
    return Pipeline(
        tiled if class_ids is None else ClassFilter(tiled, class_ids),
        overlay=FrameOverlay(tiled.spec.classes, f"{title}  {detector.backend.name}{suffix}", strip=strip),
        sinks=sinks,
        max_batch=detector.max_batch,
        concurrency=detector.backend.concurrency,
        gate=gate,
    )


def stream(
    source: FrameSource, name: str, *, classes: Sequence[str], track: bool, sinks: Sequence[Sink] = ()
) -> Stream:
    """A source of the pipeline.

    Args:
        source: Its frame rate is what the tracker expects until it has seen some frames.
        name: Its short name, which no other source has.
        classes: Class names of the pipeline's detector.
        track: Whether to track objects, and to classify tracked traffic lights.
        sinks: Receivers of the results of this source alone.
    """
    tracker = None
    if track:
        settings = TrackerSettings(by_class=not are_lights(classes))
        tracker = Tracker(settings, period_s=1 / _rate(source))
    return Stream(
        source=source,
        name=name,
        tracker=tracker,
        track_classifier=LightStates(classes) if are_lights(classes) else None,
        sinks=sinks,
    )


def file_sink(
    target: Path,
    source: FrameSource,
    source_text: str,
    *,
    max_frames: int | None,
    force: bool,
    others: Sequence[str] = (),
    options: SaveOptions | None = None,
) -> Sink:
    """The sink of ``--save``: a video for a source with a frame rate, else one image or a folder of images.

    Args:
        target: File or folder.
        source: The opened source.
        source_text: The argument of ``--source``, so that it is not overwritten.
        max_frames: Largest number of frames that will be processed; None for all.
        force: Whether existing files are replaced.
        others: The arguments of ``--source`` of all other sources, which are not overwritten either.
        options: Segments, or a folder of images; None for neither.

    Raises:
        UsageError: The target does not suit the source, exists already, or may be the source.
    """
    suffix = target.suffix.lower()
    origin = Path(source_text)
    if any(_may_be_source(resolved(target), Path(text)) for text in (source_text, *others)):
        raise UsageError(f"--save {target} may overwrite a source", hint="give another path")
    options = options or SaveOptions()
    is_video = source.is_live or source.fps is not None
    if options.image_suffix is not None:
        return image_folder(target, source, options.image_suffix, force=force)
    if is_video and (not suffix or target.is_dir()):
        stem = origin.stem if origin.is_file() else "camera"
        name = shortened(stem, MAX_NAME_BYTES - len(VIDEO_SUFFIX)) + VIDEO_SUFFIX
        return _video_sink(target / name, source, options, force=force)
    if is_video and suffix in VIDEO_SUFFIXES:
        return _video_sink(target, source, options, force=force)
    if options.segment_s is not None:
        raise UsageError(
            f"--segment-minutes is about videos, and --save {target} is none", hint="save an .mp4 or .mkv"
        )
    paths = source.paths if isinstance(source, ImageFiles) else ()
    if suffix in IMAGE_SUFFIXES and 1 in {source.total, max_frames}:
        return ImageSink(target, sources=paths, force=force)
    if (not suffix or target.is_dir()) and isinstance(source, ImageFiles):
        refuse_overwrite(target, force=force)
        return ImageSink(target, names=source.names, sources=paths, force=force)
    raise UsageError(
        f"--save {target} does not suit {'a video' if is_video else f'{source.total} images'}",
        hint="a video is saved as .mp4 or .mkv, one image as .png or .jpg, several images into a folder",
    )


def _video_sink(
    path: Path, source: FrameSource, options: SaveOptions, *, force: bool
) -> VideoSink | SegmentSink:
    if path.suffix.lower() != VIDEO_SUFFIX and not has_h264():
        raise UsageError(f"{path.suffix} needs PyAV, which is not installed", hint="pip install av")
    return video_sink(path, source, _rate(source), options, force=force)


def _rate(source: FrameSource) -> float:
    """The frame rate of a source; ``LIVE_FPS`` if it has none or, as some cameras, an absurd one."""
    least, most = SANE_FPS
    return source.fps if source.fps is not None and least <= source.fps <= most else LIVE_FPS


def _may_be_source(target: Path, origin: Path) -> bool:
    """Whether writing to ``target`` could overwrite a source file: a file, or any of a folder or glob."""
    if origin.is_file():
        return target in {resolved(origin), resolved(origin).parent}
    fixed = takewhile(lambda part: not set(part) & set("*?["), origin.parts)
    folder = resolved(Path(*fixed))
    return target == folder or (target.is_file() and target.is_relative_to(folder))
