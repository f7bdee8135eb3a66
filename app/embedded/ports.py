"""Free ports on loopback, and remembering them so that a restart finds its clients again."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from app.embedded.process import EmbeddedError

LOOPBACK = "127.0.0.1"
RANGE = range(15_000, 32_000)
"""Below the range that systems take ports of outgoing connections from."""
_ATTEMPTS = 200


def bind(port: int) -> socket.socket:
    """A socket that holds `port` on loopback; OSError when another process has it."""
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


def free_ports(
    count: int, preferred: Sequence[int] = (), rng: random.Random | None = None
) -> list[int]:
    """`count` different free ports; each takes the port at its place in `preferred` if free.

    :raises EmbeddedError: no free port was found.
    """
    rng = rng or random.SystemRandom()
    with contextlib.ExitStack() as held:
        wishes = [[port] if port else [] for port in [*preferred, *[0] * count][:count]]
        return [_hold(held, wish, rng) for wish in wishes]


def _hold(held: contextlib.ExitStack, preferred: Sequence[int], rng: random.Random) -> int:
    for port in [*preferred, *rng.sample(RANGE, _ATTEMPTS)]:
        try:
            holder = bind(port)
        except OSError:
            continue
        held.callback(holder.close)
        return port
    raise EmbeddedError("No free port was found on 127.0.0.1; end what holds them and try again.")


def remembered_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """A free port for each of `names`: those noted in `file` where they are free; noted again."""
    noted = json.loads(file.read_text()) if file.exists() else {}
    preferred = [int(noted.get(name, 0)) for name in names]
    chosen = dict(zip(names, free_ports(len(names), preferred), strict=True))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(chosen, indent=2))
    return chosen
