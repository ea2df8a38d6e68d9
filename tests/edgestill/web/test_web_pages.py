"""The view over real HTTP."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPResponse
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("starlette")

from edgestill.demo.web import run_state, web_app

PAGE = web_app.PAGE


def events(stream: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """The server-sent events of a stream."""
    kind = ""
    while line := stream.readline().decode():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ").strip()
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def part(stream: HTTPResponse) -> tuple[Any, np.ndarray[Any, Any]]:
    """The next picture of a multipart stream, with what is said about it."""
    head: dict[str, str] = {}
    assert stream.readline() == b"--frame\r\n"
    while (line := stream.readline().decode().rstrip("\r\n")) != "":
        name, _, value = line.partition(": ")
        head[name] = value
    jpeg = stream.read(int(head["Content-Length"]))
    assert stream.readline() == b"\r\n"
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return json.loads(head["X-Frame"]), np.asarray(image)


# --- the page


def test_the_page_and_all_that_it_names_comes_from_here(serve: Callable[..., Any]) -> None:
    served = serve()
    assert {file.name for file in PAGE.iterdir()} == {name for name, _ in web_app.FILES.values()}
    for path, (name, kind) in web_app.FILES.items():
        answer = served.ask(path)
        assert (answer.status, answer.body) == (200, (PAGE / name).read_bytes())
        assert answer.headers["content-type"].startswith(kind)
        own = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in re.sub(r"devtools|https?:\s", "", own)
        named = re.findall(r'(?:src|href|from)="?\s?"(/[^"]*)"', own)
        assert [one for one in named if one not in {*web_app.FILES, "/state"}] == []


def test_what_is_not_there_is_not_found(serve: Callable[..., Any]) -> None:
    served = serve()
    assert served.ask("/page/../web_app.py").status == 404
    assert served.ask("/pictures?source=gone").status == 404
    assert served.ask("/controls").status == 405


# --- the state


def test_the_state_comes_as_events(serve: Callable[..., Any], make_result: Callable[..., Any]) -> None:
    served = serve()
    served.sink.write(make_result(0, (0, 0.9)), None)
    coming = events(served.stream("/events"))
    kind, hello = next(coming)
    assert (kind, hello["model"], hello["backend"]) == ("hello", "student", "ort")
    assert hello["colours"]["dark"]["red"] == "#ff4646"
    kind, state = next(coming)
    assert kind == "state"
    assert state["sources"][0]["found"] == {"red": 1}
    assert state["seconds"].keys() == {"cam"}
    served.sink.close(complete=True)
    assert dict(coming)["end"] == {}


def test_the_state_can_be_asked_for(serve: Callable[..., Any]) -> None:
    assert serve().ask("/state").json()["sources"][0]["name"] == "cam"


# --- pictures


def test_each_viewer_sees_the_pictures_with_what_is_drawn_on_them(
    serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve()
    viewers = [served.stream("/pictures") for _ in range(3)]
    for index in range(3):
        served.sink.write(make_result(index, (0, 0.9)), None)
        shown = [part(viewer) for viewer in viewers]
        for about, image in shown:
            assert (about["frame"], about["source"], about["width"]) == (index, "cam", 128)
            assert about["boxes"][0]["name"] == "red"
            assert image.shape == (72, 128, 3)
    assert served.sink._feed.encoded == 3


def test_a_picture_stream_can_be_of_one_source(
    serve: Callable[..., Any], make_source: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve(a=make_source(), b=make_source())
    stream = served.stream("/pictures?source=b")
    served.sink.write(make_result(1, source="a"), None)
    served.sink.write(make_result(2, source="b"), None)
    assert part(stream)[0]["source"] == "b"


def test_nothing_is_encoded_before_and_after_somebody_looks(
    serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve()
    feed = served.sink._feed
    served.sink.write(make_result(0), None)
    assert feed.encoded == 0
    stream = served.stream("/pictures")
    part(stream)
    assert feed.encoded == 1
    stream.close()
    served.stack.close()  # closes the connection
    while feed.viewers:
        served.ask("/state")  # until the server has seen that nobody looks any more
    served.sink.write(make_result(1), None)
    served.ask("/state")
    assert feed.encoded == 1


def test_a_viewer_that_never_reads_holds_up_neither_the_run_nor_the_others(
    serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    """Noise, which makes large pictures: after a few the connection of the other is full."""
    served = serve()
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    with closing(socket.create_connection(("127.0.0.1", served.port))) as hung:
        hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hung.sendall(b"GET /pictures HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader = served.stream("/pictures")
        for index in range(60):
            served.sink.write(make_result(index, image=noise), None)
            assert part(reader)[0]["frame"] == index
        assert served.ask("/healthz").status == 200
        assert served.sink._feed.encoded == 60
        served.view.close()
        assert not served.view._serving._thread.is_alive()


def test_too_many_viewers_are_refused(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_app, "MOST_STREAMS", 2)
    served = serve()
    for _ in range(2):
        next(events(served.stream("/events")))
    assert served.ask("/events").status == 503
    assert served.ask("/state").status == 200


def test_a_viewer_that_takes_nothing_is_let_go(
    serve: Callable[..., Any], make_result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_app, "SLOW_S", 0.05)
    served = serve()
    noise = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    with closing(socket.create_connection(("127.0.0.1", served.port))) as hung:
        hung.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        hung.sendall(b"GET /pictures HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not served.sink._feed.viewers:
            served.ask("/state")
        while served.sink._feed.viewers:
            served.sink.write(make_result(0, image=noise), None)
            served.ask("/state")


# --- controls


def test_threshold_and_pause_act_on_the_run(serve: Callable[..., Any]) -> None:
    served = serve()
    assert served.ask("/controls", "POST", {"conf": 0.5}).json() == {"conf": 0.5, "paused": False}
    assert served.detector.conf == 0.5
    assert served.ask("/controls", "POST", {"paused": True}).json() == {"conf": 0.5, "paused": True}
    assert not served.controls.admits("cam", is_live=True)
    served.ask("/controls", "POST", {"paused": False, "conf": 1})
    assert served.controls.admits("cam", is_live=True)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[" * 900, b"[]", b"{}", b'"x"', b"\xff", b'{"conf": NaN}', b'{"conf": Infinity}'),
        *({"conf": 1.5}, {"conf": -0.1}, {"conf": "0.5"}, {"conf": True}, {"conf": None}),
        *({"paused": 1}, {"paused": True, "conf": 2}, {"paused": True, "other": 1}),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(body: Any) -> None:
    from edgestill.demo.web.run_controls import RunControls
    from edgestill.errors import UsageError

    class Detector:
        conf = 0.25

    controls = RunControls(Detector())
    with pytest.raises(UsageError):
        controls.change(**web_app._changes(body if isinstance(body, bytes) else json.dumps(body).encode()))
    assert (controls.conf, controls.paused) == (0.25, False)


def test_a_wrong_change_is_explained(serve: Callable[..., Any]) -> None:
    served = serve()
    answer = served.ask("/controls", "POST", {"conf": 7})
    assert (answer.status, answer.json()) == (422, {"error": "conf is 7"})
    assert served.ask("/controls", "POST", b"x" * 5000).status == 413


# --- health


def test_health_follows_the_sources(
    serve: Callable[..., Any], make_result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr(run_state, "perf_counter", lambda: now[0])
    served = serve()
    answer = served.ask("/healthz")
    assert (answer.status, answer.json()["sources"]) == (503, {"cam": "starting"})
    served.sink.write(make_result(), None)
    assert served.ask("/healthz").json() == {"status": "ok", "sources": {"cam": "ok"}}
    now[0] += run_state.STALE_S + 1
    answer = served.ask("/healthz")
    assert (answer.status, answer.json()) == (503, {"status": "unavailable", "sources": {"cam": "stale"}})
    served.sink.write(make_result(1), None)
    assert served.ask("/healthz").status == 200


# --- the end


def test_the_end_of_the_run_ends_the_server_with_viewers_on_it(serve: Callable[..., Any]) -> None:
    served = serve()
    served.stream("/pictures")
    next(events(served.stream("/events")))
    served.controls.change(paused=True)
    served.view.close()
    assert not served.view._serving._thread.is_alive()
    assert served.controls.admits("clip", is_live=False)  # a paused file is let go
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", served.port))
