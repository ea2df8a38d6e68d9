"""Takes the samples of a comparison in fresh processes: a pair of them for each repetition, in turns.

A process has an address layout, memory and threads of its own, which make it faster or slower than another of
the same model for as long as it lives. More rounds in one process do not show that; more processes do. Each
process also builds its session anew, and where an arm has several engine files, they take turns.

The processes of one repetition live at the same time and never run at the same time: each is told to run its
turn while the others wait. So the rounds are paired as in one process. The order of the first turn alternates
from repetition to repetition, and from round to round.

Source: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013 (repetition on each level at
which the times vary).
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from benchmarks.arms.worker import WorkerOptions
from benchmarks.measure.child_process import child_environment
from benchmarks.measure.collect import TURN, Settings
from benchmarks.measure.footage import Footage
from benchmarks.measure.samples import Samples
from benchmarks.measure.steady import keep_steady
from benchmarks.statistics.compare import LEAST_ROUNDS
from edgestill.errors import DeviceError
from edgestill.files import sha256_file
from edgestill.progress import progress
from runtime.tiling import Tiling

WORKER = "benchmarks.arms.worker"  # the module that a process runs
ANSWER_S = 300.0  # longest wait for a turn, or for a model to load; an engine of a large model takes a minute
LEAST_OF_PROCESS = 4  # rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one side of a comparison runs.

    Attributes:
        builds: Model files of equal function, at least one; the processes use them in turns.
        tiling: The tiles of a frame.
    """

    builds: tuple[Path, ...]
    tiling: Tiling


def arm_of(path: Path, tiling: Tiling, settings: Settings) -> Arm:
    """A model with the other builds that the settings have of it."""
    return Arm(builds=(path, *(other for model, other in settings.builds if model == path)), tiling=tiling)


class Worker:
    """A process of one arm, ready to run turns.

    Raises:
        DeviceError: It ended, or did not answer.
    """

    def __init__(self, options: WorkerOptions) -> None:
        command = [sys.executable, "-m", WORKER, json.dumps(asdict(options))]
        self._model = options.model
        self._errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=child_environment(),
        )
        #: Milliseconds of each run of the warm-up.
        self.warmup_ms: list[float] = []

    def wait_until_ready(self) -> None:
        """Wait for the end of the warm-up."""
        self.warmup_ms = self._answer()["warmup_ms"]

    def turn(self) -> dict[str, Any]:
        """Run one turn; the times of its frames by stage, and what was found."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer says why
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=ANSWER_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # One line for each order: nothing is left in the buffer of the one before.
        ready, _, _ = select.select([stdout], [], [], ANSWER_S)
        line = stdout.readline() if ready else b""
        if line:
            return dict(json.loads(line))
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        why = "".join(last) or ("it gave no reason" if ready else f"no answer for {ANSWER_S:g} s")
        raise DeviceError(
            f"a process that measures {self._model} ended: {why}", hint="leave --processes out to see more"
        )


def collect_in_processes(
    arms: Sequence[Arm], footage: Footage, settings: Settings, tick: Callable[[], None]
) -> list[Samples]:
    """Measure all arms in ``settings.processes`` fresh processes each.

    Args:
        arms: The sides of the comparison.
        footage: The frames; each process opens its source again, and this one counts what they take.
        settings: How to measure; duration and samples are divided between the processes.
        tick: Called between rounds.

    Returns:
        The samples of each arm, with the number of their process.

    Raises:
        DeviceError: A process ended or did not answer.
    """
    taken = [Samples(builds=len({sha256_file(path) for path in arm.builds})) for arm in arms]
    with progress("bench", settings.processes) as advance:
        for number in range(settings.processes):
            with ExitStack() as stack:
                order = list(range(len(arms)))[:: 1 if number % 2 == 0 else -1]
                workers = {}
                for k in order:
                    workers[k] = Worker(_options(arms[k], number, settings))
                    stack.callback(workers[k].close)
                    workers[k].wait_until_ready()
                    taken[k].warmup_ms.append(workers[k].warmup_ms)
                footage.restart()
                _rounds(
                    workers=workers,
                    order=order,
                    taken=taken,
                    number=number,
                    footage=footage,
                    settings=settings,
                    tick=tick,
                )
            advance()
    return taken


def _rounds(
    *,
    workers: dict[int, Worker],
    order: Sequence[int],
    taken: Sequence[Samples],
    number: int,
    footage: Footage,
    settings: Settings,
    tick: Callable[[], None],
) -> None:
    """The rounds of one repetition."""
    before = {k: (len(taken[k]), taken[k].total_ms) for k in order}
    share = settings.processes
    done, is_cut = 0, False
    while True:
        counts = [len(taken[k]) - before[k][0] for k in order]
        times_ms = [taken[k].total_ms - before[k][1] for k in order]
        if (
            min(counts) >= max(TURN * least_rounds(share), settings.min_samples / share)
            and min(times_ms) >= settings.duration_s * 1e3 / share
        ):
            if is_cut:
                return
            keep_steady([taken[k] for k in order], process=number)
            is_cut = True  # once; what was left out is taken again
            continue
        round_number = taken[order[0]].rounds[-1] + 1 if taken[order[0]].rounds else 0
        for k in order if done % 2 == 0 else reversed(order):
            taken[k].extend(workers[k].turn(), round_number=round_number, process=number)
        if number == 0:  # each repetition begins with the same frames
            footage.take(TURN)
        tick()
        done += 1


def least_rounds(processes: int) -> int:
    """Rounds of a process, so that all processes together have those that a comparison needs."""
    return max(LEAST_OF_PROCESS, -(-LEAST_ROUNDS // processes))


def _options(arm: Arm, number: int, settings: Settings) -> WorkerOptions:
    names = ("backend", "device", "threads", "trust_engine", "input_hw")
    return WorkerOptions(
        model=str(arm.builds[number % len(arm.builds)]),
        source=settings.source,
        warmup_s=settings.warmup_s,
        tile=str(arm.tiling),
        tile_overlap=arm.tiling.overlap,
        detector={name: getattr(settings, name) for name in names},
    )
