"""The board of these tests, and what is copied to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgestill.cli.main import call
from runtime.detector import open_detector
from runtime.letterbox import prepare
from tests.arm64.board import SYSTEM_VENV, Board, missing_here, read_board, started

#: A board that ``python -m tests.arm64 up FOLDER`` started, to be used instead of a new one.
RUNNING = "EDGESTILL_ARM64_BOARD"
#: Input height and width of the models: emulated, an inference at 640 x 640 takes half a minute.
HEIGHT, WIDTH = 384, 640
TENSORS = 3
OnBoard = Callable[..., tuple[int, Any, str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are ``slow`` and ``arm64``."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.arm64)


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A new board, gone at the end, or the one that runs in a folder."""
    if (missing := missing_here()) is not None:
        pytest.skip(missing)
    if (folder := os.environ.get(RUNNING)) is not None:
        yield read_board(Path(folder).resolve())
        return
    with started(tmp_path_factory.mktemp("arm64") / "board") as running:
        yield running


@pytest.fixture(scope="session")
def on_board(board: Board) -> OnBoard:
    """Runs edgestill on the board; returns exit status, the JSON on stdout (None without) and stderr."""

    def edgestill(*words: str, venv: str = SYSTEM_VENV) -> tuple[int, Any, str]:
        done = board.run(f"{venv}/bin/edgestill", *words)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return edgestill


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory, board: Board) -> Path:
    """Made on this machine and copied to ``/root/material`` of the board.

    The shipped student at 384 x 640 as ``fp32.onnx`` and ``int8.onnx``, ``clip.mp4``, pieces of rendered
    streets with a light in the middle as ``light_N.png``, and ``vectors.npz`` of them for ``probe.py``.
    """
    folder = tmp_path_factory.mktemp("material")
    call(["data", "synth", "--out", str(folder / "scenes"), "--images", "12", "--seed", "11"])
    clip = ["--seconds", "0.3", "--fps", "10", "--size", "640x360"]
    call(["data", "clip", "--out", str(folder / "clip.mp4"), *clip])
    data = ["--calib", str(folder / "scenes/data.yaml"), "--max-drop", "100"]
    for precision, more in (("fp32", []), ("int8", data)):
        options = ["--to", "onnx", "--precision", precision, "--imgsz", f"{HEIGHT}x{WIDTH}", *more]
        call(["export", "student", *options, "--out", str(folder), "--name", precision])
    places = sorted((folder / "scenes/images/train").iterdir())[:TENSORS]
    images = [around_a_light(place) for place in places]
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / f"light_{number}.png"), image)
    with closing(open_detector(folder / "fp32.onnx", threads=1)) as detector:
        tensors = [prepare(image, detector.spec)[0][0] for image in images]
    scene = cv2.imread(str(places[0]))
    np.savez(folder / "vectors.npz", tensors=np.stack(tensors), image_bgr=scene)
    shutil.copyfile(Path(__file__).with_name("probe.py"), folder / "probe.py")
    there = board.root / "root/material"
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(folder, there, ignore=shutil.ignore_patterns("scenes"))
    return folder


def around_a_light(place: Path) -> NDArray[np.uint8]:
    """A piece of a rendered street, uint8 ``[384, 640, 3]``, with its largest light near the middle."""
    image = cv2.imread(str(place))
    rows = np.loadtxt(place.parents[2] / "labels/train" / f"{place.stem}.txt", ndmin=2)
    height, width = image.shape[:2]
    _, x, y, _, _ = rows[rows[:, 4].argmax()]
    left = int(np.clip(x * width - WIDTH / 2, 0, width - WIDTH))
    top = int(np.clip(y * height - HEIGHT / 2, 0, height - HEIGHT))
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])
