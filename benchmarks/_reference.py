"""Compute the candles of a workload in SQL, sharing no code with what is measured."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from app.contracts import Candle, Message, Trades
from app.errors import TickhouseError
from benchmarks._workload import BASE, MINUTE_MS, SYMBOLS


class WrongCandlesError(TickhouseError):
    """A contestant's candles differ from the reference, so its figure is invalid."""


class ReferenceBar(NamedTuple):
    """A candle in cents and whole shares."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    notional: int
    trade_count: int


class Full(NamedTuple):
    """A bar, and the other fields that the topology promises of a candle."""

    bar: ReferenceBar
    open_time: int
    high_time: int
    low_time: int
    close_time: int
    odd_lot_count: int
    odd_lot_volume: int
    duplicate_count: int


Key = tuple[str, int]
"""Symbol and start of the minute."""

_BARS = """
with arrived as (
    select symbol, t, cents, size, odd, place, t // {minute} as minute,
        (t - {base}) * 100_000_000 + place as in_order,
        row_number() over (partition by symbol, t, cents, size, odd order by place) = 1 as is_new
    from prints
),
of_minutes as (
    select *,
        is_new and (not {by_tape} or not odd or not bool_or(not odd) over (
            partition by symbol, minute
        )) as is_price
    from arrived
)
select symbol, minute * {minute} as start,
    arg_min(cents, in_order) filter (is_price) as open,
    max(cents) filter (is_price) as high,
    min(cents) filter (is_price) as low,
    arg_max(cents, in_order) filter (is_price) as close,
    sum(size) filter (is_new) as volume,
    sum(cents * size) filter (is_new) as notional,
    count(*) filter (is_new) as trade_count,
    min(t) filter (is_price) as open_time,
    {base} + arg_max(t - {base}, cents * 100_000_000 - (t - {base})) filter (is_price) as high_time,
    {base} + arg_min(t - {base}, cents * 100_000_000 + (t - {base})) filter (is_price) as low_time,
    max(t) filter (is_price) as close_time,
    count(*) filter (is_new and odd) as odd_lot_count,
    coalesce(sum(size) filter (is_new and odd), 0) as odd_lot_volume,
    count(*) filter (not is_new) as duplicate_count
from of_minutes
group by all
"""


class Prints:
    """Every trade of a workload in the order of the topic, recorded as the messages pass."""

    def __init__(self) -> None:
        self._columns = {name: array("q") for name in ("number", "t", "cents", "size", "odd")}

    def recorded(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield `messages` unchanged, and record their trades."""
        number, t, cents, size, odd = self._columns.values()
        numbers = {symbol: place for place, symbol in enumerate(SYMBOLS)}
        for message in messages:
            if isinstance(message, Trades):
                for trade in message.trades:
                    number.append(numbers[message.symbol])
                    t.append(trade.t)
                    cents.append(int(trade.p * 100))
                    size.append(int(trade.v))
                    odd.append("12" in (trade.c or ()))
            yield message

    def candles(self, by_tape: bool) -> dict[Key, Full]:
        """Return a candle for every minute that has a trade.

        :param by_tape: whether odd lots set prices only in minutes without other trades.
        """
        import duckdb  # imported here: the contestants' processes import this file, too
        import pyarrow as pa

        table = pa.table({name: pa.array(column) for name, column in self._columns.items()})
        table = table.append_column("place", pa.array(range(len(table))))
        with duckdb.connect() as connection:
            connection.register("recorded", table)
            connection.execute(
                "create table prints as "
                "select number as symbol, t, cents, size, odd > 0 as odd, place from recorded"
            )
            query = _BARS.format(minute=MINUTE_MS, base=BASE, by_tape=by_tape)
            rows = connection.execute(query).fetchall()
        return {
            (SYMBOLS[symbol], start): Full(ReferenceBar(*map(int, row[:7])), *map(int, row[7:]))
            for symbol, start, *row in rows
        }


def full(candle: Candle) -> Full:
    """Convert a candle of the topology to the reference's form."""
    bar = ReferenceBar(
        _cents(candle.open),
        _cents(candle.high),
        _cents(candle.low),
        _cents(candle.close),
        int(candle.volume),
        _cents(candle.notional),
        candle.trade_count,
    )
    return Full(
        bar,
        candle.open_time,
        candle.high_time,
        candle.low_time,
        candle.close_time,
        candle.odd_lot_count,
        int(candle.odd_lot_volume),
        candle.duplicate_count,
    )


def check(name: str, found: dict[Key, Any], expected: dict[Key, Any]) -> None:
    """Check the candles of a contestant.

    :raises WrongCandlesError: `found` differs from `expected`; the message names the first
        difference.
    """
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            raise WrongCandlesError(
                f"{name} has {found.get(key)} for {key[0]} at {key[1]}, the reference "
                f"{expected.get(key)}; its figure would not count. Mend it first."
            )


def _cents(price: Decimal) -> int:
    cents = price * 100
    if cents != int(cents):
        raise WrongCandlesError(f"{price} is no whole number of cents, all prices of the input are")
    return int(cents)
