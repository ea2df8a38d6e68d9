"""The web view of a run on a device, in a browser here."""

from __future__ import annotations

import re
from contextlib import ExitStack

from edgestill.progress import say
from edgestill.remote.transport import Transport

#: What ``edgestill run --web`` says.
VIEW = re.compile(r"web view: http://[^/\s]*:(\d+)(/\S*)")


class WebForward:
    """Forwards a port once the log of the run tells which; a ``Listener`` of ``run_job``.

    Args:
        transport: The way to the device.
        port: Port here; 0 for any free one.
    """

    def __init__(self, transport: Transport, port: int) -> None:
        self._transport, self._port = transport, port
        self._there: int | None = None
        self._open = ExitStack()

    def connected(self) -> None:
        """Forward again, to the same port, after the connection was lost."""
        if self._there is not None:
            self._open.close()
            self._forward(self._there)

    def heard(self, line: str) -> None:
        """Forward, if the line names the address of the view."""
        found = VIEW.search(line)
        if found is None or self._there is not None:
            return
        self._there = int(found[1])
        self._forward(self._there)
        # The path has the token, where the view there asks for one.
        say(f"web view here: http://127.0.0.1:{self._port}{found[2]}")

    def close(self) -> None:
        """End it."""
        self._open.close()

    def _forward(self, there: int) -> None:
        self._port = self._open.enter_context(self._transport.forwarded(there, self._port))
