"""Decide which hosts and proxies a call may reach: only the configured host, and no proxy that
could read it.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urljoin, urlsplit

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}")


def is_loopback(host: str) -> bool:
    """Return whether `host` is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def takes_proxy(url: str) -> bool:
    """Return whether a call to `url` may use a proxy: it leaves this machine, and is encrypted.

    A proxy could read the API keys of an unencrypted call.
    """
    parts = urlsplit(url)
    return parts.scheme in ("https", "wss") and not is_loopback(parts.hostname or "")


def origin_of(location: str, url: str) -> str:
    """Return scheme, host and port of the target of a redirect, and nothing else of it.

    :param location: the header `Location`, absolute or relative to `url`.
    """
    try:
        parts = urlsplit(urljoin(url, location))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{host}" if parts.scheme and _HOST.fullmatch(host) else "no address"
