"""What every source of stocks-topic checks before it sends: its feed, its name, its lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.contracts import FeedName
from app.errors import TickhouseError
from app.settings import Settings


class SourceError(TickhouseError):
    """A source must not, or cannot, send."""


def check_feed(settings: Settings, *feeds: FeedName) -> None:
    """Stop a source of one of `feeds` in a namespace that holds another.

    :raises SourceError: the feeds differ.
    """
    if settings.tickhouse_feed in feeds:
        return
    namespace = settings.tickhouse_namespace or "(the default one)"
    raise SourceError(
        f"The namespace {namespace} holds the feed {settings.tickhouse_feed} (TICKHOUSE_FEED), "
        f"this source is {' or '.join(feeds)}, and feeds are never mixed. Set "
        f"TICKHOUSE_FEED={feeds[0]} together with a TICKHOUSE_NAMESPACE of its own."
    )


def source_name(settings: Settings) -> str:
    """The stable name of the producer of this data folder on this machine."""
    mark = hashlib.sha256(str(settings.home).encode()).hexdigest()[:6]
    return f"{socket.gethostname()}-{mark}"


@contextmanager
def only_one(settings: Settings, name: str) -> Iterator[None]:
    """Hold the data folder's lock `name` for as long as the block runs.

    :raises SourceError: another process holds it.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    path = settings.home / f"{name}.lock"
    with Path(path).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SourceError(
                f"Another `tickhouse {name}` (process {file.read().strip() or 'unknown'}) already "
                f"runs on the data folder {settings.home}. Stop it, or give this one a "
                "TICKHOUSE_NAMESPACE of its own."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
