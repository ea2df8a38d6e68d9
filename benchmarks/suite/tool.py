"""Runs the verbs of edgestill in new processes, so that measurements share no memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.measure.child_process import child_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verb answered.

    Attributes:
        result: Its result; empty if it failed.
        error: The first line of its error; None if it did not fail.
        exit_code: Its exit code.
    """

    result: dict[str, Any]
    error: str | None = None
    exit_code: int = 0


class Tool(Protocol):
    """Runs ``edgestill`` with arguments, e.g. ``["eval", "model.onnx", "--data", "data.yaml"]``."""

    def __call__(self, arguments: Sequence[str]) -> Outcome:
        """Run it to its end."""


def run_edgestill(arguments: Sequence[str]) -> Outcome:
    """Run a verb of this installation in a new process; its progress and notes are not shown."""
    done = subprocess.run(
        [sys.executable, "-m", "edgestill", *arguments, "--json", "--quiet"],
        capture_output=True,
        text=True,
        errors="backslashreplace",
        check=False,
        env=child_environment(),
    )
    result = _parsed(done.stdout)
    if done.returncode == 0 and result:
        return Outcome(result=result)
    return Outcome(result=result, error=_first_error(done.stderr), exit_code=done.returncode or 1)


def _parsed(text: str) -> dict[str, Any]:
    try:
        result = json.loads(text)
    except ValueError:
        return {}
    return result if isinstance(result, dict) else {}


def _first_error(text: str) -> str:
    """The line before the hint, or the last line, without the name of the verb."""
    lines = [line for line in text.splitlines() if line.strip()]
    hints = [number for number, line in enumerate(lines) if line.startswith("  hint: ")]
    line = lines[hints[-1] - 1] if hints and hints[-1] > 0 else (lines or ["no message"])[-1]
    return line.removeprefix("edgestill ").strip()
