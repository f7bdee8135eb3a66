"""Which hosts a call may reach."""

from __future__ import annotations

import pytest

from app.hosts import origin_of, takes_proxy

URL = "https://finnhub.io/api/v1"


@pytest.mark.parametrize("url", ["https://finnhub.io/api/v1", "wss://ws.finnhub.io"])
def test_what_is_encrypted_may_go_through_a_proxy(url: str) -> None:
    assert takes_proxy(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://finnhub.io/api/v1",
        "ws://ws.finnhub.io",
        "http://127.0.0.1:8060/api/v1",
        "https://127.0.0.1:8060/api/v1",
        "https://127.0.0.2",
        "https://[::1]:9000",
        "wss://localhost",
        "wss://LOCALHOST:1",
    ],
)
def test_what_a_proxy_could_read_and_what_stays_on_this_machine_does_not(url: str) -> None:
    assert not takes_proxy(url)


@pytest.mark.parametrize(
    ("location", "origin"),
    [
        ("https://evil.example/path?token=marker#marker", "https://evil.example"),
        ("http://user:marker@evil.example:8080/", "http://evil.example:8080"),
        ("//evil.example/marker", "https://evil.example"),
        ("/other/marker", "https://finnhub.io"),
        ("wss://[::1]:9/marker", "wss://[::1]:9"),
        ("", "https://finnhub.io"),
        ("http://[marker", "no address"),
        ("javascript:marker", "no address"),
        ("http://evil.example<marker>/", "no address"),
    ],
)
def test_of_a_redirect_only_the_origin_is_named(location: str, origin: str) -> None:
    assert origin_of(location, URL) == origin
