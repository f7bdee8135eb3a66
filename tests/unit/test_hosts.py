"""Which hosts a call may reach."""

from __future__ import annotations

import subprocess
import sys

import pytest

from app.hosts import is_loopback, keep_loopback_direct, origin_of, takes_proxy
from tests.recording_host import RecordingHost

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


@pytest.mark.parametrize(
    "host",
    [
        *("LOCALHOST", "localhost.", "a.localhost", "127.1", "127.9.9.9"),
        *("::1", "::ffff:127.0.0.1"),
    ],
)
def test_every_name_of_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example", "128.0.0.1", "127.example", "10.0.0.1", "0.0.0.0", "::"]
)
def test_other_hosts_are_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": "a.example, .b"}, "a.example,.b,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a.example"}, "a.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "lower", "NO_PROXY": "UPPER"}, "lower,localhost,127.0.0.1,::1"),
        ({"no_proxy": "127.0.0.1"}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_loopback_is_excepted_from_proxies_in_both_spellings(
    given: dict[str, str], expected: str
) -> None:
    environment = dict(given)
    keep_loopback_direct(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == expected


_ALL_LIBRARIES = """
import os, sys, urllib.request
from app.hosts import keep_loopback_direct
keep_loopback_direct(os.environ)
import boto3, httpx2, requests, urllib3
from botocore.exceptions import ClientError
from snowflake.connector.vendored import requests as of_snowflake
url = sys.argv[1]
urllib.request.urlopen(url)
requests.get(url)
of_snowflake.get(url)
httpx2.get(url)
boto3.client("s3", endpoint_url=url, region_name="x", aws_access_key_id="x",
             aws_secret_access_key="x").get_object(Bucket="b", Key="k")["Body"].read()
"""


def test_with_http_proxy_set_no_library_reaches_loopback_through_it(proxy: RecordingHost) -> None:
    with RecordingHost(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as host:
        for name in ("127.0.0.1", "localhost"):
            url = f"http://{name}:{host.address.rpartition(':')[2]}/"
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _ALL_LIBRARIES, url],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        assert len(host.received()) == 10
    assert proxy.received() == []
