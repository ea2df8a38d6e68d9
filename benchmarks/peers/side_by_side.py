"""Ours and other programs on the same model, in one interleaved run: ``edgestill bench MODEL --peers``.

A round has one turn of each row, each in a fresh process; the order of the rows is reversed in every second
round. The ratio is that of medians over rounds, against edgestill's FP32 file on the same backend. Files,
accuracy and finished turns are kept, so that an interrupted measurement continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measure.environment import Watch
from benchmarks.peers.environments import ENVIRONMENTS, FOLDER
from benchmarks.peers.model_files import ModelFile, Workshop, model_files
from benchmarks.peers.peer_rows import BASE_RATIO, Row, Turns, describe, interrupted, ratio, rows
from benchmarks.peers.programs import Turn, take
from benchmarks.peers.turn_inputs import cpus_for, for_yolo, turn_images
from benchmarks.peers.turn_store import TurnStore
from benchmarks.statistics.compare import CONFIDENCE, LEAST_ROUNDS
from edgestill.errors import DataError, ToolchainError, UsageError
from edgestill.files import read_json, sha256_file, write_json
from edgestill.progress import say, track
from edgestill.shipped import checkpoint_folder
from edgestill.spec import ModelSpec

SECONDS = 2.0  # of a turn, for the programs that take a time

#: Figures of accuracy by file, see ``edgestill.cli.peers.peer_accuracy``.
Accuracy = Callable[[Mapping[str, Path]], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a measurement.

    Attributes:
        model: What ``edgestill export`` takes: a checkpoint or its name.
        work: Folder of the files and of the finished turns.
        data: Data set whose training images calibrate INT8; None for none, then there is no INT8.
        images: The images to evaluate on and to run; empty for drawn streets.
        threads: CPU threads; None leaves the choice to each program.
        rounds: Rounds; 0 only builds the files and measures their accuracy.
        stop_after_s: No round begins that would probably end later, seconds; None for no limit.
        imgsz: Input size as for ``edgestill export``; None for the checkpoint's.
        peers: Where the environments of the other programs are.
    """

    model: str
    work: Path
    data: Path | None = None
    images: tuple[Path, ...] = ()
    threads: int | None = None
    rounds: int = LEAST_ROUNDS
    stop_after_s: float | None = None
    imgsz: str | None = None
    peers: Path = FOLDER

    def __post_init__(self) -> None:
        if self.rounds < 0 or (self.threads is not None and self.threads < 1):
            raise UsageError(
                f"{self.rounds} rounds with {self.threads} threads: nothing to measure",
                hint="--rounds 8 or more gives intervals; --threads 1 or more",
            )


def measure(settings: Settings, accuracy: Accuracy) -> dict[str, Any]:
    """Build what is missing, measure accuracy and times, and give the table.

    Args:
        settings: Model, images, threads and rounds.
        accuracy: Measures the files that are there; called once.

    Raises:
        DataError: A calibration image is also evaluated on.
        ToolchainError: No FP32 file could be built: the error of the first.
        UsageError: The folder belongs to another model or other settings.
    """
    _refuse_other_work(settings)
    workshop = Workshop(
        model=settings.model,
        folder=settings.work / "files",
        data=settings.data,
        imgsz=settings.imgsz,
        peers=settings.peers,
    )
    session = _Session(settings, workshop)
    session.build()
    spec = session.spec()
    calibration = _calibration_images(workshop, settings.images)
    scores = accuracy({file.key: workshop.path(file) for file in session.built})
    session.run()
    return {
        "kind": "peers",
        "model": settings.model,
        "input_hw": list(spec.input_hw),
        "threads": settings.threads,
        "rounds": settings.rounds,
        "rounds_done": session.rounds_done,
        "complete": session.rounds_done >= settings.rounds,
        "confidence": CONFIDENCE,
        "calibration_images": calibration,
        "evaluation_images": len(settings.images),
        "pinned": {name: one.pins for name, one in ENVIRONMENTS.items()},
        "pieces": [piece["conditions"] for piece in session.store.conditions],
        "doubts": session.doubts(),
        "rows": session.table(scores),
    }


class _Session:
    """The rows of one measurement: their files, their turns, what is missing and why."""

    def __init__(self, settings: Settings, workshop: Workshop) -> None:
        self._settings, self._workshop = settings, workshop
        self._rows, self._files = rows(), model_files()
        self._digests: dict[str, str] = {}  # by key of the file
        self._missing: dict[str, ToolchainError] = {}  # by key of the file or of the row
        threads = "default" if settings.threads is None else str(settings.threads)
        self.store = TurnStore(settings.work / f"turns-threads-{threads}.jsonl")
        self._piece = datetime.now(timezone.utc).isoformat()

    @property
    def built(self) -> list[ModelFile]:
        """The files that are there."""
        return [file for file in self._files if file.key in self._digests]

    @property
    def rounds_done(self) -> int:
        """Rounds in which each row that can be run has its turn."""
        numbers = range(self._settings.rounds)
        able = [self._turns(row) for row in self._rows if self._why_missing(row) is None]
        return sum(all(n in turns for turns in able) for n in numbers) if able else 0

    def build(self) -> None:
        """Build the files; one that cannot be built is missing from the table, with the reason."""
        for file in self._files:
            try:
                self._digests[file.key] = self._workshop.build(file)
            except ToolchainError as error:  # noqa: PERF203 (minutes for each)
                self._missing[file.key] = error
                say(f"{file.key}: {error.what}")

    def spec(self) -> ModelSpec:
        """Input size and classes; without any FP32 file, the error of the first."""
        bases = [file for file in self._files if file.precision == "fp32"]
        if not any(file.key in self._digests for file in bases):
            raise self._missing[bases[0].key]
        return self._workshop.spec()

    def run(self) -> None:
        """Run the rounds that are not done and fit into the time."""
        limit_s = self._settings.stop_after_s
        numbers = [n for n in range(self._settings.rounds) if self._left(n)]
        if not numbers:
            return
        images = turn_images(self._settings.work / "images", self._settings.images)
        watch, start_s, longest_s = Watch(), perf_counter(), 0.0
        for number in track(numbers, "rounds", len(numbers)):
            begun_s = perf_counter()
            if limit_s is not None and begun_s - start_s + longest_s > limit_s:
                break
            for row in self._left(number):
                self._take(row, number, images)
            watch.tick()
            longest_s = max(longest_s, perf_counter() - begun_s)
        self.store.add_conditions(watch.finish())

    def table(self, scores: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows with their figures."""
        found = []
        for row in self._rows:
            base = next(one for one in self._rows if one.is_base and one.file.backend == row.file.backend)
            error = self._why_missing(row)
            found.append(
                {
                    **describe(row, self._turns(row)),
                    "file": self._workshop.path(row.file).name,
                    "against": base.key,
                    **(BASE_RATIO if row.is_base else ratio(self._turns(row), self._turns(base))),
                    **scores.get(row.file.key, {}),
                    "missing": None if error is None else error.what,
                    "hint": None if error is None else error.hint,
                }
            )
        return found

    def doubts(self) -> list[str]:
        """Reasons not to quote the figures."""
        found = [doubt for piece in self.store.conditions for doubt in piece["conditions"]["doubts"]]
        split = interrupted(range(self._settings.rounds), map(self._turns, self._rows))
        if split:
            found.append(f"{split} rounds were interrupted: their turns were not one after the other")
        if self.rounds_done < LEAST_ROUNDS:
            found.append(f"{self.rounds_done} rounds are too few for an interval: --rounds {LEAST_ROUNDS}")
        return list(dict.fromkeys(found))

    def _left(self, number: int) -> list[Row]:
        """The rows without a turn in a round, in its order."""
        order = self._rows if number % 2 == 0 else self._rows[::-1]
        return [row for row in order if self._why_missing(row) is None and number not in self._turns(row)]

    def _take(self, row: Row, number: int, images: Path) -> None:
        model = self._workshop.path(row.file)
        try:
            turn = Turn(
                model=for_yolo(model) if row.program == "yolo predict" else model,
                backend=row.file.backend,
                images=images,
                seconds=SECONDS,
                threads=self._settings.threads,
                cpus=cpus_for(self._settings.threads),
                peers=self._settings.peers,
            )
            figures = take(row.program, turn)
        except ToolchainError as error:
            self._missing[row.key] = error
            say(f"{row.key}: {error.what}")
        else:
            self.store.add_turn(number, row.key, self._digests[row.file.key], figures, self._piece)

    def _turns(self, row: Row) -> Turns:
        return self.store.turns(row.key, self._digests.get(row.file.key, ""))

    def _why_missing(self, row: Row) -> ToolchainError | None:
        return self._missing.get(row.file.key) or self._missing.get(row.key)


def _calibration_images(workshop: Workshop, evaluated: Sequence[Path]) -> int:
    """The number of calibration images, 0 without INT8; none may be evaluated on."""
    try:
        images = workshop.calibration_images()
    except DataError:
        return 0
    digests = set(images.values())
    shared = [path for path in evaluated if sha256_file(path) in digests]
    if shared:
        raise DataError(
            f"{len(shared)} images are both calibrated and evaluated on, e.g. {shared[0]}",
            hint="--split test or val, of a data set whose training images are others",
        )
    return len(images)


def _refuse_other_work(settings: Settings) -> None:
    """Write down what the folder is for; raise UsageError if that was something else."""
    path = settings.work / "settings.json"
    own = {
        "model": settings.model,
        "weights": _weights_of(settings.model),
        "imgsz": settings.imgsz,
        "data": None if settings.data is None else str(settings.data),
    }
    there = read_json(path, hint=f"delete {settings.work}") if path.is_file() else own
    if there != own:
        changed = ", ".join(name for name in own if there.get(name) != own[name])
        raise UsageError(
            f"{settings.work} holds a measurement with other settings: {changed}",
            hint="--work DIR names another folder; or delete this one",
        )
    write_json(path, own)


def _weights_of(model: str) -> list[str]:
    """SHA-256 of a checkpoint's files; empty if there is none, which the export reports."""
    place = checkpoint_folder(model)
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    return [sha256_file(path) for path in files if path.is_file()]
