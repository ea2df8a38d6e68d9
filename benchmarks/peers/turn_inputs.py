"""What the programs are given in a turn: a folder of images, and a file in the form that they open."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2

from benchmarks.measure.footage import draw_street
from benchmarks.peers.ultralytics_file import FOLDER_END, write_ultralytics_file
from edgestill.dataset import read_image

IMAGES = 16  # that are run in each turn


def turn_images(folder: Path, chosen: Sequence[Path]) -> Path:
    """Make the folder of the images of a turn, unless it is there.

    They are uncompressed: `yolo predict` reads the next image while the network runs, and decoding would
    slow it down where it has one CPU.

    Args:
        folder: To make.
        chosen: The evaluation images, of which some are taken, spread evenly; empty for drawn streets.
    """
    if folder.is_dir():
        return folder
    made = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for k in range(IMAGES):
        image = read_image(chosen[k * len(chosen) // IMAGES]) if chosen else draw_street(k)
        cv2.imwrite(str(made / f"{k:03}.bmp"), image)
    made.rename(folder)
    return folder


def for_yolo(model: Path) -> Path:
    """An OpenVINO file as the ultralytics package opens it, written beside it; the layers are the same."""
    folder = model.with_name(f"{model.stem}{FOLDER_END}")
    written = folder / model.name
    if written.is_file() and written.stat().st_mtime < model.stat().st_mtime:
        shutil.rmtree(folder)
    return written if written.is_file() else write_ultralytics_file(model, folder)


def cpus_for(threads: int | None) -> frozenset[int] | None:
    """As many CPUs as threads: a program without a flag for threads then has no more either."""
    if threads is None or not hasattr(os, "sched_getaffinity"):
        return None
    return frozenset(sorted(os.sched_getaffinity(0))[:threads])
