"""Processor time and memory of a whole process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

from edgestill.errors import DeviceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process used, with the children that it waited for.

    Attributes:
        cpu_s: Processor time of all threads, user and system, seconds.
        wall_s: Time by the clock, seconds.
        peak_mib: Largest resident memory, MiB. Not below that of the process that started it.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float


def run_measured(
    command: Sequence[str], *, stdout: Path | None = None, environment: Mapping[str, str] | None = None
) -> Usage:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        stdout: File for its output; None to discard it.
        environment: Variables beside those of this process.

    Raises:
        DeviceError: It cannot be started, or ended with an error.
    """
    variables = {**os.environ, **(environment or {})}
    with TemporaryFile() as errors, (stdout or Path(os.devnull)).open("wb") as output:
        start_s = perf_counter()
        try:
            process = subprocess.Popen(command, stdout=output, stderr=errors, env=variables)
        except OSError as error:
            raise DeviceError(
                f"{command[0]} cannot be started: {error.strerror}", hint="give its path"
            ) from error
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = perf_counter() - start_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            what = f"{Path(command[0]).name} ended with exit code {process.returncode}: {''.join(last)}"
            raise DeviceError(what, hint=" ".join(command))
    return Usage(cpu_s=usage.ru_utime + usage.ru_stime, wall_s=wall_s, peak_mib=usage.ru_maxrss / 1024)
