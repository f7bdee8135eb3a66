"""Formats of trade files that people download: a table of columns, units, conditions and symbols.

A file is recognized by column names of its header that only this format has, or, without a header,
by its name and by values that fit. Column names are compared without case, blanks and underscores.

Columns of binance and databento, LEAN's flags and dukascopy-node's fields were compared with these
pages. The other formats, and the numbers of Massive's conditions, were written without access to
them; a file that is read differently than its vendor describes it is a fault to report.

| format | documented at |
|---|---|
| tickhouse | README.md of this project |
| binance | github.com/binance/binance-public-data (README: trades, aggTrades) |
| kraken | support.kraken.com, "Downloadable historical market data (time and sales)"; REST Trades |
| coinbase | docs.cdp.coinbase.com, Exchange API, "Get product trades" |
| bitstamp | www.bitstamp.net/api, "Transactions" |
| massive, massive-crypto | massive.com/docs, flat files, "Trades" (Polygon until 2025) |
| databento | databento.com/docs/schemas/trades |
| alpaca | docs.alpaca.markets, "Historical trades" |
| dukascopy | JForex "Export ticks"; github.com/Leo4815162342/dukascopy-node |
| lean, lean-crypto | www.quantconnect.com/docs/v2/lean-engine/data-format |
| finnhub | finnhub.io/docs/api/stock-tick-data |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

Names = tuple[str, ...]


@dataclass(frozen=True)
class Preset:
    """One format of trade files.

    :ivar columns: for each of this project's columns, the names in the file, in order of
        preference. `id` may consist of several columns, joined by `+`; `tape` names the tape of
        condition letters.
    :ivar headers: sets of column names, each of which identifies the format.
    :ivar headerless: the columns by position in files without a header. Names that begin with `is`
        hold true or false.
    :ivar file_name: regular expression with the groups `symbol` and, for times since midnight,
        `date`.
    :ivar file_name_is_sure: whether a matching name is enough to recognize the format.
    :ivar venue: prefix for symbols that have no venue.
    :ivar conditions: name of the table of condition codes.
    :ivar price_factor: factor by which the file's values are multiplied to get prices.
    :ivar fixed_point: like `price_factor`, for values without a decimal point only.
    :ivar zone: the time zone of times that have none.
    :ivar since_midnight: whether t counts milliseconds since midnight in `zone`, on the date in the
        file's name.
    :ivar time_patterns: formats of `strptime`, in addition to numbers and ISO 8601.
    :ivar keep: the values of a column whose rows are trades; rows with other values are left out.
    :ivar note: what a user must know.
    """

    name: str
    what: str
    columns: dict[str, Names]
    headers: tuple[frozenset[str], ...] = ()
    headerless: tuple[Names, ...] = ()
    file_name: str = ""
    file_name_is_sure: bool = False
    venue: str = ""
    conditions: str = "none"
    price_factor: Decimal = Decimal(1)
    fixed_point: Decimal = Decimal(1)
    zone: str = "UTC"
    since_midnight: bool = False
    time_patterns: Names = ()
    keep: dict[str, Names] = field(default_factory=dict)
    note: str = ""


def plain(name: str) -> str:
    """Return a column name in the form in which names are compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _headers(*names: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(map(plain, text.split(","))) for text in names)


def _columns(*names: str) -> tuple[Names, ...]:
    return tuple(tuple(text.split(",")) for text in names)


_AGG = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
_TRADE = "id,price,qty,quote_qty,time,is_buyer_maker"

PRESETS: tuple[Preset, ...] = (
    Preset(
        name="tickhouse",
        what="symbol, t, p, v and optionally seq, c (Finnhub's codes), id",
        columns={name: (name,) for name in ("symbol", "t", "p", "v", "seq", "c")}
        | {"id": ("id+exchange+trf_id", "id+exchange", "id")},
        headers=_headers("symbol,t,p,v"),
        conditions="finnhub",
    ),
    Preset(
        name="binance",
        what="trades and aggTrades of data.binance.vision, spot and futures",
        columns={
            "symbol": ("symbol",),
            "t": ("time", "transact_time", "timestamp"),
            "p": ("price",),
            "v": ("qty", "quantity"),
            "id": ("id", "agg_trade_id", "aggregate_trade_id", "trade_id"),
        },
        headers=_headers(
            "agg_trade_id,price,quantity,transact_time",
            "aggregate_trade_id,price,quantity,timestamp",
            "id,price,qty,quote_qty,time",
            "trade_id,price,qty,quote_qty,time",
        ),
        headerless=_columns(_TRADE, f"{_TRADE},is_best_match", _AGG, f"{_AGG},is_best_match"),
        file_name=r"(?P<symbol>[A-Z0-9_]+)-(?:aggT|t)rades-\d{4}-\d\d",
        venue="BINANCE",
        note="Contracts of COIN-M futures are counted, not coins.",
    ),
    Preset(
        name="kraken",
        what="time and sales of Kraken, and rows of its REST endpoint Trades",
        columns={
            "symbol": ("symbol", "pair"),
            "t": ("timestamp", "time"),
            "p": ("price",),
            "v": ("volume", "vol", "amount"),
            "id": ("trade_id",),
        },
        headers=_headers("price,volume,time,side,ordertype", "price,volume,time,type,ordertype"),
        headerless=_columns(
            "timestamp,price,volume",
            "price,volume,time,side,ordertype,misc",
            "price,volume,time,side,ordertype,misc,trade_id",
        ),
        file_name=r"^(?P<symbol>[A-Z][A-Z0-9]{4,11})(?=[._]|$)",
        venue="KRAKEN",
    ),
    Preset(
        name="coinbase",
        what="trades of a product of Coinbase Exchange",
        columns={
            "symbol": ("product_id", "product", "symbol"),
            "t": ("time", "timestamp", "created_at"),
            "p": ("price",),
            "v": ("size",),
            "id": ("trade_id",),
        },
        headers=_headers("trade_id,side,size,price,time"),
        file_name=r"(?P<symbol>[A-Z0-9]{2,10}-[A-Z]{3,5})(?![A-Za-z])",
        venue="COINBASE",
        note="The API sends the newest trade first: --sort.",
    ),
    Preset(
        name="bitstamp",
        what="transactions of Bitstamp",
        columns={
            "symbol": ("pair", "symbol", "market"),
            "t": ("microtimestamp", "timestamp", "date", "datetime"),
            "p": ("price",),
            "v": ("amount", "size", "volume"),
            "id": ("tid", "id", "trade_id"),
        },
        headers=_headers("date,tid,price,amount", "microtimestamp,price,amount"),
        headerless=_columns("timestamp,price,amount"),
        file_name=r"(?P<symbol>[A-Z]{6,10})(?=[._-]|$)",
        venue="BITSTAMP",
    ),
    Preset(
        name="massive",
        what="stock trades of Massive (Polygon), flat files and REST",
        columns={
            "symbol": ("ticker", "symbol"),
            "t": ("sip_timestamp",),
            "p": ("price",),
            "v": ("size",),
            "c": ("conditions",),
            "id": ("id+exchange+trf_id", "id+exchange"),
        },
        headers=_headers("sip_timestamp,participant_timestamp,price,size"),
        conditions="massive",
        keep={"correction": ("", "0", "00", "1", "01")},
        note="Canceled and corrected-away trades (correction 7, 8, 10, 11, 12) are left out.",
    ),
    Preset(
        name="massive-crypto",
        what="crypto trades of Massive (Polygon), flat files",
        columns={
            "symbol": ("ticker", "symbol"),
            "t": ("participant_timestamp",),
            "p": ("price",),
            "v": ("size",),
            "id": ("id+exchange",),
        },
        headers=_headers("participant_timestamp,ticker,exchange,price,size"),
        note="The trades of all venues are one symbol, such as X:BTC-USD.",
    ),
    Preset(
        name="databento",
        what="schema trades of Databento, CSV and Parquet",
        columns={
            "symbol": ("symbol", "raw_symbol"),
            "t": ("ts_event",),
            "p": ("price",),
            "v": ("size",),
        },
        headers=_headers("ts_event,publisher_id,instrument_id,price,size"),
        fixed_point=Decimal("1e-9"),
        keep={"action": ("T",)},
        note="Prices without a decimal point are counted in 1e-9.",
    ),
    Preset(
        name="alpaca",
        what="stock trades of Alpaca's historical data",
        columns={
            "symbol": ("symbol", "S"),
            "t": ("timestamp", "t"),
            "p": ("price", "p"),
            "v": ("size", "s"),
            "c": ("conditions", "c"),
            "id": ("id+exchange", "i+x"),
            "tape": ("tape", "z"),
        },
        headers=_headers(
            "timestamp,price,size,exchange,conditions,tape",
            "t,x,p,s,c,i,z",
        ),
        conditions="sip",
        note="Where no column tape says which, the letter B is an average price.",
    ),
    Preset(
        name="dukascopy",
        what="ticks of Dukascopy: quotes, of which the bid is taken",
        columns={
            "t": ("timestamp", "gmt_time", "time_utc", "time", "local_time", "date"),
            "p": ("bid_price", "bid"),
            "v": ("bid_volume",),
        },
        headers=_headers("ask_price,bid_price,bid_volume", "ask,bid,ask_volume,bid_volume"),
        headerless=_columns("timestamp,ask,bid,ask_volume,bid_volume"),
        file_name=r"(?P<symbol>[A-Za-z]{6})[-_ ](?i:ticks?)(?![A-Za-z])",
        venue="DUKASCOPY",
        time_patterns=(
            "%d.%m.%Y %H:%M:%S.%f",
            "%d.%m.%Y %H:%M:%S.%f GMT%z",
            "%Y.%m.%d %H:%M:%S.%f",
            "%d.%m.%Y %H:%M:%S",
            "%Y.%m.%d %H:%M:%S",
        ),
        note="Volumes are those of the bid, in the file's unit (millions).",
    ),
    Preset(
        name="lean",
        what="equity ticks of QuantConnect LEAN",
        columns={"t": ("time",), "p": ("price",), "v": ("size",), "c": ("condition",)},
        headerless=_columns("time,price,size,exchange,condition,suspicious"),
        file_name=r"(?P<date>\d{8})_(?P<symbol>[A-Za-z0-9.]+)_(?i:trade_tick|tick_trade)",
        file_name_is_sure=True,
        conditions="lean",
        price_factor=Decimal("1e-4"),
        zone="America/New_York",
        since_midnight=True,
        keep={"suspicious": ("", "0", "false")},
        note="Suspicious ticks are left out, as in LEAN's own bars.",
    ),
    Preset(
        name="lean-crypto",
        what="crypto ticks of QuantConnect LEAN",
        columns={"t": ("time",), "p": ("price",), "v": ("size",)},
        headerless=_columns("time,price,size", "time,price,size,exchange"),
        file_name=r"(?P<date>\d{8})_(?P<symbol>[A-Za-z0-9.]+)_(?i:trade_tick|tick_trade)",
        file_name_is_sure=True,
        venue="LEAN",
        since_midnight=True,
        note="--symbol names the venue, as in --symbol COINBASE:BTCUSD.",
    ),
    Preset(
        name="finnhub",
        what="Finnhub's tick data as CSV, and trades of its WebSocket",
        columns={
            "symbol": ("symbol", "s"),
            "t": ("t", "timestamp"),
            "p": ("p", "price"),
            "v": ("v", "volume"),
            "c": ("c", "conditions"),
        },
        headers=_headers("s,t,p,v", "t,p,v,x"),
        file_name=r"^(?P<symbol>[A-Z]{1,5}(?:\.[A-Z])?)(?=[_-]\d{4}|\.csv|$)",
        conditions="finnhub",
    ),
)
BY_NAME = {preset.name: preset for preset in PRESETS} | {
    "polygon": next(preset for preset in PRESETS if preset.name == "massive")
}
