"""Requests to the agent of a device: one process each, events as they come, an error in two lines."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from getpass import getuser
from typing import Any, TypeVar

from edgestill.errors import (
    ArtifactError,
    DataError,
    DeviceError,
    ToolchainError,
    UsageError,
    VerificationError,
)
from edgestill.progress import say
from edgestill.remote.transport import Transport, agent_bytes

MARK = b"edgestill-agent 1"  # as edgestill.remote.far.agent.MARK
FOLDER = "~/.edgestill-remote"
MOST_NOISE = 200  # lines that a login there may print before the agent answers
MOST_LINE = 64 << 20  # bytes of an event
#: Seconds between attempts to connect again, after the connection was lost.
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
LASTING_S = 10.0  # a connection that has held so long was good: the pauses begin anew
_ERRORS = {
    one.exit_code: one for one in (UsageError, DataError, ArtifactError, DeviceError, VerificationError)
}

T = TypeVar("T")


class ConnectionLostError(Exception):
    """The agent had answered, and then its connection ended. ``said`` is what ssh wrote."""


class NotConnectedError(Exception):
    """The agent has not answered. ``error`` is what to tell."""

    def __init__(self, error: DeviceError) -> None:
        super().__init__(str(error))
        self.error = error


class Call:
    """A request that is being answered.

    Args:
        transport: Where.
        request: What; JSON data.
    """

    def __init__(self, transport: Transport, request: dict[str, Any]) -> None:
        self._process = transport.start()
        self._stderr = _Tail(self._process)
        self._send_quietly(agent_bytes() + json.dumps(request).encode() + b"\n")
        if not self._find_mark():
            code = self.end()
            raise NotConnectedError(transport.failure(code, self._stderr.text()))

    def event(self) -> dict[str, Any]:
        """The next event.

        Raises:
            ConnectionLostError: There is none.
            ToolchainError: The agent refuses, or fails.
        """
        line = self._out.readline(MOST_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionLostError(self._stderr.text())
        event: dict[str, Any] = json.loads(line)
        if "error" in event:
            raise error_of(event["error"])
        return event

    def result(self) -> dict[str, Any]:
        """The last event, which is the result; others are left out."""
        while "result" not in (event := self.event()):
            pass
        found: dict[str, Any] = event["result"]
        return found

    def send(self, data: bytes) -> None:
        """Send bytes; an error that the agent has told meanwhile is raised in place of a broken pipe."""
        if not self._send_quietly(data):
            self.result()
            raise ConnectionLostError(self._stderr.text())

    def read(self, count: int) -> bytes:
        """So many bytes behind an event."""
        data: bytes = self._out.read(count)
        if len(data) < count:
            raise ConnectionLostError(self._stderr.text())
        return data

    def end(self) -> int:
        """End the request; gives the exit code."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._out.close()
        return code

    @property
    def _out(self) -> Any:
        return self._process.stdout

    def _send_quietly(self, data: bytes) -> bool:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _find_mark(self) -> bool:
        """Read over what a login prints, up to the agent's mark."""
        return any(self._out.readline(MOST_LINE).rstrip() == MARK for _ in range(MOST_NOISE))


class _Tail(threading.Thread):
    """Reads stderr of a process, so that it never waits, and keeps the end.

    The shared connection of ssh holds it open after the process: nobody may wait for its end for long.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream, self._kept = process.stderr, b""
        self.start()

    def run(self) -> None:
        assert self._stream is not None
        with self._stream:
            while block := self._stream.read1(1 << 12):  # type: ignore[attr-defined]
                self._kept = (self._kept + block)[-(1 << 14) :]

    def text(self) -> str:
        self.join(timeout=1)
        return self._kept.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that a transport reaches.

    Attributes:
        transport: The way to it.
        owner: Who asks, for the lock: user and machine.
        folder: The agent's folder there; ``~`` is the home folder.
        pauses_s: See ``PAUSES_S``.
    """

    transport: Transport
    owner: str
    folder: str = FOLDER
    pauses_s: Sequence[float] = PAUSES_S

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.transport.name

    @contextmanager
    def call(self, op: str, **fields: Any) -> Iterator[Call]:
        """Send a request; the block reads its answer."""
        request = {"op": op, "owner": self.owner, "folder": self.folder, **fields}
        call = Call(self.transport, request)
        try:
            yield call
        finally:
            call.end()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request that is answered at once; gives the result. See ``patiently``."""

        def once() -> dict[str, Any]:
            with self.call(op, **fields) as call:
                return call.result()

        return self.patiently(once)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do what can be repeated; again after a pause, if the connection was lost.

        Raises:
            DeviceError: There is no connection, or none again after the last pause.
            ToolchainError: What the agent tells.
        """
        pauses, was_lost = iter(self.pauses_s), False
        while True:
            start = time.monotonic()
            try:
                return work()
            except ConnectionLostError as error:
                was_lost, said = True, " ".join(str(error).split())
                if time.monotonic() - start > LASTING_S:
                    pauses = iter(self.pauses_s)
            except NotConnectedError as error:
                if not was_lost:
                    raise error.error from error
                said = error.error.what
            pause_s = next(pauses, None)
            if pause_s is None:
                raise DeviceError(
                    f"the connection to {self.name} was lost: {said or 'it ended'}",
                    hint="what runs there goes on; the same command shows it again",
                )
            say(f"the connection to {self.name} was lost; again in {pause_s:g} s")
            time.sleep(pause_s)


def this_user() -> str:
    """Who asks: the name of the user and of this machine."""
    return f"{getuser()}@{socket.gethostname()}"


def error_of(told: dict[str, Any]) -> ToolchainError:
    """The error that the agent tells: ``what``, ``hint`` and ``code``."""
    kind = _ERRORS.get(told.get("code", 5), DeviceError)
    return kind(str(told.get("what", "it failed")), hint=str(told.get("hint", "repeat the command")))
