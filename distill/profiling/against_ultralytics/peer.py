"""One distillation by the ``ultralytics`` package, timed by the epoch: a script for its own Python.

    python -I distill/profiling/against_ultralytics/peer.py JOB.json

It imports nothing from this project and needs only the package and its dependencies. Nothing is downloaded:
both networks are built from the package's YAML files and start from random weights. Without a job, the script
prints what is installed.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine import trainer as their_trainer
from ultralytics.nn.tasks import DetectionModel

LIBRARIES = ("ultralytics", "torch", "torchvision")


class EpochTimer:
    """Callbacks that time each epoch of a training; validation and file output are excluded.

    Attributes:
        epochs: Seconds and images of each.
        setup: The configuration of the training.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.setup: dict[str, Any] = {}
        self._begin = 0.0

    def start(self, _trainer: Any) -> None:
        """An epoch begins."""
        self._begin = perf_counter()

    def stop(self, trainer: Any) -> None:
        """Its last step is done."""
        seconds = perf_counter() - self._begin
        self.epochs.append({"seconds": seconds, "images": len(trainer.train_loader.dataset)})
        self.setup = {
            "threads": torch.get_num_threads(),
            "workers": trainer.train_loader.num_workers,
            "optimiser": type(trainer.optimizer).__name__,
            "amp": trainer.args.amp if trainer.amp else False,
        }


def installed() -> dict[str, Any]:
    """Versions, and whether the package supports distillation."""
    return {
        "versions": {name: version(name) for name in LIBRARIES},
        "distils": "distill_model" in DEFAULT_CFG_DICT,
    }


def fresh(architecture: str, nc: int, path: Path) -> Path:
    """Save a network with random weights and ``nc`` classes."""
    network = YOLO(f"{architecture}.yaml")
    network.model = DetectionModel(network.model.yaml, nc=nc, verbose=False)
    network.save(path)
    return path


def allow_bf16() -> None:
    """Let ``amp="bf16"`` run on a CPU. The package (8.4.190) refuses it there, though torch does not."""
    their_trainer.autocast = lambda dtype, device: torch.autocast(device, dtype)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job.

    Args:
        job: What ``peer_job`` of ``distill.profiling.against_ultralytics.setting`` makes.

    Returns:
        Seconds and images of each epoch, and the configuration of the training.
    """
    if job["settings"].get("amp") == "bf16":
        allow_bf16()
    out = Path(job["out"])
    student, teacher = (
        fresh(job[role], job["nc"], out / f"{job[role]}-{role}u.pt") for role in ("student", "teacher")
    )
    clock, network = EpochTimer(), YOLO(student)
    network.add_callback("on_train_epoch_start", clock.start)
    network.add_callback("on_train_epoch_end", clock.stop)
    if job["threads"]:
        # It sets its own number when it chooses the device, whatever the environment says.
        network.add_callback("on_train_start", lambda _: torch.set_num_threads(job["threads"]))
    network.train(distill_model=str(teacher), project=str(out), name="run", **job["settings"])
    return {"epochs": clock.epochs, **clock.setup}


def main() -> None:
    """Print the result as one line of JSON, the last on stdout."""
    answer = train(json.loads(Path(sys.argv[1]).read_text("utf-8"))) if sys.argv[1:] else installed()
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
