"""Ctrl-C, SIGTERM and SIGHUP during a run: they wait until a frame is written, and while files are closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

#: How each signal must be handled before the run, for the run to handle it: nohup's SIG_IGN and the handlers
#: of an embedding program stay.
DEFAULTS: dict[str, Any] = {
    "SIGINT": signal.default_int_handler,
    "SIGTERM": signal.SIG_DFL,
    "SIGHUP": signal.SIG_DFL,  # absent on Windows
}


class Terminated(SystemExit):
    """The process was asked to end. Not caught, it ends the process with 128 plus the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.name = signal.Signals(signum).name


class Interrupts:
    """Turns signals into exceptions: KeyboardInterrupt for SIGINT, ``Terminated`` for SIGTERM and SIGHUP.

    A context manager; at its end the former handlers are back. It does nothing outside the main thread, where
    Python allows no handlers.
    """

    def __init__(self) -> None:
        self._former: dict[int, Any] = {}
        self._pending: BaseException | None = None
        self._held = self._closing = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for name, default in DEFAULTS.items():
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is default:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the first signal back to the end of the block; a second one interrupts the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending is not None:
            error, self._pending = self._pending, None
            self.ignore()
            raise error

    def ignore(self) -> None:
        """Ignore signals from here on, while files are closed: what ends the run has come already."""
        self._closing = True

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._closing:
            return
        error = KeyboardInterrupt() if signum == signal.SIGINT else Terminated(signum)
        if self._held and self._pending is None:
            self._pending = error
        else:
            self.ignore()  # files are closed next
            raise error
