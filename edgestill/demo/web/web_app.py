"""The pages and figures of the web view over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Send

from edgestill.demo.web.picture_feed import Picture, PictureFeed
from edgestill.demo.web.run_controls import RunControls
from edgestill.demo.web.run_state import RunState
from edgestill.demo.web.web_metrics import RunMetrics
from edgestill.drawing.palette import image_colours, plot_colours
from edgestill.errors import UsageError
from edgestill.files import to_json_text

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/charts.js": ("charts.js", "text/javascript"),
    "/pictures.js": ("pictures.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
EVENT_S = 0.5  # between two messages of the state
LATEST_S = 10  # seconds of the history in each message: one may come late
SLOW_S = 20.0  # a viewer that takes nothing for so long is let go
MOST_STREAMS = 32  # viewers' open streams; a page has two
MOST_BODY = 1000  # bytes of a request that changes something
BOUNDARY = "frame"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class BoundedStream(StreamingResponse):
    """A stream that ends when its viewer takes nothing for ``SLOW_S`` seconds."""

    async def stream_response(self, send: Send) -> None:
        """Send the stream."""

        async def send_in_time(message: Message) -> None:
            with anyio.fail_after(SLOW_S):
                await send(message)

        with suppress(TimeoutError):
            await super().stream_response(send_in_time)


@dataclass(slots=True)
class RunPages:
    """The handlers of all paths, in one event loop.

    Attributes:
        state: The state of the run.
        controls: Threshold and pause.
        metrics: Figures for Prometheus.
        feed: Pictures.
        streams: How many streams are open.
    """

    state: RunState
    controls: RunControls
    metrics: RunMetrics
    feed: PictureFeed
    streams: int = 0

    def app(self) -> Starlette:
        """The application, without any check of who asks."""
        routes = [Route(path, _file(name, kind)) for path, (name, kind) in FILES.items()]
        routes += [
            Route("/events", self.events),
            Route("/pictures", self.pictures),
            Route("/state", self.now),
            Route("/healthz", self.health),
            Route("/metrics", self.figures),
            Route("/controls", self.change, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def now(self, request: Request) -> Response:
        """The state as JSON."""
        return JSONResponse(self.state.snapshot(self.controls))

    async def health(self, request: Request) -> Response:
        """200 if every source sends or waits as it should, else 503; details for those who have the token."""
        sources = self.state.health(paused=self.controls.paused)
        is_well = set(sources.values()) <= {"ok", "paused"}
        told: dict[str, Any] = {"status": "ok" if is_well else "unavailable"}
        if request.scope["is_known"]:
            told["sources"] = sources
        return JSONResponse(told, 200 if is_well else 503)

    async def figures(self, request: Request) -> Response:
        """The figures for Prometheus."""
        return Response(self.metrics.text(), headers={"Content-Type": METRICS_TYPE})

    async def change(self, request: Request) -> Response:
        """Change threshold or pause: ``{"conf": 0.4}``, ``{"paused": true}``, or both."""
        try:
            wanted = _changes(await _body(request))
            self.controls.change(**wanted)
        except UsageError as error:
            return JSONResponse({"error": error.what}, 422)
        return JSONResponse({"conf": self.controls.conf, "paused": self.controls.paused})

    async def events(self, request: Request) -> Response:
        """The state as server-sent events: ``hello``, then ``state`` twice a second, ``end`` at the end."""
        return self._stream(self._events(), "text/event-stream")

    async def pictures(self, request: Request) -> Response:
        """Pictures of all sources, or of ``?source=NAME``, as ``multipart/x-mixed-replace``."""
        source = request.query_params.get("source")
        if source is not None and source not in self.state.names:
            raise HTTPException(404, f"no source is called {source}")
        return self._stream(self._pictures(source), f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    def _stream(self, parts: AsyncIterator[bytes], kind: str) -> Response:
        if self.streams >= MOST_STREAMS:
            raise HTTPException(503, "too many viewers")
        return BoundedStream(parts, media_type=kind)

    async def _events(self) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            yield _event("hello", self._hello())
            while not self.state.ended:
                yield _event("state", self._state_with_second())
                await asyncio.sleep(EVENT_S)
            yield _event("end", {})
        finally:
            self.streams -= 1

    async def _pictures(self, source: str | None) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            with self.feed.viewer(source) as viewer:
                while (pictures := await self.feed.pictures(viewer)) is not None:
                    for picture in pictures:
                        yield _part(picture)
        finally:
            self.streams -= 1

    def _hello(self) -> dict[str, Any]:
        facts = self.state.facts
        return {
            "model": facts.model,
            "backend": facts.backend,
            "device": facts.device,
            "colours": {
                "light": dict(zip(facts.classes, plot_colours(facts.classes), strict=True)),
                "dark": dict(zip(facts.classes, map(_hex, image_colours(facts.classes)), strict=True)),
            },
            "history": self.state.history(),
        }

    def _state_with_second(self) -> dict[str, Any]:
        """The state, with the latest complete seconds of each source."""
        latest = {name: seconds[-LATEST_S:] for name, seconds in self.state.history().items()}
        return {**self.state.snapshot(self.controls), "seconds": latest}


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (PAGE / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _event(kind: str, content: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {to_json_text(content, indent=None)}\n\n".encode()


def _part(picture: Picture) -> bytes:
    """One part of the stream; ``X-Frame`` is JSON: what is drawn on the picture."""
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n"
        f"X-Frame: {picture.about}\r\n\r\n"
    )
    return head.encode() + picture.jpeg + b"\r\n"


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY:
            raise HTTPException(413, "too long")
    return body


def _changes(body: bytes) -> dict[str, Any]:
    """The arguments of ``RunControls.change``; UsageError if the text asks for anything else."""
    kinds = {"conf": (int, float), "paused": (bool,)}
    hint = '{"conf": 0.4} or {"paused": true}'
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON", hint=hint) from None
    if not isinstance(wanted, dict) or not wanted or not set(wanted) <= set(kinds):
        raise UsageError(f"the request is not like {hint}", hint=hint)
    for key, value in wanted.items():
        if not isinstance(value, kinds[key]) or (key == "conf" and isinstance(value, bool)):
            raise UsageError(f"{key} is {value!r}", hint=hint)
    return wanted


def _hex(bgr: tuple[int, int, int]) -> str:
    blue, green, red = bgr
    return f"#{red:02x}{green:02x}{blue:02x}"
