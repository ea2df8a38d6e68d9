"""The compared trainings, each in a process of its own: ours, and the package's in its own Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from devices.linux import read_load
from distill.profiling.against_ultralytics.compare import OURS, TrainingRun, TrainingSpeed
from distill.profiling.against_ultralytics.setting import ComparisonSettings, peer_job, recipe_text
from edgestill.errors import DeviceError, UsageError
from edgestill.files import to_json_text
from edgestill.history import read_history

PEER = Path(__file__).with_name("peer.py")
INSTALL = "python -m venv peer && peer/bin/pip install torch torchvision ultralytics"


def make_arms(setting: ComparisonSettings, teacher: Path, peer: Path, folder: Path) -> dict[str, TrainingRun]:
    """The compared trainings by name: ours, and the package at its defaults, with all threads, and in bf16.

    On a CPU the package uses one core less and refuses bf16; it is also compared with both changed.

    Args:
        setting: Parameters of the comparison.
        teacher: Our teacher's checkpoint.
        peer: The package's Python.
        folder: Where the package keeps its settings.
    """
    all_threads = f"ultralytics, {setting.threads} threads"

    def theirs(*, own_threads: bool = False, bf16: bool = False) -> TrainingRun:
        def run(out: Path) -> TrainingSpeed:
            job = peer_job(setting, out, own_threads=own_threads, bf16=bf16)
            return run_peer(peer, job, out, peer_environment(folder))

        return run

    return {
        OURS: lambda out: run_ours(setting, teacher, out),
        "ultralytics": theirs(own_threads=True),
        all_threads: theirs(),
        f"{all_threads}, bf16": theirs(bf16=True),
    }


def run_ours(setting: ComparisonSettings, teacher: Path, out: Path) -> TrainingSpeed:
    """One training through ``edgestill distill``."""
    load, recipe = read_load(), out / "recipe.toml"
    recipe.write_text(recipe_text(setting, teacher), "utf-8")
    words = ("-m", "edgestill", "distill", str(recipe), "--out", str(out / "run"), "--json")
    command, hint = [sys.executable, *words], "edgestill doctor says what is missing here"
    result = answer(command, os.environ, hint=hint, whole=True)
    rows = read_history(Path(result["history"]))
    speeds = [speed for row in rows if (speed := row["images_per_s"]) is not None]
    return TrainingSpeed(
        images_per_s=speeds,
        setup={"arithmetic": result["arithmetic"], "threads": result["threads"]},
        load=load,
    )


def run_peer(peer: Path, job: Mapping[str, Any], out: Path, environment: Mapping[str, str]) -> TrainingSpeed:
    """One training of the package."""
    load, file = read_load(), out / "job.json"
    file.write_text(to_json_text(job), "utf-8")
    found = answer([str(peer), "-I", str(PEER), str(file)], environment)
    speeds = [epoch["images"] / epoch["seconds"] for epoch in found.pop("epochs")]
    return TrainingSpeed(images_per_s=speeds, setup=found, load=load)


def peer_environment(folder: Path) -> dict[str, str]:
    """The package's environment: settings of its own, and no network access."""
    return {**os.environ, "YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "1"}


def peer_versions(peer: Path, folder: Path) -> dict[str, str]:
    """The versions installed for a Python.

    Raises:
        UsageError: There is no such program.
        DeviceError: It has no ``ultralytics``, or a version without distillation.
    """
    try:
        found = answer([str(peer), "-I", str(PEER)], peer_environment(folder))
    except OSError as error:
        raise UsageError(f"{peer} does not run: {error.strerror}", hint=INSTALL) from error
    versions: dict[str, str] = found["versions"]
    if not found["distils"]:
        raise DeviceError(
            f"ultralytics {versions['ultralytics']} beside {peer} has no distill_model",
            hint=f"{peer} -m pip install 'ultralytics>=8.4.78'",
        )
    return versions


def answer(
    command: Sequence[str], environment: Mapping[str, str], *, hint: str = INSTALL, whole: bool = False
) -> dict[str, Any]:
    """Run a program, and read the JSON that it prints: all of its stdout, or the last line.

    Raises:
        DeviceError: It failed; the message is its last output.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join(done.stderr.strip().splitlines()[-2:]) or "no output"
        raise DeviceError(f"{command[0]} ended with {done.returncode}: {last}", hint=hint)
    found: dict[str, Any] = json.loads(done.stdout if whole else done.stdout.strip().splitlines()[-1])
    return found
