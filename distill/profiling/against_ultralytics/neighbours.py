"""Other work on the same machine: processes in an endless loop beside a training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from distill.profiling.against_ultralytics.compare import TrainingRun, TrainingSpeed

#: Ends with its parent process, which may be killed.
LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


@contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Keep ``count`` processes of one thread busy; gives their ids, and ends them afterwards."""
    with ExitStack() as stack:
        ids = []
        for _ in range(count):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-S", "-c", LOOP, str(os.getpid())])
            )
            stack.callback(process.kill)
            ids.append(process.pid)
        yield ids


def beside(run: TrainingRun, count: int) -> TrainingRun:
    """The same training with ``count`` busy processes beside it."""

    def disturbed(folder: Path) -> TrainingSpeed:
        with busy_processes(count):
            return run(folder)

    return disturbed
