"""Ports on loopback: find free ones, remember them for the next start, and probe them."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from app.embedded.process import EmbeddedError
from app.outputs import write_atomically

LOOPBACK = "127.0.0.1"
RANGE = range(15_000, 32_000)
"""Below the ephemeral port range, from which outgoing connections get their ports."""
_ATTEMPTS = 200


def bind(port: int) -> socket.socket:
    """Bind a socket to `port` on loopback.

    :raises OSError: another process uses the port.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, port))
        holder.listen(1)
    except OSError:
        holder.close()
        raise
    return holder


def is_free(port: int) -> bool:
    try:
        bind(port).close()
    except OSError:
        return False
    return True


def listens(port: int) -> bool:
    """Return whether a process accepts connections at `port`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def get_json(url: str) -> dict[str, Any] | None:
    """Return the JSON that a server on this machine returns; None while it does not answer."""
    try:
        answer = httpx2.get(url, timeout=2, trust_env=False)
        value: dict[str, Any] = answer.raise_for_status().json()
    except (httpx2.HTTPError, ValueError):
        return None
    return value


def free_ports(
    count: int, preferred: Sequence[int] = (), rng: random.Random | None = None
) -> list[int]:
    """Find `count` different free ports, preferring those of `preferred`, each at its index.

    :raises EmbeddedError: no free port was found.
    """
    rng = rng or random.SystemRandom()
    with contextlib.ExitStack() as held:
        preferences = [[port] if port else [] for port in [*preferred, *[0] * count][:count]]
        return [_hold(held, preference, rng) for preference in preferences]


def _hold(held: contextlib.ExitStack, preferred: Sequence[int], rng: random.Random) -> int:
    for port in [*preferred, *rng.sample(RANGE, _ATTEMPTS)]:
        try:
            holder = bind(port)
        except OSError:
            continue
        held.callback(holder.close)
        return port
    raise EmbeddedError(
        "No free port was found on 127.0.0.1; stop processes that use them and try again."
    )


def remembered_ports(
    file: Path, names: Sequence[str], defaults: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Find a free port for each of `names`, preferring those stored in `file`; store the result.

    :param defaults: preferred ports of names that `file` does not have.
    """
    remembered = {**(defaults or {}), **(json.loads(file.read_text()) if file.exists() else {})}
    preferred = [int(remembered.get(name, 0)) for name in names]
    chosen = dict(zip(names, free_ports(len(names), preferred), strict=True))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(chosen, indent=2))
    return chosen
