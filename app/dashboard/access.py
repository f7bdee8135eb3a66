"""Access to the page by a token, for addresses that other machines can reach."""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "tickhouse_token"
PARAMETER = "token"
OPEN_PATHS = frozenset({"/healthz"})


class RequireToken:
    """Middleware: answers 401 to requests without the token.

    Programs send `Authorization: Bearer TOKEN`. A browser opens the page once with `?token=TOKEN`;
    it gets a cookie, and is redirected to the same address without the token, also when it has the
    cookie already: an address with a token might be sent to somebody. `/healthz` is open.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == PARAMETER), "")
        if scope["method"] == "GET" and self._is_token(given):
            rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
            answer = RedirectResponse(scope["path"] + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, given, httponly=True, samesite="strict")
            await answer(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._is_token(_bearer(headers)) or self._is_token(_cookie(headers)):
            await self._app(scope, receive, send)
            return
        unauthorized = PlainTextResponse(
            "This page needs its token: open it once with ?token=…, the value of DASHBOARD_TOKEN, "
            "or send it as Authorization: Bearer.\n",
            401,
            headers={"www-authenticate": "Bearer"},
        )
        await unauthorized(scope, receive, send)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)


def is_same_origin(headers: Headers) -> bool:
    """Whether a request that changes something is of the page itself, or of no browser.

    Without a token any page that the browser shows could send it otherwise. Old browsers send no
    Sec-Fetch-Site, and programs no Origin either.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _bearer(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
