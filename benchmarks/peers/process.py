"""Runs a program to its end: CPU time and memory of the whole process, its output, its last words."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter

from edgestill.errors import (
    ArtifactError,
    DataError,
    DeviceError,
    ToolchainError,
    UsageError,
    VerificationError,
)

_NAME = re.compile(r"^(edgestill \w+|benchmarks[\w.]+): ")  # with which a program of this project begins
_OURS: Mapping[int, type[ToolchainError]] = {
    kind.exit_code: kind for kind in (UsageError, DataError, ArtifactError, DeviceError, VerificationError)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a process used, with the children that it waited for.

    Attributes:
        cpu_s: CPU time of all threads, user and system, seconds.
        wall_s: Wall time, seconds.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a program wrote to stdout, and what it used.

    Attributes:
        stdout: As text.
        cpu_s: CPU time of all threads from start to end, user and system, seconds.
    """

    stdout: str
    cpu_s: float


def run_captured(
    command: Sequence[str],
    *,
    cpus: Collection[int] | None = None,
    environment: Mapping[str, str] | None = None,
    good: Collection[int] = (0,),
) -> Output:
    """Run a program to its end and keep its output. If this process is interrupted, so is the program.

    Args:
        command: The program and its arguments.
        cpus: Numbers of the CPUs that it may use; None for those of this process.
        environment: Variables beside those of this process.
        good: Exit codes that are no failure.

    Raises:
        DeviceError: It cannot be started, or ended with another exit code: its last words.
        ToolchainError: A verb of this project failed: its error.
    """
    variables = {**os.environ, **(environment or {})}
    with TemporaryFile() as output, TemporaryFile() as errors:
        try:
            with _on_cpus(cpus):
                process = subprocess.Popen(command, stdout=output, stderr=errors, env=variables)
        except OSError as error:
            raise DeviceError(
                f"{command[0]} cannot be started: {error.strerror}", hint="give its path"
            ) from error
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        stdout, stderr = (stream.read().decode(errors="replace") for stream in (output, errors))
    if process.returncode not in good:
        raise _failure(command, process.returncode, stdout, stderr)
    return Output(stdout=stdout, cpu_s=usage.ru_utime + usage.ru_stime)


@contextmanager
def _on_cpus(cpus: Collection[int] | None) -> Iterator[None]:
    """Limit this thread to some CPUs while it starts a process, which inherits the limit."""
    if cpus is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _failure(command: Sequence[str], code: int, stdout: str, stderr: str) -> ToolchainError:
    """The error of a program; one of this project has a hint, and its exit code says which kind it is."""
    lines = [line.strip() for line in (stderr.strip() or stdout.strip()).splitlines()] or ["no message"]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    words = [line for line in lines if not line.startswith("hint: ")] or lines
    if hints:
        return _OURS.get(code, DeviceError)(_NAME.sub("", words[-1]), hint=hints[-1])
    what = f"{Path(command[0]).name} ended with exit code {code}: {words[-1]}"
    return DeviceError(what, hint=" ".join(command))
