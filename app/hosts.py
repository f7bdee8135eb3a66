"""Decide which hosts and proxies a call may reach: only the configured host, and no proxy that
could read it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import MutableMapping
from urllib.parse import urljoin, urlsplit

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}")


LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine: a name or an address of its loopback interface."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.startswith("127.") and not name.strip("0123456789.")  # short forms: 127.1
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Except loopback from the proxies that `environment` names, keeping its other exceptions.

    Libraries read `no_proxy` or `NO_PROXY`, in either order, so both get the same value: that of
    `no_proxy` if it is set, extended by `LOOPBACK_NAMES`.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    names = [name for part in given.split(",") if (name := part.strip())]
    hosts = names if "*" in names else dict.fromkeys([*names, *LOOPBACK_NAMES])
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)


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
