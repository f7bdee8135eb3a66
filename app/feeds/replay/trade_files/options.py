"""What a user states about a trade file: its format, columns, symbol and order."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from app.errors import TickhouseError
from app.feeds.replay.trade_files.conditions import CONDITION_TABLES
from app.market.symbols import CRYPTO_VENUES, FOREX_VENUES, SYMBOL_RULE, is_symbol

REQUIRED = ("symbol", "t", "p", "v")
OPTIONAL = ("seq", "c", "id")
TIME_UNITS = ("s", "ms", "us", "ns", "iso")
HINT = (
    "Trade files have the columns symbol, t, p, v and optionally seq, c, id; `tickhouse formats` "
    "lists other formats for --format, and --map names the columns of any other file."
)


class TradeFileError(TickhouseError):
    """A trade file cannot be read."""


class OptionError(TradeFileError):
    """An option that describes a trade file is invalid."""

    exit_code = 2


class ColumnOption(NamedTuple):
    """One part of `--map`: a column of the file, and what its values are."""

    column: str
    detail: str | None
    """The unit or the time zone of t, the factor of p and v, or the condition codes of c."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a trade file; what is not given is detected.

    :ivar format: the name of a preset.
    :ivar columns: the file's columns by this project's names.
    :ivar symbol: the symbol of all rows.
    :ivar market: the venue of symbols that have none, such as BINANCE; None for US stocks.
    :ivar sort: whether to sort the trades by time.
    """

    format: str | None = None
    columns: dict[str, ColumnOption] = field(default_factory=dict)
    symbol: str | None = None
    market: str | None = None
    sort: bool = False


def read_options(
    format: str | None = None,
    map: str | None = None,
    symbol: str | None = None,
    market: str | None = None,
    sort: bool = False,
) -> ReadOptions:
    """Check the options of the command line.

    :param map: for example `t=time:us,p=price,v=qty`.
    :param market: us_stock, crypto, forex, or the name of a venue.
    :raises OptionError: an option is invalid.
    """
    if symbol is not None:
        symbol = symbol.strip().upper()
        if not is_symbol(symbol):
            raise OptionError(f"--symbol {symbol[:64]!r} is not a symbol, which has {SYMBOL_RULE}.")
    return ReadOptions(format, _columns(map), symbol, _venue(market), sort)


def _columns(map: str | None) -> dict[str, ColumnOption]:
    columns: dict[str, ColumnOption] = {}
    for part in (map or "").split(","):
        if not part.strip():
            continue
        ours, equals, theirs = part.strip().partition("=")
        ours = ours.strip()
        if not equals or not theirs.strip() or ours not in (*REQUIRED, *OPTIONAL):
            raise OptionError(
                f"--map {part.strip()!r} is not one of {', '.join((*REQUIRED, *OPTIONAL))}, =, and "
                "a column of the file by name or number, as in --map t=time:us,p=price,v=qty."
            )
        column, _, detail = theirs.strip().partition(":")
        columns[ours] = ColumnOption(column.strip(), _detail(ours, detail.strip() or None))
    return columns


def _detail(ours: str, detail: str | None) -> str | None:
    if detail is None:
        return None
    if ours == "t" and (detail in TIME_UNITS or _is_zone(detail)):
        return detail
    if ours in "pv" and _is_factor(detail):
        return detail
    if ours == "c" and detail in CONDITION_TABLES:
        return detail
    wanted = {
        "t": f"{', '.join(TIME_UNITS)} or a time zone such as America/New_York",
        "p": "a factor such as 1e-4",
        "v": "a factor such as 1e-4",
        "c": ", ".join(CONDITION_TABLES),
    }.get(ours)
    raise OptionError(
        f"--map {ours}=…:{detail}: after the colon stands {wanted}."
        if wanted
        else f"--map {ours}=…:{detail}: {ours} takes nothing after a colon."
    )


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_factor(text: str) -> bool:
    try:
        factor = Decimal(text)
    except InvalidOperation:
        return False
    return factor.is_finite() and factor > 0


def _venue(market: str | None) -> str | None:
    if market is None or market.lower() in ("us_stock", "us"):
        return None
    if market.upper() in {"CRYPTO", "FOREX", *CRYPTO_VENUES, *FOREX_VENUES}:
        return market.upper()
    raise OptionError(
        f"--market {market} is unknown; it is us_stock, crypto, forex or a venue: "
        f"{', '.join(sorted(CRYPTO_VENUES | FOREX_VENUES)).lower()}."
    )
