"""The delivery log: what was sent on which connection, and how much was confirmed as read."""

from __future__ import annotations

from contextlib import ExitStack
from io import BufferedRandom
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct

from app.feeds.simulator.faults.kinds import AnyFault
from app.outputs import OutputError, lock_output

MAX_RAW = 200_000
"""Of a longer frame the log only holds the beginning; frames that large are always broken."""
_LONGEST_LINE = 10 * MAX_RAW

_encode = msgspec.json.Encoder().encode


class Began(Struct, tag_field="what", tag="fault"):
    """A fault of the script begins."""

    at_ms: int
    fault: AnyFault


class HandshakeRejected(Struct, tag_field="what", tag="rejected"):
    """A handshake was answered with this HTTP status."""

    at_ms: int
    status: int


class Opened(Struct, tag_field="what", tag="opened"):
    """A handshake succeeded. `key` is the number of the API key, which the log does not hold."""

    at_ms: int
    connection: int
    key: int


class Subscribed(Struct, tag_field="what", tag="subscribed"):
    """The connection is sent the trades of `symbol` from now on."""

    at_ms: int
    connection: int
    symbol: str


class Unsubscribed(Struct, tag_field="what", tag="unsubscribed"):
    """The connection is no longer sent the trades of `symbol`."""

    at_ms: int
    connection: int
    symbol: str


class Sent(Struct, tag_field="what", tag="sent", omit_defaults=True):
    """A frame was passed to the network.

    :ivar frame: number of the frame in its connection, counting frames of any kind from 1.
    :ivar raw: the frame, or its beginning if it is longer than `MAX_RAW`.
    :ivar fault: the kind of the fault that caused it, if any.
    :ivar repeat: whether a fault repeats what was sent before, so that no trade of it is new.
    :ivar broken: whether nothing of the frame can be parsed.
    :ivar bad: indices of the entries that are not trades.
    :ivar unseen: indices of genuine trades that the identity rules take for repeats.
    :ivar doubled: indices of repeated trades that the identity rules take for new ones.
    """

    at_ms: int
    connection: int
    frame: int
    raw: str
    fault: str = ""
    repeat: bool = False
    broken: bool = False
    bad: list[int] = []
    unseen: list[int] = []
    doubled: list[int] = []


class Arrived(Struct, tag_field="what", tag="arrived"):
    """A pong confirmed that the client has read every frame up to and including `frame`."""

    at_ms: int
    connection: int
    frame: int


class Silent(Struct, tag_field="what", tag="silent"):
    """The connection stays open but is sent no trades; `fault` is stall or half-open."""

    at_ms: int
    connection: int
    fault: str


class Resumed(Struct, tag_field="what", tag="resumed"):
    """A stall is over."""

    at_ms: int
    connection: int


class Ended(Struct, tag_field="what", tag="ended"):
    """The connection ended. Frames after the last `Arrived` may have been read or not."""

    at_ms: int
    connection: int


Delivery = (
    Began
    | HandshakeRejected
    | Opened
    | Subscribed
    | Unsubscribed
    | Sent
    | Arrived
    | Silent
    | Resumed
    | Ended
)

_decode = msgspec.json.Decoder(Delivery).decode


class DeliveryLog:
    """Writes the deliveries of a run to a file, one JSON object per line.

    The log of a previous run stays in the file until this one begins.

    :raises OutputError: the file cannot be written, is being written by another process, or is not
        a delivery log.
    """

    def __init__(self, path: Path) -> None:
        self._begun = False
        try:
            self._file = _opened(path)
        except OSError as error:
            raise OutputError(
                f"The delivery log {path} cannot be written: {error.strerror}. Name another file."
            ) from None

    def begin(self) -> None:
        """Remove the log of a previous run, unless this run has already written to the file."""
        if not self._begun:
            self._file.truncate(0)
            self._begun = True

    def record(self, delivery: Delivery) -> None:
        self.begin()
        self._file.write(_encode(delivery) + b"\n")

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
    """Return every delivery of a log in order, without an incomplete last line."""
    with path.open("rb") as lines:
        return [_decode(line) for line in lines if line.endswith(b"\n")]


def _opened(path: Path) -> BufferedRandom:
    with ExitStack() as stack:
        file = stack.enter_context(path.open("ab+"))
        lock_output(file, path)
        file.seek(0)
        if not _is_delivery(file.readline(_LONGEST_LINE)):
            raise OutputError(
                f"{path} is no delivery log; it is not overwritten. Remove it, or name another "
                "file."
            )
        stack.pop_all()
    return file


def _is_delivery(line: bytes) -> bool:
    """Return whether a file that begins with `line` is a delivery log, or empty."""
    try:
        return not line or bool(_decode(line))
    except msgspec.DecodeError:
        return False
