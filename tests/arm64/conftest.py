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

from edgestill.cli.main import call
from export.model_file import resolve
from runtime.detector import open_detector
from runtime.letterbox import prepare
from tests.arm64.board import SYSTEM_VENV, Board, missing_here, read_board, started

#: A board that ``python -m tests.arm64 up FOLDER`` started, to be used instead of a new one.
RUNNING = "EDGESTILL_ARM64_BOARD"
TENSORS = 8
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

    ``scenes/``, ``clip.mp4``, the shipped student as ``fp32.onnx`` and ``int8.onnx``, and ``vectors.npz`` for
    ``probe.py``.
    """
    folder = tmp_path_factory.mktemp("material")
    call(["data", "synth", "--out", str(folder / "scenes"), "--images", "12", "--seed", "11"])
    call(
        [
            "data",
            "clip",
            "--out",
            str(folder / "clip.mp4"),
            "--seconds",
            "0.3",
            "--fps",
            "10",
            "--size",
            "640x360",
        ]
    )
    data = str(folder / "scenes/data.yaml")
    options = ["--to", "onnx", "--precision", "int8", "--calib", data, "--images", "4", "--max-drop", "100"]
    call(["export", "student", *options, "--out", str(folder), "--name", "int8"])
    shutil.copyfile(resolve("student"), folder / "fp32.onnx")
    places = sorted((folder / "scenes/images/train").iterdir())[:TENSORS]
    images = [cv2.imread(str(place)) for place in places]
    with closing(open_detector(folder / "fp32.onnx", threads=1)) as detector:
        tensors = [prepare(image, detector.spec)[0][0] for image in images]
    np.savez(folder / "vectors.npz", tensors=np.stack(tensors), image_bgr=images[0])
    shutil.copyfile(Path(__file__).with_name("probe.py"), folder / "probe.py")
    there = board.root / "root/material"
    shutil.rmtree(there, ignore_errors=True)
    shutil.copytree(folder, there)
    return folder
