"""Claim an instance number, so that no two workers share a state folder or transactional id."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.errors import TickhouseError
from app.file_lock import try_lock

MAX_INSTANCES = 100


class InstanceError(TickhouseError):
    """The requested instance number, or every number, is in use by a running worker."""


class Instance(NamedTuple):
    """A claimed instance number and its state folder."""

    number: int
    folder: Path

    def transactional_id(self, group: str) -> str:
        """Return the worker's unique transactional id, made of group, host and number."""
        return f"{group}-{socket.gethostname()}-{self.number}"


@contextmanager
def claim_instance(folder: Path, wanted: int | None) -> Iterator[Instance]:
    """Claim the number `wanted`, or the first free one, for the duration of the block.

    The claim is a file lock, so the system also releases it when the process is killed.

    :raises InstanceError: the wanted number, or every number, is in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(MAX_INSTANCES) if wanted is None else [wanted]
    for number in numbers:
        with (folder / f"{number}.lock").open("w") as lock:
            if try_lock(lock):
                yield Instance(number, folder / str(number))
                return
    if wanted is None:
        raise InstanceError(f"All {MAX_INSTANCES} instance numbers in {folder} are taken.")
    raise InstanceError(
        f"Another worker runs as instance {wanted} in {folder}: give this one another "
        "TICKHOUSE_INSTANCE, or none, and it takes the first free number."
    )
