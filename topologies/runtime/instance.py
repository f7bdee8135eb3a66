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
    """The number is claimed by a running worker."""


class Instance(NamedTuple):
    """A claimed number and its state folder."""

    number: int
    folder: Path

    def transactional_id(self, group: str) -> str:
        """Unique to this worker: group, host and number."""
        return f"{group}-{socket.gethostname()}-{self.number}"


@contextmanager
def claim_instance(folder: Path, wanted: int | None) -> Iterator[Instance]:
    """Claim `wanted`, or the first free number, by a lock that is released with the process.

    :raises InstanceError: the wanted number is taken, or all are.
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
