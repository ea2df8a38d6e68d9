"""Runs a suite: exports its files, scores them, and visits each cell several times.

A visit measures one cell in a new process. Each round visits all cells once, every second round in reverse
order, so that a machine that changes over time affects all of them alike. Each finished step is a file; a
suite that was interrupted goes on after the last one.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.definition import OWN_SIZE, Cell, ModelFile, Suite
from benchmarks.suite.tool import Outcome, Tool
from edgestill.errors import ArtifactError, UsageError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.progress import progress, say
from edgestill.shipped import checkpoint_folder, hint_for_missing

HINT = "--force measures again what changed"
CAMERAS = ("paced", "multi")  # scenarios whose frames come at a rate of their own
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "tensorrt": ".engine"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a suite is measured with.

    Attributes:
        data: The data set: its training split calibrates INT8 files, ``split`` scores all files; None for no
            accuracy.
        split: The split that scores.
        source: Frames for the measurement, see ``benchmarks.measure.collect.Settings``.
    """

    data: Path | None = None
    split: str = "val"
    source: str | None = None


class SuiteFolder:
    """The folder of a suite: files, their exports and scores, and the visits.

    Args:
        path: The folder; made if it is missing.
        suite: The suite.
        inputs: What it is measured with.
        tool: Runs the verbs.
        force: Whether steps that were done with other inputs are done again; else they are refused.
    """

    def __init__(self, path: Path, suite: Suite, inputs: Inputs, tool: Tool, *, force: bool = False) -> None:
        self.path, self.suite, self.inputs = path, suite, inputs
        self._tool, self._force = tool, force
        self._hashes = {name: _checkpoint_hash(model) for name, model in suite.models.items()}

    def run(self) -> None:
        """Do the steps that are not done yet; a step that fails is stored with its error.

        Raises:
            UsageError: A step was done with other inputs, or another suite runs in the folder.
            ArtifactError: A checkpoint cannot be read.
        """
        cells = self.suite.cells()
        files = list(dict.fromkeys(cell.file for cell in cells))
        with _locked(self.path):
            self._refuse_changed(files, cells)
            scored = files if self.inputs.data else []
            steps = len(files) + len(scored) + len(cells) * self.suite.visits
            with progress("suite", steps) as advance:
                for file in files:
                    self._export(file)
                    advance(1, note=file.key)
                for file in scored:
                    self._score(file)
                    advance(1, note=file.key)
                for number in range(1, self.suite.visits + 1):
                    for cell in cells if number % 2 else reversed(cells):
                        self._visit(cell, number)
                        advance(1, note=cell.key)

    def exported(self, file: ModelFile) -> dict[str, Any]:
        """The record of an export: ``result`` or ``error``."""
        return self._read(self._of("exports", file.key))

    def score(self, file: ModelFile) -> dict[str, Any]:
        """The record of an evaluation: ``result`` or ``error``; empty without data."""
        path = self._of("scores", file.key)
        return self._read(path) if path.is_file() else {}

    def visits(self, cell: Cell) -> list[dict[str, Any]]:
        """The records of the visits of a cell: ``result`` or ``error``."""
        paths = [self._visit_path(cell, number) for number in range(1, self.suite.visits + 1)]
        return [self._read(path) for path in paths if path.is_file()]

    def model_path(self, file: ModelFile) -> Path:
        """Where the exported file is."""
        result = self.exported(file)["result"]
        suffix = SUFFIXES[file.format]
        return next(path for path in map(Path, result["files"]) if path.suffix == suffix)

    def _export(self, file: ModelFile) -> None:
        data, checkpoint = self.inputs.data, self.suite.models[file.model]
        arguments = ["export", checkpoint, "--to", file.format, "--precision", file.precision, "--force"]
        arguments += ["--out", str(self.path / "files"), "--name", file.key]
        if file.size != OWN_SIZE:
            arguments += ["--imgsz", file.size]
        if data and file.precision == "int8":
            arguments += ["--calib", str(data)]
        if data:
            arguments += ["--verify", str(data), "--split", self.inputs.split]
        self._do(self._of("exports", file.key), self._file_inputs(file), arguments)

    def _score(self, file: ModelFile) -> None:
        if "error" in self.exported(file):
            return
        arguments = ["eval", str(self.model_path(file)), "--data", str(self.inputs.data)]
        arguments += ["--split", self.inputs.split]
        self._do(self._of("scores", file.key), self._file_inputs(file), arguments)

    def _visit(self, cell: Cell, number: int) -> None:
        if "error" in self.exported(cell.file):
            return
        arguments = ["bench", str(self.model_path(cell.file)), "--backend", cell.backend]
        arguments += ["--threads", str(cell.threads), "--scenario", cell.scenario]
        arguments += [
            "--duration-s",
            str(self.suite.duration_s),
            "--min-samples",
            str(self.suite.min_samples),
        ]
        if cell.scenario in CAMERAS:
            arguments += ["--fps", str(self.suite.fps)]
        if cell.scenario == "multi":
            arguments += ["--streams", str(self.suite.streams)]
        if self.inputs.source:
            arguments += ["--source", self.inputs.source]
        self._do(self._visit_path(cell, number), self._visit_inputs(cell), arguments)

    def _do(self, path: Path, inputs: Mapping[str, Any], arguments: Sequence[str]) -> None:
        """Run a verb and store what it answered, unless that is done."""
        if path.is_file():
            record = self._read(path)
            if record["inputs"] == inputs and "error" not in record:
                return
        outcome = self._tool(arguments)
        record = {"inputs": inputs, "command": ["edgestill", *arguments], **_answer(outcome)}
        write_json(path, record)
        if outcome.error:
            say(f"{path.parent.name}/{path.stem} failed: {outcome.error}")

    def _refuse_changed(self, files: Sequence[ModelFile], cells: Sequence[Cell]) -> None:
        """Refuse to mix measurements of different inputs in one table."""
        wanted = {self._of("exports", file.key): self._file_inputs(file) for file in files}
        if self.inputs.data:
            wanted |= {self._of("scores", file.key): self._file_inputs(file) for file in files}
        for cell in cells:
            for number in range(1, self.suite.visits + 1):
                wanted[self._visit_path(cell, number)] = self._visit_inputs(cell)
        for path, inputs in wanted.items():
            found = self._read(path)["inputs"] if path.is_file() and not self._force else inputs
            changed = sorted(key for key in {*found, *inputs} if found.get(key) != inputs.get(key))
            if changed:
                raise UsageError(f"{path} was made with another {changed[0]}", hint=HINT)

    def _file_inputs(self, file: ModelFile) -> dict[str, Any]:
        data = str(self.inputs.data) if self.inputs.data else None
        return {"checkpoint": self._hashes[file.model], "data": data, "split": data and self.inputs.split}

    def _visit_inputs(self, cell: Cell) -> dict[str, Any]:
        settings = {"duration_s": self.suite.duration_s, "min_samples": self.suite.min_samples}
        if cell.scenario in CAMERAS:
            settings |= {"fps": self.suite.fps, "streams": self.suite.streams}
        return {"checkpoint": self._hashes[cell.file.model], "source": self.inputs.source, **settings}

    def _of(self, kind: str, key: str) -> Path:
        return self.path / kind / f"{key}.json"

    def _visit_path(self, cell: Cell, number: int) -> Path:
        return self._of("visits", f"{cell.key}-{number}")

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        found = read_json(path, hint="remove the file: it is measured again")
        if not isinstance(found, dict) or "inputs" not in found or not {"result", "error"} & set(found):
            raise UsageError(f"{path} is no record of a suite", hint="remove the file: it is measured again")
        return found


def _answer(outcome: Outcome) -> dict[str, Any]:
    if outcome.error:
        return {"error": outcome.error, "exit_code": outcome.exit_code}
    return {"result": outcome.result}


def _checkpoint_hash(name: str) -> str:
    """SHA-256 of the weights of a checkpoint; of a folder, of its weights' file."""
    path = checkpoint_folder(name)
    weights = path / "model.safetensors" if path.is_dir() else path
    if not weights.is_file():
        hint = hint_for_missing(path, "a checkpoint folder, `student`, `teacher`, or a YOLOv5 .pt file")
        raise ArtifactError(f"there is no checkpoint {name}", hint=hint)
    return sha256_file(weights)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the folder: one suite at a time."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".lock").open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another suite runs in {path}", hint="wait for it, or name another folder with --out"
            ) from error
        yield
