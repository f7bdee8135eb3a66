"""The kinds of faults and their parameters, parsed from a fault script.

Times are seconds on the simulator's clock from its start. A fault is written
`stall:at=30,for=20,pings=false` on the command line, or as a table of a TOML file:

    [[fault]]
    kind = "stall"
    at = 30
    for = 20
    pings = false
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from app.errors import TickhouseError

Seconds = Annotated[float, Meta(ge=0, le=86_400_000)]
Length = Annotated[float, Meta(gt=0, le=86_400_000)]
Share = Annotated[float, Meta(gt=0, le=1)]
FullSeconds = Annotated[int, Meta(ge=0, le=86_400)]


class FaultError(TickhouseError):
    """A fault cannot be parsed."""

    exit_code = 2


class Fault(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=str.lower
):
    """A fault that begins at `at_s`. Without a duration it ends at once."""

    at_s: Seconds = field(name="at")

    @property
    def end_s(self) -> float:
        """When it ends, in seconds on the simulator's clock."""
        return self.at_s


class Lasting(Fault, frozen=True, kw_only=True):
    """A fault that lasts for `length_s`."""

    length_s: Length = field(name="for")

    @property
    def end_s(self) -> float:
        return self.at_s + self.length_s


class Sampled(Lasting, frozen=True, kw_only=True):
    """A lasting fault that affects a share of the data."""

    share: Share = 1.0


# --- faults of the market: every connection receives the same


class Late(Sampled, frozen=True, kw_only=True):
    """A share of the prints is reported `least` to `most` seconds after its trade."""

    share: Share = 0.05
    least_s: Seconds = field(default=2.0, name="least")
    most_s: Seconds = field(default=120.0, name="most")


class ClockFault(Lasting, frozen=True, kw_only=True, tag="clock"):
    """The times of all trades are `by` seconds ahead (behind if negative); the Date is right."""

    by_s: Annotated[float, Meta(ge=-86_400, le=86_400)] = field(name="by")


class Stamp(Sampled, frozen=True, kw_only=True):
    """The trade times of a share of the symbols are `by` seconds ahead (behind if negative).

    The times of other symbols, and the server's own Date, are right.
    """

    share: Share = 0.3
    by_s: Annotated[float, Meta(ge=-864_000, le=864_000)] = field(name="by")


class Burst(Fault, frozen=True, kw_only=True):
    """A burst of `trades` trades, in addition to the others."""

    trades: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000


# --- faults of frames: each connection has its own


class Repeat(Sampled, frozen=True, kw_only=True):
    """A share of the frames is sent `times` times, as Finnhub's servers did in April 2020."""

    times: Annotated[int, Meta(ge=2, le=100)] = 3


class Disorder(Sampled, frozen=True, kw_only=True):
    """A share of the frames is held back for up to `within` seconds, and overtaken."""

    share: Share = 0.3
    within_s: Length = field(default=2.0, name="within")


class Drop(Sampled, frozen=True, kw_only=True):
    """A share of the frames is never sent."""

    share: Share = 0.1


class Truncate(Sampled, frozen=True, kw_only=True):
    """A share of the frames is cut off somewhere in the middle."""

    share: Share = 0.05


class Malform(Sampled, frozen=True, kw_only=True):
    """A share of the frames contains entries that are not trades, or is not a frame of trades."""

    share: Share = 0.05


class Huge(Fault, frozen=True, kw_only=True):
    """One frame of `size` bytes, without any entry that could be a trade."""

    size: Annotated[int, Meta(ge=100, le=200_000_000)] = field(default=10_000_000, name="bytes")


class Twin(Sampled, frozen=True, kw_only=True):
    """A share of the frames is followed by another with equal bytes: other trades, not a repeat."""

    share: Share = 0.02


# --- faults of connections: each ends or silences those that are open when it begins


class Close(Fault, frozen=True, kw_only=True):
    """Connections are closed, with a closing handshake (`farewell`) or without."""

    closing_handshake: bool = field(default=False, name="farewell")


class StallFault(Lasting, frozen=True, kw_only=True, tag="stall"):
    """Open connections bring no trades; pings continue, or not. New connections work."""

    pings: bool = True


class HalfOpen(Fault, frozen=True, kw_only=True, tag="half-open"):
    """The server abandons its connections without closing them: nothing is sent or read.

    New connections work.
    """


class Refuse(Lasting, frozen=True, kw_only=True):
    """Connections are closed, and handshakes are rejected with an HTTP status.

    Their `Retry-After` asks to try again `after` seconds later.
    """

    status: Annotated[int, Meta(ge=400, le=599)] = 502
    after_s: FullSeconds | None = field(default=None, name="after")


class Slow(Lasting, frozen=True, kw_only=True):
    """Connections are closed, and handshakes take `by` seconds longer."""

    by_s: Length = field(default=10.0, name="by")


# --- faults of REST calls


class RestRefuse(Sampled, frozen=True, kw_only=True, tag="rest-refuse"):
    """A share of the calls is answered with an HTTP status, and `Retry-After` as in `Refuse`."""

    status: Annotated[int, Meta(ge=400, le=599)] = 500
    after_s: FullSeconds | None = field(default=None, name="after")


class RestSlow(Sampled, frozen=True, kw_only=True, tag="rest-slow"):
    """A share of the calls is answered `by` seconds later."""

    by_s: Length = field(default=10.0, name="by")


class RestMalform(Sampled, frozen=True, kw_only=True, tag="rest-malform"):
    """A share of the calls is answered with invalid JSON, or with something not requested."""


class RestCut(Sampled, frozen=True, kw_only=True, tag="rest-cut"):
    """A share of the calls is not answered: the connection ends."""


AnyFault = (
    Late
    | ClockFault
    | Stamp
    | Burst
    | Repeat
    | Disorder
    | Drop
    | Truncate
    | Malform
    | Huge
    | Twin
    | Close
    | StallFault
    | HalfOpen
    | Refuse
    | Slow
    | RestRefuse
    | RestSlow
    | RestMalform
    | RestCut
)
EndsConnections = Close | Refuse | Slow
KINDS = tuple(sorted(kind.__struct_config__.tag for kind in AnyFault.__args__))


class _Script(Struct, forbid_unknown_fields=True):
    fault: list[AnyFault]


def parse_fault(text: str) -> AnyFault:
    """Parse a fault written as `KIND:NAME=VALUE,…`.

    :raises FaultError: it is not a fault.
    """
    kind, _, options = text.partition(":")
    fields: dict[str, Any] = {"kind": kind.strip()}
    for option in filter(None, (item.strip() for item in options.split(","))):
        name, equals, value = option.partition("=")
        if not equals:
            raise FaultError(f"The fault {text!r} has {option!r}; options read NAME=VALUE.")
        fields[name.strip()] = value.strip()
    try:
        fault: AnyFault = msgspec.convert(fields, AnyFault, strict=False)
    except msgspec.ValidationError as error:
        raise FaultError(f"{text!r} is not a fault: {error}. {_HINT}") from None
    return fault


def read_script(path: Path) -> list[AnyFault]:
    """Read the faults of a TOML file, in order.

    :raises FaultError: the file cannot be read, or holds something else.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), _Script).fault
    except OSError as error:
        raise FaultError(f"The script {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise FaultError(f"{path} is not a script of faults: {error}. {_HINT}") from None


_HINT = f"Kinds are {', '.join(KINDS)}; `tickhouse simulate --help` names the page on them."
