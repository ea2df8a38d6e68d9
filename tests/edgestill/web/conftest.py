"""A web view of sources that send what a test says, and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from edgestill.detections import Detections
from runtime.frames import Frame
from runtime.pipeline import FrameResult

CLASSES = ("red", "yellow", "green", "off")
TIMEOUT_S = 20


@dataclass
class Source:
    """A source of which only the figures matter: the tests give the results."""

    is_live: bool = True
    fps: float | None = 10.0
    total: int | None = None
    dropped: int = 0
    doubts: tuple[str, ...] = ()
    broke_off: str | None = None

    def frames(self) -> Iterator[Frame]:
        return iter(())

    def close(self) -> None:
        pass


@dataclass
class Detector:
    """Has a threshold."""

    conf: float = 0.25


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A web view with its parts.

    Attributes:
        view: The view.
        sink: Receives results.
        controls: Threshold and pause.
        detector: Whose threshold that is.
        sources: The sources by name.
    """

    view: Any
    sink: Any
    controls: Any
    detector: Detector
    sources: dict[str, Source]
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def port(self) -> int:
        port: int = self.view._port
        return port

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request; names of headers have ``_`` for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        text = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)) as connection:
            connection.request(method, path, body=text, headers=sent)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())

    def stream(self, path: str) -> http.client.HTTPResponse:
        """A stream that stays open until the end of the test."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        self.stack.enter_context(closing(connection))
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer


def _result(index: int = 0, *boxes: tuple[int, float], **changes: Any) -> FrameResult:
    """A result with boxes of a class id and a score each."""
    image = changes.pop("image", np.full((72, 128, 3), 40 + index % 200, np.uint8))
    frame = Frame(image_bgr=image, index=index, captured_s=0.0, name="x", decode_ms=1.0, time_s=index / 10)
    found = Detections(
        np.array([[8 + 30 * i, 10, 18 + 30 * i, 30] for i in range(len(boxes))], np.float32).reshape(-1, 4),
        np.array([score for _, score in boxes], np.float32),
        np.array([class_id for class_id, _ in boxes], np.int64),
    )
    facts: dict[str, Any] = {
        "frame": frame,
        "detections": found,
        "track_id": None,
        "states": None,
        "age_ms": 30.0,
        "rate_fps": 10.0,
        "stages_ms": {"decode": 1.0, "inference": 9.0},
        "is_live": True,
    }
    return FrameResult(**{**facts, **changes})


@pytest.fixture(scope="session")
def make_result() -> Callable[..., FrameResult]:
    """Makes a result: an index, a class id and a score for each box; ``image`` and fields of it by name."""
    return _result


@pytest.fixture
def make_source() -> Callable[..., Source]:
    """Makes a source that sends nothing by itself."""
    return Source


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves a view: the address, and sources by name (one camera called ``cam`` without any)."""
    pytest.importorskip("starlette")
    from edgestill.demo.web.run_state import RunFacts
    from edgestill.demo.web.web_address import WebAddress
    from edgestill.demo.web.web_view import WebView

    with ExitStack() as stack:

        def call(address: str = "127.0.0.1:0", **sources: Source) -> Served:
            sources = sources or {"cam": Source()}
            view = stack.enter_context(closing(WebView(WebAddress.parse(address))))
            detector = Detector()
            facts = RunFacts(model="student", backend="ort", device="CPU", classes=CLASSES)
            sink, controls = view.serve(facts, sources, detector, version="1.2.3")
            served = Served(view, sink, controls, detector, dict(sources))
            stack.enter_context(served.stack)
            return served

        yield call
