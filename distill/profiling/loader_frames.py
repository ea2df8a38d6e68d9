"""A large data set from few rendered scenes, to measure loaders; not for training."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from distill.data.bounded_map import bounded_map
from distill.datasets.synth.lights.heads import CLASSES
from distill.datasets.synth.scene import Scene, render
from distill.datasets.synth.write import label_text
from edgestill.progress import track

SCENES = 4  # that are rendered, which is the slow part


def write_frames(root: Path, frames: int, images: int, size_wh: tuple[int, int], threads: int) -> Path:
    """Write frames: a few rendered streets, each shifted, possibly mirrored, at another brightness.

    Args:
        root: An empty folder.
        frames: Number of distinct frames: JPEG of quality 95 without chroma subsampling.
        images: Number of file names; those beyond ``frames`` are hard links to the first.
        size_wh: Width and height, px.
        threads: Number of writing threads.

    Returns:
        The ``data.yaml``; all images are in ``train``.
    """
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    streets = (scene for i in count() if (scene := render(0, i, size_wh)).tags[0] == "street")
    scenes = list(track(islice(streets, SCENES), "rendering streets", SCENES))
    with ThreadPoolExecutor(threads) as pool:
        made = bounded_map(pool, partial(_write, root, scenes), range(frames), 4 * threads)
        for _ in track(made, "writing frames", frames):
            pass
    for i in range(frames, images):
        for name in ("images/{:06}.jpg", "labels/{:06}.txt"):
            os.link(root / name.format(i % frames), root / name.format(i))
    (root / "data.yaml").write_text(f"train: images\nnames: [{', '.join(CLASSES)}]\n", "utf-8")
    return root / "data.yaml"


def _write(root: Path, scenes: list[Scene], index: int) -> None:
    scene, random = scenes[index % len(scenes)], np.random.default_rng(index)
    width = scene.image_bgr.shape[1]
    shift = int(random.integers(0, width // 4))
    image = np.roll(scene.image_bgr, shift, axis=1)
    xyxy = scene.xyxy + np.array([shift, 0, shift, 0], np.float32)
    if random.random() < 0.5:
        image = image[:, ::-1]
        xyxy = np.stack((width - xyxy[:, 2], xyxy[:, 1], width - xyxy[:, 0], xyxy[:, 3]), axis=1)
    image = cv2.convertScaleAbs(image, alpha=random.uniform(0.7, 1.2))
    inside = (xyxy[:, 0] >= 0) & (xyxy[:, 2] <= width)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    cv2.imwrite(str(root / f"images/{index:06}.jpg"), image, quality)
    shown = Scene(image_bgr=image, class_id=scene.class_id[inside], xyxy=xyxy[inside], tags=scene.tags)
    (root / f"labels/{index:06}.txt").write_text(label_text(shown), "utf-8")
