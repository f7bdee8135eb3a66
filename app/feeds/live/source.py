"""Checks that every source of stocks-topic makes before it sends: feed, name and locks."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from app.contracts import FeedName
from app.errors import TickhouseError
from app.file_lock import try_lock
from app.folders import FolderError, cache_folder
from app.settings import Settings


class SourceError(TickhouseError):
    """A source must not, or cannot, send."""


def check_feed(settings: Settings, *feeds: FeedName) -> None:
    """Check that the namespace holds one of `feeds`.

    :raises SourceError: it holds another feed.
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
    """Return the stable name of the producer that uses this data folder on this machine."""
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:6]
    return f"{socket.gethostname()}-{digest}"


@contextmanager
def only_one(settings: Settings, name: str) -> Iterator[None]:
    """Hold the lock `name` of the data folder while the block runs.

    :raises SourceError: another process holds it.
    """
    path = settings.home / f"{name}.lock"
    with _locked(
        path,
        lambda holder: (
            f"Another `tickhouse {name}` (process {holder}) already runs on the data folder "
            f"{settings.home}. Stop it, or give this one a TICKHOUSE_NAMESPACE of its own."
        ),
    ):
        yield


@contextmanager
def only_user(settings: Settings) -> Iterator[None]:
    """Hold a lock per API key, within this user's processes, while the block runs.

    A key may open only one connection: Finnhub closes both if a second one is opened.

    :raises SourceError: another process uses one of the keys.
    """
    folder = _key_locks(settings)
    host = urlsplit(settings.finnhub_websocket_url).netloc
    with ExitStack() as stack:
        for number, key in enumerate(settings.finnhub_keys, start=1):
            digest = hashlib.sha256(f"{host} {key}".encode()).hexdigest()[:16]
            stack.enter_context(
                _locked(
                    folder / f"{digest}.lock",
                    lambda holder, number=number: (  # type: ignore[misc]
                        f"Key {number} of FINNHUB_API_KEY is used by process {holder} already, and "
                        "a key may open one connection only. Stop that process, or use another key."
                    ),
                )
            )
        yield


def _key_locks(settings: Settings) -> Path:
    """Return the folder shared by all data folders of the user, if there can be one."""
    try:
        folder = cache_folder() / "keys"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, FolderError):  # a container's user has no home folder
        folder = settings.tickhouse_data_dir / "keys"
    return folder


@contextmanager
def _locked(path: Path, taken: Callable[[str], str]) -> Iterator[None]:
    """Hold the lock `path`; `taken` returns the error text if another process holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise SourceError(f"The lock {path} cannot be made: {error.strerror}.") from None
    with file:
        if not try_lock(file):
            file.seek(0)
            raise SourceError(taken(file.read().strip() or "unknown"))
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
