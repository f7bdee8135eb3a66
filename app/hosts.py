"""Hosts that requests may be sent to: the configured one, through no proxy that can read them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urljoin, urlsplit

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}")


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def takes_proxy(url: str) -> bool:
    """Whether a request to `url` may use a proxy: it leaves this machine and is encrypted.

    A proxy could read the keys of an unencrypted request.
    """
    parts = urlsplit(url)
    return parts.scheme in ("https", "wss") and not is_loopback(parts.hostname or "")


def origin_of(location: str, url: str) -> str:
    """Scheme, host and port that a redirect of `url` to `location` points to, without the path.

    :param location: the header `Location`, absolute or relative to `url`.
    """
    try:
        parts = urlsplit(urljoin(url, location))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{host}" if parts.scheme and _HOST.fullmatch(host) else "no address"
