"""A running ``tegrastats`` as a sensor: its newest line."""

from __future__ import annotations

import math
import os
import selectors
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

from devices.monitors.rails import module_meter
from devices.monitors.sensor import Channel, PowerMeter, SensorLostError
from devices.monitors.tegrastats import Tegrastats, parse_line

NAME = "tegrastats"
_INTERVAL_MS = 100
_FIRST_LINE_S = 3.0
_SILENCE_S = 2.0
_BLOCK = 1 << 16
_KILL_S = 2.0

_Get = Callable[[Tegrastats], float]


class TegrastatsProcess:
    """The figures of the last line that the program printed.

    Args:
        program: Path of the program.

    Raises:
        OSError: It cannot be started.
        SensorLostError: It prints no line of tegrastats within ``_FIRST_LINE_S``.
    """

    name = NAME

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, "--interval", str(_INTERVAL_MS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        assert self._process.stdout is not None  # stdout=PIPE
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._rest, self._heard_s = b"", monotonic()
        self._newest: Tegrastats | None = None
        try:
            first = self._wait_for_line()
        except SensorLostError:
            self.close()
            raise
        found = _values(first)
        self.channels = tuple(found)
        self._get: tuple[_Get, ...] = tuple(found.values())
        rails = [channel.name for channel in self.channels if channel.kind == "power_mw"]
        self.meter: PowerMeter | None = module_meter(NAME, rails, _INTERVAL_MS / 1e3)

    def read(self) -> Sequence[float]:
        """The figures of the newest line, which may be that of the last call.

        Raises:
            SensorLostError: The program has ended, or has been silent for ``_SILENCE_S``.
        """
        line = self._newest_line()
        if self._process.poll() is not None:
            raise SensorLostError(f"tegrastats ended with exit status {self._process.returncode}")
        if line is None or monotonic() - self._heard_s > _SILENCE_S:
            raise SensorLostError(f"tegrastats has printed nothing for {_SILENCE_S:g} s")
        return [get(line) for get in self._get]

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        try:
            self._process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_S)
        self._output.close()

    def _newest_line(self) -> Tegrastats | None:
        with suppress(BlockingIOError):
            while block := os.read(self._output.fileno(), _BLOCK):
                self._rest += block
        *lines, self._rest = self._rest.split(b"\n")
        for line in reversed(lines):
            if parsed := parse_line(line.decode("utf-8", "replace")):
                self._newest, self._heard_s = parsed, monotonic()
                break
        return self._newest

    def _wait_for_line(self) -> Tegrastats:
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            until = monotonic() + _FIRST_LINE_S
            while (left := until - monotonic()) > 0:
                selector.select(left)
                if line := self._newest_line():
                    return line
                if self._process.poll() is not None:
                    raise SensorLostError(f"tegrastats ended with exit status {self._process.returncode}")
        raise SensorLostError(f"tegrastats printed no line of its own in {_FIRST_LINE_S:g} s")


def open_tegrastats() -> TegrastatsProcess | str:
    """The sensor; the reason if the program is missing or says nothing."""
    program = shutil.which("tegrastats")
    if program is None:
        return "the program tegrastats is not installed, as in most containers"
    try:
        return TegrastatsProcess(program)
    except OSError as error:
        return f"tegrastats cannot be started: {error.strerror}"
    except SensorLostError as error:
        return str(error)


def _values(line: Tegrastats) -> dict[Channel, _Get]:
    """What a line has, and how to get it from another line."""
    found: dict[Channel, _Get] = {
        Channel("power_mw", rail): lambda x, rail=rail: x.power_mw.get(rail, math.nan)  # type: ignore[misc]
        for rail in line.power_mw
    }
    found |= {
        Channel("temperature_c", zone): lambda x, zone=zone: x.temperatures_c.get(zone, math.nan)  # type: ignore[misc]
        for zone in line.temperatures_c
    }
    if line.cpu_mhz:
        found[Channel("clock_mhz", "cpu")] = lambda x: max(x.cpu_mhz, default=math.nan)
    if line.gpu_mhz:
        found[Channel("clock_mhz", "gpu")] = lambda x: max(x.gpu_mhz, default=math.nan)
    if line.memory_mhz is not None:
        found[Channel("clock_mhz", "memory")] = lambda x: math.nan if x.memory_mhz is None else x.memory_mhz
    return found
