"""A data set of coloured boxes, a teacher and recipes, small enough that a training takes a second."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Timer

import cv2
import numpy as np
import pytest
import torch

from distill.checkpoints import native
from distill.models.yolov5 import build, model_spec
from distill.recipe import Recipe
from distill.recipe_toml import load_recipe

CLASSES = ("red", "green")
PATIENCE_S = 300
WARM = Path(__file__).parent / "scripts" / "warm.py"
Fork = Callable[..., list["subprocess.CompletedProcess[str]"]]
INPUT_HW = (96, 160)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and two validation images with a coloured box each; one shows nothing."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            image = random.integers(30, 90, (90, 160, 3), np.uint8)
            row = ""
            if i:
                class_id, x, y = i % 2, int(random.integers(0, 120)), int(random.integers(0, 50))
                image[y : y + 32, x : x + 24] = (0, 255, 0) if class_id else (0, 0, 255)
                row = f"{class_id} {(x + 12) / 160} {(y + 16) / 90} {24 / 160} {32 / 90}\n"
            cv2.imwrite(str(root / "images" / split / f"{i}.png"), image)
            (root / "labels" / split / f"{i}.txt").write_text(row)
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [red, green]\n")
    return root / "data.yaml"


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the student's size that has learnt nothing."""
    folder = tmp_path_factory.mktemp("weights") / "teacher"
    torch.manual_seed(1)
    model = build("n", len(CLASSES))
    native.save(folder, model, model_spec(model, CLASSES, INPUT_HW), {})
    return folder


@pytest.fixture(scope="session")
def recipe(data: Path, teacher: Path) -> Recipe:
    """Four epochs of two steps, two of them with a method that is switched off after."""
    settings = [
        f"teacher={teacher}",
        f"input_hw={list(INPUT_HW)}",
        "train_hw=[64, 64]",
        "epochs=4",
        "batch=4",
        "eval_every=2",
        "patience=0",
        "threads=1",
        "methods.cwd.course=cosine",
        "methods.logits.off_at=2",
    ]
    return load_recipe("traffic-lights", settings, [str(data)])


@pytest.fixture(scope="session")
def plain(recipe: Recipe) -> Recipe:
    """One epoch without a teacher."""
    return replace(recipe, teacher="", methods={}, epochs=1, eval_every=1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test leave no plots; those of its module's fixtures still do."""
    monkeypatch.setattr("distill.training.run_folder.draw", lambda *_: {})


@pytest.fixture(scope="module")
def undrawn_module() -> Iterator[None]:
    """Trainings of this module leave no plots, those of its fixtures neither."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.training.run_folder.draw", lambda *_: {})
        yield


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fork]:
    """Runs a script, or one side by side with itself in other environments, see ``scripts/warm.py``."""
    logs = tmp_path_factory.mktemp("forked")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(WARM)], stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def run(
            *argv: str | Path, env: Sequence[Mapping[str, str]] = ({},)
        ) -> list[subprocess.CompletedProcess[str]]:
            words = [str(word) for word in argv]
            streams = [
                {name: str(logs / f"{name}{i}") for name in ("stdout", "stderr")} for i in range(len(env))
            ]
            commands = [{"argv": words, "env": own, **files} for own, files in zip(env, streams, strict=True)]
            timer = Timer(PATIENCE_S, os.killpg, (server.pid, signal.SIGKILL))
            timer.start()
            print(json.dumps(commands), file=server.stdin, flush=True)
            codes = json.loads(server.stdout.readline())
            timer.cancel()
            return [
                subprocess.CompletedProcess(
                    words, code, *(Path(files[name]).read_text() for name in ("stdout", "stderr"))
                )
                for code, files in zip(codes, streams, strict=True)
            ]

        yield run
        server.stdin.close()
