"""NVIDIA graphics cards, from the output of ``nvidia-smi``.

Source of its words for missing values and its errors: https://docs.nvidia.com/deploy/nvidia-smi/
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from devices.linux import to_float, to_int

_QUERY = (
    "name",
    "compute_cap",
    "memory.total",
    "driver_version",
    "power.limit",
    "clocks.max.sm",
    "mig.mode.current",
)
Number = TypeVar("Number", int, float)
_TIMEOUT_S = 20  # the first call loads the driver, which can take several seconds
_KILL_S = 2  # a process that waits for a broken driver cannot be killed
_MESSAGE_CHARS = 200
_OUTPUT_BYTES = 1 << 20
_MIG = {"Enabled": True, "Disabled": False}
_NOT_SAID = "[Not Supported]"
_UNKNOWN_FIELD = re.compile(r'Field "([\w.]+)" is not a valid field')


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One graphics card; None for what is not available.

    Attributes:
        name: Name according to the driver.
        compute_capability: CUDA compute capability, e.g. ``"7.0"``.
        memory_mib: Memory of the card, MiB.
        driver: Driver version.
        power_limit_w: Power limit, watts.
        max_sm_mhz: Highest clock of the multiprocessors.
        mig: Whether multi-instance GPU (MIG) is on; None for a card without it.
        unknown: For each attribute that is None, what ``nvidia-smi`` says instead, e.g. ``"Not Supported"``.
    """

    name: str | None
    compute_capability: str | None
    memory_mib: int | None
    driver: str | None
    power_limit_w: float | None
    max_sm_mhz: int | None
    mig: bool | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)


def query_cards() -> str:
    """The output of ``nvidia-smi``: a line for each card, or its error message; empty if it is missing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = list(_QUERY)
    text = _ask(program, asked)
    # Drivers before R510 have no compute_cap, those before R450 no MIG; each answer names one such field.
    while refused := {found[1] for found in _UNKNOWN_FIELD.finditer(text)} & set(asked):
        asked = [name for name in asked if name not in refused]
        text = _ask(program, asked)
    if len(asked) == len(_QUERY):
        return text
    lines = []
    for line in text.splitlines():
        values = dict(zip(asked, line.split(","), strict=False))
        whole = len(values) == len(asked)
        lines.append(", ".join(values.get(n, _NOT_SAID).strip() for n in _QUERY) if whole else line)
    return "\n".join(lines)


def parse_cards(text: str) -> tuple[Gpu, ...]:
    """The cards in the output of ``query_cards``; lines of another form are no cards."""
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines()]
    return tuple(_card(row) for row in rows if _is_row(row))


def why_no_card(text: str) -> str | None:
    """The first line of an output without a card, e.g. the driver's error; None if it is empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"nvidia-smi: {lines[0][:_MESSAGE_CHARS]}" if lines and not parse_cards(text) else None


def _card(row: list[str]) -> Gpu:
    """One card; a value that is not of the expected form is unknown, for the reason that stands there."""
    name, capability, memory, driver, power, clock, *more = row
    values = {
        "name": None if _is_excuse(name) else name,
        "compute_capability": capability if re.fullmatch(r"[0-9]{1,2}\.[0-9]", capability) else None,
        "memory_mib": _positive(to_int(memory)),
        "driver": driver if re.match(r"[0-9]", driver) else None,
        "power_limit_w": _positive(to_float(power)),
        "max_sm_mhz": _positive(to_int(clock)),
    }
    said = dict(zip(values, row, strict=False))
    unknown = {key: said[key].strip("[]") or "empty" for key, value in values.items() if value is None}
    mig = _MIG.get(more[0]) if more else None
    return Gpu(**values, mig=mig, unknown=unknown)  # type: ignore[arg-type]  # one type for each name


def _is_row(row: list[str]) -> bool:
    """Whether these are the columns of a card; a recorded output may lack the last one, MIG."""
    known = row[len(_QUERY) - 1 :]
    columns = len(row) == len(_QUERY) - 1 or (len(known) == 1 and (known[0] in _MIG or _is_excuse(known[0])))
    return columns and row[0] not in {"", "name"}


def _positive(value: Number | None) -> Number | None:
    return value if value is not None and value > 0 else None


def _is_excuse(text: str) -> bool:
    """Whether a text says why there is no value: ``[Unknown Error]``, ``[GPU is lost]``, ``N/A``."""
    return text.startswith("[") or text == "N/A"


def _ask(program: str, names: Iterable[str]) -> str:
    """Run ``nvidia-smi``; returns its output, also that of a failed run.

    The output goes to a file and not a pipe, so that a process that cannot be killed (it waits for the
    driver), or a child of it, does not hold up this one.
    """
    command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        try:
            status = process.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_KILL_S)
            return f"no answer in {_TIMEOUT_S} s"
        output.seek(0)
        text = output.read(_OUTPUT_BYTES).decode("utf-8", "replace")
    return text if text.strip() or status == 0 else f"failed with exit status {status}"
