"""The page in a headless Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette")

from edgestill.demo.web import run_state
from tests.edgestill.web.chromium import Chromium, program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="there is no Chromium (Debian's package chromium)"),
]

SHOWN = "document.querySelector('canvas')?.dataset.frame"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    path = program()
    assert path is not None
    with closing(Chromium(path, tmp_path / "profile")) as browser:
        browser.size(1280, 900)
        yield browser


@pytest.fixture
def send(make_result: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Sends results to a view from a thread, as a pipeline does, until the end of the test."""
    ended, threads = Event(), []

    def call(served: Any, *sources: str, state: str = "red") -> None:
        def work() -> None:
            image = np.full((360, 640, 3), (40, 120, 40), np.uint8)
            index = 0
            while not ended.wait(0.03):
                for source in sources:
                    if served.controls.admits(source, is_live=True):
                        track = {"track_id": np.array([7]), "states": (state,)}
                        served.sink.write(
                            make_result(index, (0, 0.9), source=source, image=image, **track), None
                        )
                index += 1

        threads.append(Thread(target=work, daemon=True))
        threads[-1].start()

    yield call
    ended.set()
    for thread in threads:
        thread.join()


def text(browser: Chromium, selector: str) -> str:
    found: str = browser.value(f"document.querySelector({selector!r}).textContent")
    return found


def colour(browser: Chromium, selector: str, kind: str = "backgroundColor") -> str:
    found: str = browser.value(f"getComputedStyle(document.querySelector({selector!r})).{kind}")
    return found


def local_url(served: Any) -> str:
    """The address with the token; the machine may not reach itself by the one of the network."""
    query = served.view.url.partition("?")[2]
    return f"http://127.0.0.1:{served.port}/{'?' + query if query else ''}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_picture_lights_and_charts(
    scheme: str, browser: Chromium, serve: Callable[..., Any], send: Callable[..., None], tmp_path: Path
) -> None:
    served = serve()
    served.sources["cam"].dropped = 3
    send(served, "cam")
    browser.colours(scheme)
    browser.open(local_url(served))
    browser.wait(SHOWN)
    browser.wait("document.querySelector('#status').textContent === 'Running'")
    browser.wait("document.querySelectorAll('.chart path[d]').length >= 5")
    assert text(browser, "#facts") == "student · ort · CPU"
    assert text(browser, ".objects li span") == "red"
    assert text(browser, ".objects small").startswith("#7 · 0.90 · ")
    assert "replaced 3" in text(browser, "#charts")
    assert browser.value("document.querySelector('canvas').ariaLabel") == "cam: #7 red 0.90"
    # The middle of the picture is the frame, and the box around the light is in the light's colour.
    pixels = """(() => {
        const canvas = document.querySelector('canvas');
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const at = (x, y) => 4 * (Math.round(y) * canvas.width + Math.round(x));
        let red = 0;
        for (let i = 0; i < data.length; i += 4) red += data[i] > 230 && data[i + 1] < 100;
        return {middle: [...data.slice(at(canvas.width / 2, canvas.height / 2)).slice(0, 3)], red};
    })()"""
    shown = browser.value(pixels)
    assert shown["middle"] == pytest.approx([40, 120, 40], abs=6)
    assert shown["red"] > 50
    ground = [int(part) for part in colour(browser, "body")[4:-1].split(",")]
    assert max(ground) < 60 if scheme == "dark" else min(ground) > 200
    browser.screenshot(tmp_path / f"{scheme}.png")
    assert (tmp_path / f"{scheme}.png").read_bytes().startswith(b"\x89PNG")
    assert browser.problems == []


def test_pause_and_threshold_act_on_the_run(
    browser: Chromium, serve: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve()
    send(served, "cam")
    browser.open(local_url(served))
    browser.wait("!document.querySelector('#pause').disabled")
    browser.value("document.querySelector('#pause').click()")
    browser.wait("document.querySelector('#pause').textContent === 'Resume'")
    assert served.controls.paused
    browser.wait("document.querySelector('#status').textContent === 'Paused'")
    browser.value("document.querySelector('#pause').click()")
    browser.wait("document.querySelector('#status').textContent === 'Running'")
    assert not served.controls.paused
    slide = "const s = document.querySelector('#conf'); s.value = 0.6; s.dispatchEvent(new Event('input'))"
    browser.value(slide)
    browser.wait("fetch('/state').then((answer) => answer.json()).then((state) => state.conf === 0.6)")
    assert served.detector.conf == 0.6
    browser.wait("document.querySelector('#conf-value').textContent === '0.60'")
    assert browser.problems == []


def test_the_change_of_another_viewer_is_seen(
    browser: Chromium, serve: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve()
    send(served, "cam")
    browser.open(local_url(served))
    browser.wait("!document.querySelector('#pause').disabled")
    served.controls.change(conf=0.8, paused=True)
    browser.wait("document.querySelector('#conf').value === '0.8'")
    browser.wait("document.querySelector('#pause').textContent === 'Resume'")


def test_a_phone_needs_no_sideways_scrolling(
    browser: Chromium, serve: Callable[..., Any], make_source: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve(
        **{"cam": make_source(), "a-very-long-name-of-a-source-that-fits-no-phone.mp4": make_source()}
    )
    send(served, *served.sources)
    browser.size(360, 740, scale=2, mobile=True)
    browser.open(local_url(served))
    browser.wait("document.querySelectorAll('canvas').length === 2")
    browser.wait(SHOWN)
    browser.wait("document.querySelectorAll('.objects small').length === 2")
    assert browser.value("document.documentElement.scrollWidth") <= 360
    assert browser.value("document.querySelector('#pause').getBoundingClientRect().height") >= 36


def test_a_paused_picture_is_drawn_anew_for_another_size(
    browser: Chromium, serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve()
    browser.open(local_url(served))
    browser.wait("!document.querySelector('#pause').disabled")
    served.sink.write(make_result(0, (0, 0.9)), None)
    browser.wait(SHOWN)
    width = "document.querySelector('canvas').width"
    before = browser.value(width)
    browser.size(500, 900)
    browser.wait(f"{width} < {before} && {width} === document.querySelector('canvas').clientWidth")


def test_charts_are_those_of_the_chosen_source(
    browser: Chromium, serve: Callable[..., Any], make_source: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve(a=make_source(dropped=1), b=make_source(dropped=2))
    send(served, "a", "b")
    browser.open(local_url(served))
    browser.wait("document.querySelectorAll('canvas').length === 2")
    browser.wait("document.querySelector('#charts').textContent.includes('replaced 1')")
    browser.value("document.querySelectorAll('.name')[1].click()")
    browser.wait("document.querySelector('#charts').textContent.includes('replaced 2')")


def test_a_silent_source_is_told_and_then_the_end_of_the_run(
    browser: Chromium,
    serve: Callable[..., Any],
    make_result: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_state, "STALE_S", 1.0)
    served = serve()
    served.sink.write(make_result(), None)
    browser.open(local_url(served))
    browser.wait("document.querySelector('#status').textContent === 'No frames: cam'")
    assert text(browser, ".notice").startswith("No frame for ")
    served.sink.close(complete=True)
    browser.wait("document.querySelector('#status').textContent === 'The run has ended'")
    assert browser.value("document.querySelector('#pause').disabled")


def test_names_are_text(
    browser: Chromium, serve: Callable[..., Any], make_source: Callable[..., Any], send: Callable[..., None]
) -> None:
    name = "<img src=x onerror=alert(1)>"
    served = serve(**{name: make_source()})
    send(served, name, state="<b>red</b>")
    browser.open(local_url(served))
    browser.wait("document.querySelector('.objects small')")
    assert text(browser, ".name") == name
    assert text(browser, ".objects li span") == "<b>red</b>"
    assert browser.value("document.querySelectorAll('main img, main b:not(.legend b)').length") == 0


def test_a_hidden_page_takes_no_pictures(
    browser: Chromium, serve: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve()
    send(served, "cam")
    browser.open(local_url(served))
    browser.wait(SHOWN)
    assert served.sink._feed.viewers == 1
    hide = "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
    browser.value(f"{hide} document.dispatchEvent(new Event('visibilitychange'))")
    while served.sink._feed.viewers:
        browser.value("fetch('/state').then(() => true)")


def test_the_token_leaves_the_address(
    browser: Chromium, serve: Callable[..., Any], send: Callable[..., None]
) -> None:
    served = serve("0.0.0.0:0")
    send(served, "cam")
    browser.open(local_url(served))
    browser.wait(SHOWN)
    assert browser.value("location.href") == f"http://127.0.0.1:{served.port}/"
    browser.value("document.querySelector('#pause').click()")
    browser.wait("document.querySelector('#status').textContent === 'Paused'")
    assert served.controls.paused
