"""A short rendered drive as a video, with exact boxes for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distill.datasets.synth.canvas import Canvas
from distill.datasets.synth.drive import Drive
from distill.datasets.synth.labels import visible_heads
from distill.datasets.synth.lights.heads import CLASSES
from distill.datasets.synth.scene import DEFAULT_DETAIL_PX, DEFAULT_SIZE, MAX_SIDE, Scene
from distill.datasets.synth.sensor import Sensor
from edgestill.errors import UsageError
from edgestill.files import refuse_overwrite, replacing, temporary_beside, write_json
from edgestill.progress import progress
from runtime.sinks.encoders import open_encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedClip:
    """A rendered clip on disk.

    Attributes:
        video: The clip, MP4.
        codec: ``h264``, or ``mp4v`` without PyAV.
        labels: Its boxes by frame, JSON.
        frames: Number of frames.
        fps: Frames a second.
        size_wh: Width and height, px.
        boxes: Boxes by class name, all frames together.
        seed: Of the drive.
    """

    video: Path
    codec: str
    labels: Path
    frames: int
    fps: float
    size_wh: tuple[int, int]
    boxes: dict[str, int]
    seed: int


def render_clip(
    seconds: float = 8.0,
    fps: float = 15.0,
    size_wh: tuple[int, int] = DEFAULT_SIZE,
    seed: int = 0,
) -> Iterator[Scene]:
    """Render a drive towards and past signals that change, one frame after the other.

    The same arguments give the same frames; textures, lamps and labels are consistent over time.

    Args:
        seconds: Length.
        fps: Frames a second.
        size_wh: Width and height, px.
        seed: Chooses the street and its light; not negative.
    """
    rng = np.random.default_rng((seed, 2))
    drive = Drive.sample(rng, size_wh, seconds)
    sensor = Sensor.sample(rng, drive.lighting, DEFAULT_DETAIL_PX)
    sensor = replace(
        sensor,
        resolution=1.0,
        motion=(0.0, 0.0),
        defocus=min(sensor.defocus, 0.7),
        noise=min(sensor.noise, 0.12),
        recompress=0,
    )
    for frame, z in enumerate(drive.positions(max(1, round(seconds * fps)), fps)):
        canvas = Canvas(np.empty((size_wh[1], size_wh[0], 3), np.uint8))
        drive.at(z, frame / fps).draw(canvas)
        heads = visible_heads(canvas)
        x, y = np.random.default_rng((seed, frame, 3)).random(2)
        image = replace(sensor, noise_at=(float(x), float(y))).capture(canvas.image)
        tags = ("clip", drive.lighting.time, drive.lighting.weather)
        yield Scene(
            image_bgr=image,
            class_id=np.array([head.class_id for head, _ in heads], np.int64),
            xyxy=np.array([box for _, box in heads], np.float32).reshape(-1, 4),
            tags=tags,
            number=np.array([head.number for head, _ in heads], np.int64),
        )


def write_clip(
    out: Path,
    *,
    seconds: float = 8.0,
    fps: float = 15.0,
    size_wh: tuple[int, int] = DEFAULT_SIZE,
    seed: int = 0,
    force: bool = False,
) -> RenderedClip:
    """Write a rendered drive to ``out`` and its boxes beside it, as ``NAME.gt.json``.

    Raises:
        UsageError: An argument is out of range, or a file exists and ``force`` is false.
        DeviceError: Neither PyAV nor OpenCV can write the video.
    """
    _check(out, seconds, fps, size_wh, seed)
    labels = out.with_suffix(".gt.json")
    _check_place(labels)
    refuse_overwrite(out, force=force)
    refuse_overwrite(labels, force=force)
    total = max(1, round(seconds * fps))
    frames: dict[str, list[list[float]]] = {}
    ids: dict[str, list[int]] = {}
    counts = np.zeros(len(CLASSES), np.int64)
    with (
        replacing(out, force=force) as temporary,
        progress("render clip", total) as advance,
        closing(open_encoder(temporary, size_wh, fps)) as encoder,
    ):
        for number, scene in enumerate(render_clip(seconds, fps, size_wh, seed)):
            encoder.write(scene.image_bgr, number / fps)
            boxes = scene.xyxy.round(2).tolist()
            frames[str(number)] = [[int(c), *b] for c, b in zip(scene.class_id, boxes, strict=True)]
            ids[str(number)] = [] if scene.number is None else scene.number.tolist()
            counts += np.bincount(scene.class_id, minlength=len(CLASSES))
            advance()
    truth = {
        "video": out.name,
        "width": size_wh[0],
        "height": size_wh[1],
        "names": list(CLASSES),
        "fps": fps,
        "frames": frames,
        "ids": ids,
    }
    write_json(labels, truth, force=force)
    return RenderedClip(
        video=out,
        codec=encoder.codec,
        labels=labels,
        frames=total,
        fps=fps,
        size_wh=size_wh,
        boxes={name: int(count) for name, count in zip(CLASSES, counts, strict=True)},
        seed=seed,
    )


def _check_place(path: Path) -> None:
    """Create the folder of ``path`` and a file in it: OpenCV does not say why it cannot write a video."""
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        what = f"{error.filename or path}: {error.strerror}"
        raise UsageError(
            f"no clip can be written there: {what}", hint="name another place with --out"
        ) from error


def _check(out: Path, seconds: float, fps: float, size_wh: tuple[int, int], seed: int) -> None:
    if out.suffix.lower() != ".mp4":
        raise UsageError(f"--out is {out}, a clip ends in .mp4", hint="--out clip.mp4")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder", hint=f"--out {out / 'drive.mp4'}")
    if not 0 < seconds <= 600 or not 0 < fps <= 120:
        raise UsageError(
            f"--seconds is {seconds:g} and --fps {fps:g}, out of range", hint="e.g. --seconds 8 --fps 15"
        )
    if min(size_wh) < 64 or max(size_wh) > MAX_SIDE or size_wh[0] % 2 or size_wh[1] % 2:
        raise UsageError(
            f"--size is {size_wh[0]}x{size_wh[1]}, video wants even sides from 64 to {MAX_SIDE}",
            hint="e.g. --size 1280x720",
        )
    if seed < 0:
        raise UsageError(f"--seed is {seed}, it must not be negative", hint="e.g. --seed 0")
