"""The delivery log: what was truly sent to whom, and how much of it provably arrived."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec
from msgspec import Struct

from app.errors import TickhouseError


class Sent(Struct, tag_field="what", tag="sent"):
    """A frame was handed to the network; `frame` counts a connection's frames of any kind."""

    at_ms: int
    connection: int
    frame: int
    raw: str


class Arrived(Struct, tag_field="what", tag="arrived"):
    """A pong proved that the client has read every frame up to and with `frame`."""

    at_ms: int
    connection: int
    frame: int


class Ended(Struct, tag_field="what", tag="ended"):
    """The connection is gone; frames behind the last `Arrived` may have been read or not."""

    at_ms: int
    connection: int


Delivery = Sent | Arrived | Ended


class DeliveryLog:
    """Writes deliveries to a file, a JSON object a line.

    :raises TickhouseError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
        except OSError as error:
            raise TickhouseError(
                f"The delivery log {path} cannot be written: {error.strerror}. Name another file."
            ) from None

    def note(self, delivery: Delivery) -> None:
        self._file.write(msgspec.json.encode(delivery).decode() + "\n")

    def __enter__(self) -> DeliveryLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def read_deliveries(path: Path) -> list[Delivery]:
    """Every delivery that a log holds, in order."""
    decode = msgspec.json.Decoder(Delivery).decode
    return [decode(line) for line in path.read_bytes().splitlines()]
