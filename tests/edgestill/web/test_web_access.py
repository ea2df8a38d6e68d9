"""Who may use the view."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("starlette")

from edgestill.demo.web.web_access import LEAST_CHARS, TOKEN_VARIABLE, make_token
from edgestill.errors import UsageError

EVERYWHERE = "0.0.0.0:0"
PATHS = ("/", "/page.js", "/events", "/pictures", "/state", "/metrics")


def token_of(served: Any) -> str:
    return parse_qs(urlsplit(served.view.url).query)["token"][0]


def test_on_loopback_there_is_no_token(serve: Callable[..., Any]) -> None:
    served = serve()
    assert served.view.url == f"http://127.0.0.1:{served.port}/"
    assert served.ask("/").status == 200


def test_in_the_network_nothing_comes_without_the_token(serve: Callable[..., Any]) -> None:
    served = serve(EVERYWHERE)
    for given in ("", "?token=", "?token=wrong", "?token=%FF"):
        assert {path: served.ask(path + given).status for path in PATHS} == dict.fromkeys(PATHS, 401)


def test_nothing_can_be_changed_without_the_token(serve: Callable[..., Any]) -> None:
    served = serve(EVERYWHERE)
    assert served.ask("/controls", "POST", {"paused": True}).status == 401
    assert not served.controls.paused


def test_each_run_has_a_token_of_its_own(serve: Callable[..., Any]) -> None:
    tokens = {token_of(serve(EVERYWHERE)) for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= LEAST_CHARS for token in tokens)


def test_the_page_moves_the_token_from_the_address_into_a_cookie(serve: Callable[..., Any]) -> None:
    served = serve(EVERYWHERE)
    answer = served.ask(f"/?token={token_of(served)}")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert served.ask("/", Cookie=cookie.partition(";")[0]).status == 200


def test_monitors_give_the_token_in_a_header_or_the_address(serve: Callable[..., Any]) -> None:
    served = serve(EVERYWHERE)
    token = token_of(served)
    assert served.ask("/metrics", Authorization=f"Bearer {token}").status == 200
    assert served.ask(f"/metrics?token={token}").status == 200
    assert served.ask("/metrics", Authorization=f"Basic {token}").status == 401
    assert served.ask("/metrics", Cookie=f"edgestill_1={token}").status == 401  # of another port


def test_a_probe_needs_no_token_and_learns_no_names(
    serve: Callable[..., Any], make_result: Callable[..., Any]
) -> None:
    served = serve(EVERYWHERE)
    served.sink.write(make_result(), None)
    assert served.ask("/healthz").json() == {"status": "ok"}
    assert served.ask(f"/healthz?token={token_of(served)}").json() == {
        "status": "ok",
        "sources": {"cam": "ok"},
    }


def test_a_name_that_is_made_to_point_at_loopback_reads_nothing(serve: Callable[..., Any]) -> None:
    served = serve()
    foreign = ("evil.example", "evil.example:80", "192.0.2.7", "", "[", "[::2]", "localhost.evil.example")
    assert {host: served.ask("/state", Host=host).status for host in foreign} == dict.fromkeys(foreign, 403)


def test_a_tunnel_may_have_another_port(serve: Callable[..., Any]) -> None:
    served = serve()
    own = ("localhost", "localhost:9000", "127.0.0.1", "[::1]:80")
    assert {host: served.ask("/state", Host=host).status for host in own} == dict.fromkeys(own, 200)


def test_a_page_of_another_site_changes_nothing(serve: Callable[..., Any]) -> None:
    served = serve()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        assert served.ask("/controls", "POST", {"paused": True}, Origin=origin).status == 403
    assert not served.controls.paused


def test_the_own_page_may(serve: Callable[..., Any]) -> None:
    served = serve()
    own = f"http://127.0.0.1:{served.port}"
    assert served.ask("/controls", "POST", {"paused": True}, Origin=own).status == 200
    assert served.controls.paused


def test_every_answer_has_the_security_headers(serve: Callable[..., Any]) -> None:
    served = serve()
    for path in ("/", "/state", "/gone", "/healthz"):
        headers = served.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_a_service_keeps_its_token_over_restarts(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "a-token_of-Sixteen0")
    assert token_of(serve(EVERYWHERE)) == "a-token_of-Sixteen0"


@pytest.mark.parametrize(
    "token", ["", "short", "a" * 15, "with space in it ok", "ü" * 20, "a&token=bbbbbbbbbbb"]
)
def test_a_token_that_is_weak_or_fits_no_address_is_refused(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    with pytest.raises(UsageError, match="at least 16"):
        make_token()
