"""`tickhouse symbols refresh`: add symbols to the seed of names, sectors and exchanges."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

from app.errors import TickhouseError
from app.feeds.clock import SteadyClock
from app.feeds.finnhub.profiles import UNKNOWN, Profile
from app.feeds.finnhub.vendor import Finnhub
from app.feeds.live.symbols import wanted_symbols
from app.feeds.vendor import KeyRejected, RequestError
from app.market.symbols import SymbolClass, symbol_class
from app.outputs import write_atomically
from app.settings import Settings, SettingsError, parse_symbols
from app.warehouse.transform import PROJECT

SEED = PROJECT / "seeds" / "symbols.csv"
_CLASS_SECTORS = {
    SymbolClass.CRYPTO: "Crypto",
    SymbolClass.FOREX: "Forex",
    SymbolClass.FUTURE: "Futures",
}


class SymbolRow(NamedTuple):
    """A row of the seed."""

    symbol: str
    name: str
    sector: str
    exchange: str
    symbol_class: str


class SeedError(TickhouseError):
    """The file of symbols cannot be read."""


class RefreshFailed(TickhouseError):
    """Finnhub gave no profile of some symbols; those that it gave are written."""


class Profiles(Protocol):
    """Where company profiles come from."""

    async def profile(self, symbol: str) -> Profile | None:
        """Return the profile of a symbol, None if it is unknown; raises `RequestError`."""


class Found(NamedTuple):
    """New rows of the seed, and the reason by symbol where the request failed."""

    rows: list[SymbolRow]
    failures: dict[str, str]


def run(settings: Settings, listed: Sequence[str], *, again: bool, file: Path = SEED) -> None:
    """Add the symbols that `file` lacks, and print what was found.

    :param listed: the symbols; by default those of the settings.
    :param again: ask for symbols that the file has, too.
    :raises SettingsError: a symbol is invalid, or there is no API key.
    :raises RefreshFailed: a symbol got no answer; the rows of the others are written.
    """
    try:
        symbols = parse_symbols(listed) if listed else wanted_symbols(settings)
    except ValueError as error:
        raise SettingsError(f"The symbols cannot be used: {error}.") from None
    rows = read_rows(file)
    wanted = [symbol for symbol in symbols if again or symbol not in rows]
    if not wanted:
        print(f"{file.name} has all {len(symbols)} symbols")
        return
    if not settings.finnhub_keys and any(map(_has_profile, wanted)):
        raise SettingsError(
            f"FINNHUB_API_KEY is not set: the profiles of {', '.join(wanted)} come from Finnhub. "
            "Set the key, or add the symbols to the file by hand."
        )
    profiles = Finnhub(settings).profiles(SteadyClock(), Random())
    found = asyncio.run(find(wanted, profiles))
    if found.rows:
        write_rows(file, rows | {row.symbol: row for row in found.rows})
    for row in found.rows:
        print(f"{row.symbol}: {row.name}, {row.sector}, {row.exchange}, {row.symbol_class}")
    if found.failures:
        listed_failures = "; ".join(f"{symbol}: {why}" for symbol, why in found.failures.items())
        raise RefreshFailed(
            f"{len(found.failures)} of {len(wanted)} symbols got no profile, the others are in "
            f"{file}. {listed_failures}. Run the command again for the rest."
        )


async def find(symbols: Iterable[str], profiles: Profiles) -> Found:
    """Make the rows of `symbols`; only stocks have a company profile.

    A rejected API key ends the search, as every further request would fail.
    """
    rows, failures = list[SymbolRow](), dict[str, str]()
    for symbol in symbols:
        try:
            profile = await profiles.profile(symbol) if _has_profile(symbol) else None
        except RequestError as error:
            failures[symbol] = str(error)
            if isinstance(error, KeyRejected):
                break
            continue
        rows.append(_row(symbol, profile))
    return Found(rows, failures)


def _has_profile(symbol: str) -> bool:
    return symbol_class(symbol) is SymbolClass.US_STOCK


def _row(symbol: str, profile: Profile | None) -> SymbolRow:
    of = symbol_class(symbol)
    if profile is None:
        venue, colon, _ = symbol.partition(":")
        exchange = venue if colon and of is not SymbolClass.OTHER else UNKNOWN
        profile = Profile(symbol, _CLASS_SECTORS.get(of, UNKNOWN), exchange)
    name = symbol if profile.name == UNKNOWN else profile.name
    return SymbolRow(symbol, name, profile.sector, profile.exchange, of.value)


def read_rows(file: Path) -> dict[str, SymbolRow]:
    """The rows of the seed by symbol.

    :raises SeedError: it is missing, or has other columns.
    """
    try:
        lines = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
    except OSError as error:
        raise SeedError(f"The file of symbols {file} cannot be read: {error.strerror}.") from None
    if not lines or tuple(lines[0]) != SymbolRow._fields or any(len(line) != 5 for line in lines):
        raise SeedError(
            f"The file of symbols {file} must have the columns {', '.join(SymbolRow._fields)} in "
            "every line. Correct it, or restore it with git."
        )
    return {line[0]: SymbolRow(*line) for line in lines[1:]}


def write_rows(file: Path, rows: Mapping[str, SymbolRow]) -> None:
    """Write the seed, sorted by symbol."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([SymbolRow._fields, *(rows[symbol] for symbol in sorted(rows))])
    write_atomically(file, text.getvalue())
