"""Who may use the web view: a token in the network, and on loopback nothing but pages of this machine.

A page of another site, open in a browser on this machine, can send requests to a loopback address; with a
host name that points there (DNS rebinding) it can also read the answers. So requests must name this machine,
and changes must come from the view's own page.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgestill.demo.web.web_address import is_loopback
from edgestill.errors import UsageError

TOKEN_VARIABLE = "EDGESTILL_WEB_TOKEN"
LEAST_CHARS = 16
COOKIE_S = 30 * 24 * 3600
#: Without a token this path tells whether the run is well, and nothing else.
PROBE = "/healthz"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def make_token() -> str:
    """The token of ``EDGESTILL_WEB_TOKEN``, or a random one.

    Raises:
        UsageError: The variable holds a token that can be guessed, or that no address can hold.
    """
    given = os.environ.get(TOKEN_VARIABLE)
    if given is None:
        return secrets.token_urlsafe(16)
    if len(given) < LEAST_CHARS or not (
        given.isascii() and given.replace("-", "").replace("_", "").isalnum()
    ):
        raise UsageError(
            f"{TOKEN_VARIABLE} is not a token of at least {LEAST_CHARS} letters, digits, - and _",
            hint="python3 -c 'import secrets; print(secrets.token_urlsafe(16))'",
        )
    return given


class Guard:
    """ASGI middleware that lets through who may, and adds the security headers to every answer.

    ``scope["is_known"]`` tells the application whether the sender has the token, or needs none.

    Args:
        app: The application.
        token: What a sender must have; None for a view on loopback.
        port: Part of the cookie's name, as cookies are not separated by port.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, port: int) -> None:
        self._app, self._token, self._cookie = app, token, f"edgestill_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] == "http":
            answer = self._refusal(scope) or self._app
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the application; None if the request may pass."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if scope["method"] not in {"GET", "HEAD"} and not _is_own_page(headers, host):
            return PlainTextResponse("This request comes from another site.\n", 403)
        token = self._token
        if token is None:
            scope["is_known"] = True
            if not is_loopback(_name(host)):
                return PlainTextResponse("Open this page as localhost or 127.0.0.1.\n", 403)
            return None
        in_query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        has_query = _same(in_query, token)
        scope["is_known"] = has_query or any(_same(given, token) for given in self._tokens(headers))
        if has_query and scope["path"] == "/":
            return self._welcome(token)
        if scope["is_known"] or scope["path"] == PROBE:
            return None
        return PlainTextResponse("Open the address that edgestill run has printed: it has the token.\n", 401)

    def _tokens(self, headers: Headers) -> list[str]:
        """What the sender gives as its token in headers."""
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        return [cookie.value if cookie else "", bearer.strip() if scheme.casefold() == "bearer" else ""]

    def _welcome(self, token: str) -> Response:
        """Move the token from the address, which browsers keep and people share, into a cookie."""
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, token, max_age=COOKIE_S, httponly=True, samesite="lax")
        return answer


def _same(given: str, token: str) -> bool:
    """Whether they are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _is_own_page(headers: Headers, host: str) -> bool:
    """Whether a request comes from our page, or from a program; browsers tell the page's origin."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == host


def _name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
