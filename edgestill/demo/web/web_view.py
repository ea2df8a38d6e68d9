"""The web view of one run: opens the port, serves in a thread, and ends with the run."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from threading import Thread

import uvicorn

from edgestill.demo.web.picture_feed import PictureFeed
from edgestill.demo.web.run_controls import HasThreshold, RunControls
from edgestill.demo.web.run_state import RunFacts, RunState
from edgestill.demo.web.web_access import Guard, make_token
from edgestill.demo.web.web_address import WebAddress
from edgestill.demo.web.web_app import RunPages
from edgestill.demo.web.web_metrics import RunMetrics
from edgestill.demo.web.web_sink import WebSink
from runtime.frames import FrameSource

GRACE_S = 1  # for the streams of viewers to end; then they are cut off
JOIN_S = 5.0
MOST_CONNECTIONS = 100


class WebView:
    """A port that is open from the start, and a server for it once there is a run.

    The server runs in a daemon thread, so that no viewer keeps the process. ``close`` ends it.

    Args:
        address: Where to listen.

    Attributes:
        url: What to open in a browser, with the token if one is needed.

    Raises:
        UsageError: The port cannot be had, or the token of the environment is none.
    """

    def __init__(self, address: WebAddress) -> None:
        self._token = None if address.is_loopback else make_token()
        self._socket = address.listen()
        self._port: int = self._socket.getsockname()[1]
        self.url = address.url(self._port, self._token)
        self._serving: _Serving | None = None

    def serve(
        self, facts: RunFacts, sources: Mapping[str, FrameSource], detector: HasThreshold, *, version: str
    ) -> tuple[WebSink, RunControls]:
        """Start to answer requests.

        Args:
            facts: What is told of the model.
            sources: The sources by the names that ``FrameResult.source`` has.
            detector: Its threshold is what viewers change.
            version: Of this program.

        Returns:
            The sink and the gate of the pipeline.
        """
        state = RunState(facts, sources)
        controls = RunControls(detector, heard=state.heard)
        metrics, feed = RunMetrics(state, controls, version=version), PictureFeed()
        pages = RunPages(state, controls, metrics, feed)
        self._serving = _Serving(pages, Guard(pages.app(), token=self._token, port=self._port), self._socket)
        return WebSink(state, metrics, feed), controls

    def close(self) -> None:
        """End the server; viewers get the end of the run told, but are not waited for."""
        if self._serving is not None:
            self._serving.close()
        self._socket.close()


class _Server(uvicorn.Server):
    """A server that cuts off, at its end, the viewers that take nothing."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for streams to end, for ``GRACE_S``, then cut them off."""
        await super().shutdown(sockets)
        for connection in self.server_state.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(0)  # in which their sockets are closed


class _Serving:
    """A server in a thread of its own."""

    def __init__(self, pages: RunPages, app: Guard, listening: socket.socket) -> None:
        self._pages = pages
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",  # viewers that vanish are no news
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = _Server(config)
        self._thread = Thread(target=self._server.run, args=([listening],), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._pages.state.ended = True
        self._pages.controls.end()
        self._pages.feed.close()
        self._server.should_exit = True
        self._thread.join(JOIN_S)
