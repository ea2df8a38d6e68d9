"""``edgestill run`` and ``yolo predict`` on the same video and OpenVINO file: whole processes, in turns.

``python -m benchmarks.peers.yolo_predict FOLDER_openvino_model/FILE.xml CLIP --yolo PATH``

The figures cover everything from the start of the process to its end: imports, loading, decoding, inference,
NMS, drawing, encoding. ``boxes`` is a run that reports boxes alone: ``edgestill run --json-lines`` writes one
line a frame, ``yolo predict save=False verbose=False`` writes nothing. ``annotated`` writes a video: H.264 in
``.mp4`` and Motion JPEG in ``.avi``, which are the formats that the programs choose.

Both get the same thresholds, frames and number of threads (those of their libraries). The file is one of
``yolo export format=openvino``, or of ``benchmarks.peers.ultralytics_file``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.peers.process import Usage, run_measured
from edgestill.errors import DataError, DeviceError, ToolchainError

CONF, IOU = 0.25, 0.45
TASKS = ("boxes", "annotated")
MEASURES = ("cpu_s", "wall_s", "peak_mib")
OFFLINE = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}


def against_yolo_predict(
    model: Path, clip: Path, *, yolo: str, tasks: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Measure both programs.

    Args:
        model: The ``.xml`` in a folder that the ultralytics package opens.
        clip: A video file.
        yolo: The package's program.
        tasks: Of ``TASKS``.
        rounds: Runs of each program and task, in turns. One of each before, for ``boxes``, is not counted.

    Returns:
        The commands, the number of boxes that each program found, and by task the usage of each run and the
        medians of the ratios (ours over theirs).

    Raises:
        DeviceError: A program ended with an error.
        DataError: They found different numbers of boxes: they did not do the same.
    """
    with TemporaryDirectory() as folder:
        programs = _Programs(model, clip, yolo, Path(folder))
        boxes = programs.boxes()
        taken: dict[str, list[dict[str, Usage]]] = {task: [] for task in tasks}
        for _ in range(rounds):
            for task in tasks:
                taken[task].append({name: programs.run(name, task) for name in ("edgestill", "yolo")})
        commands = {task: programs.shown(task) for task in tasks}
    return {
        "model": model.name,
        "clip": clip.name,
        "boxes": boxes,
        "commands": commands,
        "tasks": {task: _figures(found) for task, found in taken.items()},
    }


class _Programs:
    """Both programs, with one model and one clip."""

    def __init__(self, model: Path, clip: Path, yolo: str, folder: Path) -> None:
        self._model, self._clip, self._yolo, self._folder = model, clip, yolo, folder
        (folder / "settings").mkdir()

    def boxes(self) -> dict[str, int]:
        """The number of boxes that each program finds in the clip; both then are in the page cache."""
        run_measured([*self._command("yolo", "boxes"), "save_txt=True"], environment=self._environment)
        labels = self._folder.glob("yolo/*/labels/*.txt")
        theirs = sum(len(path.read_text().splitlines()) for path in labels)
        lines = self._folder / "boxes.jsonl"
        run_measured(self._command("edgestill", "boxes"), stdout=lines)
        ours = sum(len(json.loads(line)["detections"]) for line in lines.read_text("utf-8").splitlines())
        if not ours or abs(ours - theirs) > 0.02 * ours:
            raise DataError(
                f"edgestill found {ours} boxes in {self._clip}, yolo predict {theirs}",
                hint="give a model and a clip of which both find the same",
            )
        return {"edgestill": ours, "yolo": theirs}

    def run(self, name: str, task: str) -> Usage:
        """Run one of the programs."""
        if name == "yolo":
            return run_measured(self._command(name, task), environment=self._environment)
        return run_measured(self._command(name, task), stdout=self._folder / "out.jsonl")

    def shown(self, task: str) -> dict[str, str]:
        """The commands, without the paths of this machine."""
        places = {str(self._model.parent): self._model.parent.name, str(self._clip): self._clip.name}
        places |= {str(self._folder): "OUT", self._yolo: "yolo", sys.executable: "python"}
        shown = {}
        for name in ("edgestill", "yolo"):
            text = " ".join(self._command(name, task))
            for long, short in places.items():
                text = text.replace(long, short)
            shown[name] = text
        return shown

    @property
    def _environment(self) -> dict[str, str]:
        return {**OFFLINE, "YOLO_CONFIG_DIR": str(self._folder / "settings")}

    def _command(self, name: str, task: str) -> list[str]:
        saves = task == "annotated"
        if name == "yolo":
            words = [self._yolo, "predict", f"model={self._model.parent}", f"source={self._clip}"]
            words += [f"conf={CONF}", f"iou={IOU}", "device=cpu", "verbose=False", f"save={saves}"]
            return [*words, f"project={self._folder / 'yolo'}"]
        words = [sys.executable, "-m", "edgestill", "run", str(self._model), "--source", str(self._clip)]
        words += ["--conf", str(CONF), "--iou", str(IOU), "--quiet"]
        save = ["--save", str(self._folder / "annotated.mp4"), "--force"]
        return [*words, *(save if saves else ["--json-lines"])]


def _figures(found: Sequence[dict[str, Usage]]) -> dict[str, Any]:
    runs = {name: [asdict(one[name]) for one in found] for name in ("edgestill", "yolo")}
    ratios = {
        measure: median(
            ours[measure] / theirs[measure]
            for ours, theirs in zip(runs["edgestill"], runs["yolo"], strict=True)
        )
        for measure in MEASURES
    }
    return {
        "ratio": {measure: round(ratio, 3) for measure, ratio in ratios.items()},
        "runs": {
            name: [{key: round(value, 2) for key, value in one.items()} for one in usage]
            for name, usage in runs.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the result as JSON; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.yolo_predict", description=__doc__)
    parser.add_argument("model", type=Path, metavar="FILE.xml")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--yolo", default="yolo", help="the program, e.g. of an environment of its own")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    try:
        if shutil.which(args.yolo) is None:
            raise DeviceError(f"there is no program {args.yolo}", hint="pip install ultralytics; --yolo PATH")
        found = against_yolo_predict(
            args.model.absolute(), args.clip.absolute(), yolo=args.yolo, tasks=args.tasks, rounds=args.rounds
        )
    except ToolchainError as error:
        print(f"benchmarks.peers.yolo_predict: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
