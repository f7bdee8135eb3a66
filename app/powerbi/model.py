"""The semantic model: which gold views and columns it reads, under which names, and its measures.

`VIEWS` is the only place that contains names of gold's columns; all other code uses the names of
the model. The contracts of dbt define what each column means (see `app.powerbi.contracts`).
"""

from __future__ import annotations

from typing import Literal

from app.powerbi.expressions import (
    Aggregate,
    ColumnRef,
    Comparison,
    Divide,
    Expression,
    IfFiltered,
    IfRising,
    IfSame,
    IfSingle,
    MeasureRef,
    Percent,
)
from app.powerbi.semantic_model import Column, Measure, Model, Relationship, Role, Table

ALL_SYMBOLS = "*"
"""Symbol of gold_gauge's row for all symbols of a class."""

PRICE = "#,0.00"
INTEGER = "#,0"
SHORT = "#,0.0"
SHARE = "0.0%"
RATIO = '0.00"x"'
SIGNED_PRICE = "+#,0.00;-#,0.00;0.00"
SIGNED_PERCENT = "+0.00%;-0.00%;0.00%"
SMALL_PERCENT = "0.000%"
SECONDS = '#,0.0 "s"'
TIME = "yyyy-mm-dd hh:nn"
DATE = "yyyy-mm-dd"


VIEWS: dict[str, tuple[str, tuple[Column, ...]]] = {
    "Symbols": (
        "gold_symbols",
        (
            Column("symbol", "Symbol", "string", visible=True, key=True),
            Column("name", "Name", "string", visible=True),
            Column("sector", "Sector", "string", visible=True),
            Column("exchange", "Exchange", "string", visible=True),
            Column("symbol_class", "Class", "string", visible=True),
            Column("feed", "Feed", "string", visible=True),
        ),
    ),
    "Dates": (
        "gold_dates",
        (
            Column("session_date", "Session Date", "dateTime", DATE, visible=True, key=True),
            Column("date_year", "Year", "int64", "0", visible=True),
            Column("month_start", "Month", "dateTime", "mmm yyyy", visible=True),
            Column("recency", "Recency", "int64", "0", visible=True),
        ),
    ),
    "Prices": (
        "gold_kpi",
        (
            Column("symbol", "Symbol Key", "string"),
            Column("current_price", "Current Price", "double", PRICE),
            Column("change_amount", "Change Amount", "double", PRICE),
            Column("change_percent", "Change Percent", "double", PRICE),
            Column("reference_price", "Price Before", "double", PRICE),
            Column("day_high", "High of Day", "double", PRICE),
            Column("day_low", "Low of Day", "double", PRICE),
            Column("volume", "Day Volume", "double", INTEGER),
            Column("traded_value", "Day Traded Value", "double", INTEGER),
            Column("trade_count", "Day Trades", "int64", INTEGER),
            Column("staleness_s", "Staleness", "double", SECONDS),
            Column("as_of", "Price Time", "dateTime", TIME, visible=True),
        ),
    ),
    "Gauges": (
        "gold_gauge",
        (
            Column("symbol", "Symbol Key", "string"),
            Column("symbol_class", "Class", "string", visible=True),
            Column("volume", "Volume So Far", "double", INTEGER),
            Column("sales", "Sales So Far", "double", INTEGER),
            Column("typical_volume", "Volume Typically", "double", INTEGER),
            Column("typical_sales", "Sales Typically", "double", INTEGER),
            Column("typical_days", "Days Compared", "int64", INTEGER),
            Column("gauge_max", "Volume Full Scale", "double", INTEGER),
            Column("gauge_max_sales", "Sales Full Scale", "double", INTEGER),
        ),
    ),
    "Market": (
        "gold_treechart",
        (
            Column("symbol", "Symbol Key", "string"),
            Column("volatility", "Volatility Percent", "double", PRICE),
            Column("relative_volatility", "Volatility Ratio", "double", PRICE),
            Column("traded_value", "Value Traded", "double", INTEGER),
        ),
    ),
    "Candles": (
        "gold_candlestick_chart",
        (
            Column("symbol", "Symbol Key", "string"),
            Column("session_date", "Date Key", "dateTime", DATE),
            Column(
                "candle_interval", "Interval", "string", visible=True, sort_by="Interval Minutes"
            ),
            Column("interval_minutes", "Interval Minutes", "int64", "0"),
            Column("candle_time", "Candle Time", "dateTime", TIME, visible=True),
            Column("candle_open", "Candle Open", "double", PRICE),
            Column("candle_high", "Candle High", "double", PRICE),
            Column("candle_low", "Candle Low", "double", PRICE),
            Column("candle_close", "Candle Close", "double", PRICE),
            Column("trend_line", "Trend Line", "double", PRICE),
            Column("volume", "Candle Volume", "double", INTEGER),
            Column("session", "Session", "string", visible=True),
            Column("status", "Status", "string", visible=True),
            Column("recency", "Candle Recency", "int64", "0"),
            Column("exchange_time", "Exchange Time", "dateTime", TIME, visible=True),
        ),
    ),
    "Quality": (
        "gold_data_quality",
        (
            Column("symbol", "Symbol Key", "string"),
            Column("session_date", "Date Key", "dateTime", DATE),
            Column("candle_count", "Candle Count", "int64", INTEGER),
            Column("trade_count", "Trade Count", "int64", INTEGER),
            Column("duplicate_count", "Duplicate Count", "int64", INTEGER),
            Column("rejected_count", "Rejected Count", "int64", INTEGER),
            Column("late_count", "Late Count", "int64", INTEGER),
            Column("out_of_order_count", "Out Of Order Count", "int64", INTEGER),
            Column("revision_count", "Revision Count", "int64", INTEGER),
            Column("covered_share", "Covered Share", "double", SHARE),
            Column("load_lag_s", "Median Lag", "double", SECONDS),
            Column("load_lag_max_s", "Longest Lag", "double", SECONDS),
        ),
    ),
}
"""By name of the table: the gold view, and its columns that the model reads."""

SYMBOL = ColumnRef("Symbols", "Symbol")
SESSION_DATE = ColumnRef("Dates", "Session Date")
INTERVAL = ColumnRef("Candles", "Interval")
CANDLE_TIME = ColumnRef("Candles", "Candle Time")
CANDLE_RECENCY = ColumnRef("Candles", "Candle Recency")


def _sum(table: str, column: str) -> Aggregate:
    return Aggregate("SUM", ColumnRef(table, column))


def _max(table: str, column: str) -> Aggregate:
    return Aggregate("MAX", ColumnRef(table, column))


def _price(column: str) -> Expression:
    return IfSingle((SYMBOL,), _max("Prices", column))


def _candle(function: Literal["MIN", "MAX", "SUM"], column: str) -> Expression:
    """Of one candle; blank where symbols or intervals would be mixed."""
    return IfSingle((SYMBOL, INTERVAL), Aggregate(function, ColumnRef("Candles", column)))


def _gauge(column: str) -> Expression:
    """Of the chosen symbols; of gold's row for all symbols of the class where none is chosen.

    Blank where classes would be mixed: shares are not added to coins.
    """
    symbol, amount = ColumnRef("Gauges", "Symbol Key"), ColumnRef("Gauges", column)
    return IfSame(
        ColumnRef("Gauges", "Class"),
        IfFiltered(
            "Symbols",
            filtered=Aggregate("SUM", amount, Comparison(symbol, "<>", ALL_SYMBOLS)),
            unfiltered=Aggregate("SUM", amount, Comparison(symbol, "=", ALL_SYMBOLS)),
        ),
    )


_CLOSE, _OPEN = MeasureRef("Close"), MeasureRef("Open")

MEASURES: dict[str, tuple[Measure, ...]] = {
    "Symbols": (
        Measure(
            "Data Feed",
            Aggregate("MAX", ColumnRef("Symbols", "Feed")),
            None,
            "Freshness",
            "Where the data comes from: live, simulated or replay.",
        ),
    ),
    "Prices": (
        Measure(
            "Last Price", _price("Current Price"), PRICE, "Price", "Newest price of one symbol."
        ),
        Measure(
            "Change",
            _price("Change Amount"),
            SIGNED_PRICE,
            "Price",
            "Last price minus the reference price of one symbol.",
        ),
        Measure(
            "Change %",
            Percent(Aggregate("AVERAGE", ColumnRef("Prices", "Change Percent"))),
            SIGNED_PERCENT,
            "Price",
            "Change against the reference price; of several symbols their mean.",
        ),
        Measure(
            "Reference Price",
            _price("Price Before"),
            PRICE,
            "Price",
            "Previous close of one symbol, or the session's open where there is none.",
        ),
        Measure("Day High", _price("High of Day"), PRICE, "Price", "Highest price of the day."),
        Measure("Day Low", _price("Low of Day"), PRICE, "Price", "Lowest price of the day."),
        Measure(
            "VWAP",
            IfSingle(
                (SYMBOL,),
                Divide(_sum("Prices", "Day Traded Value"), _sum("Prices", "Day Volume")),
            ),
            PRICE,
            "Price",
            "Volume-weighted average price of one symbol's newest session date.",
        ),
        Measure("Trades", _sum("Prices", "Day Trades"), INTEGER, "Activity", "Trades of the day."),
        Measure(
            "Price Age",
            _max("Prices", "Staleness"),
            SECONDS,
            "Freshness",
            "Seconds from the price to the newest moment loaded; of several symbols the most.",
        ),
    ),
    "Gauges": (
        Measure(
            "Volume",
            _gauge("Volume So Far"),
            INTEGER,
            "Activity",
            "Volume of the newest session date.",
        ),
        Measure(
            "Sales",
            _gauge("Sales So Far"),
            INTEGER,
            "Activity",
            "Traded value (price times size) of the newest session date.",
        ),
        Measure(
            "Typical Volume",
            _gauge("Volume Typically"),
            INTEGER,
            "Activity",
            "Median volume of earlier session dates up to the same minute of the day.",
        ),
        Measure(
            "Typical Sales",
            _gauge("Sales Typically"),
            INTEGER,
            "Activity",
            "Median traded value of earlier session dates up to the same minute of the day.",
        ),
        Measure(
            "Relative Volume",
            Divide(MeasureRef("Volume"), MeasureRef("Typical Volume")),
            RATIO,
            "Activity",
            "Volume over the typical volume by this minute of the day.",
        ),
        Measure(
            "Days Compared With",
            _max("Gauges", "Days Compared"),
            INTEGER,
            "Activity",
            "Earlier session dates that the typical volume comes from, at most 20.",
        ),
        Measure(
            "Volume Scale",
            _gauge("Volume Full Scale"),
            INTEGER,
            "Activity\\Gauge scales",
            "Full scale of the volume gauge: twice the typical volume.",
        ),
        Measure(
            "Sales Scale",
            _gauge("Sales Full Scale"),
            INTEGER,
            "Activity\\Gauge scales",
            "Full scale of the sales gauge: twice the typical sales.",
        ),
    ),
    "Market": (
        Measure(
            "Traded Value",
            _sum("Market", "Value Traded"),
            INTEGER,
            "Activity",
            "Traded value of each symbol's newest session date.",
        ),
        Measure(
            "Volatility",
            IfSingle((SYMBOL,), Percent(_max("Market", "Volatility Percent"))),
            SMALL_PERCENT,
            "Risk",
            "Standard deviation of one symbol's one-minute log returns in its latest session.",
        ),
        Measure(
            "Relative Volatility",
            IfSingle((SYMBOL,), _max("Market", "Volatility Ratio")),
            RATIO,
            "Risk",
            "Volatility of one symbol over the median of all symbols.",
        ),
    ),
    "Candles": (
        Measure("Open", _candle("MAX", "Candle Open"), PRICE, "Candlestick", "Open of the candle."),
        Measure("High", _candle("MAX", "Candle High"), PRICE, "Candlestick", "High of the candle."),
        Measure("Low", _candle("MIN", "Candle Low"), PRICE, "Candlestick", "Low of the candle."),
        Measure(
            "Close", _candle("MAX", "Candle Close"), PRICE, "Candlestick", "Close of the candle."
        ),
        Measure(
            "Bar Volume",
            _candle("SUM", "Candle Volume"),
            INTEGER,
            "Candlestick",
            "Volume of the candle.",
        ),
        Measure(
            "Trend",
            _candle("MAX", "Trend Line"),
            PRICE,
            "Candlestick",
            "Mean of the last 20 closes, this one included.",
        ),
        Measure(
            "Rising Close",
            IfRising(_CLOSE, _OPEN, True, _CLOSE),
            PRICE,
            "Candlestick\\Native chart",
            "Close of a candle that did not fall; the native chart draws its body.",
        ),
        Measure(
            "Falling Close",
            IfRising(_CLOSE, _OPEN, False, _CLOSE),
            PRICE,
            "Candlestick\\Native chart",
            "Close of a candle that fell; the native chart draws its body.",
        ),
        Measure(
            "Newest Candle",
            _max("Candles", "Candle Time"),
            TIME,
            "Freshness",
            "Start of the newest candle, UTC.",
        ),
    ),
    "Quality": (
        Measure(
            "Coverage",
            Aggregate("AVERAGE", ColumnRef("Quality", "Covered Share")),
            SHARE,
            "Data quality",
            "Share of the candles' minutes that the feed was connected; mean of symbols and dates.",
        ),
        Measure(
            "Lowest Coverage",
            Aggregate("MIN", ColumnRef("Quality", "Covered Share")),
            SHARE,
            "Data quality",
            "Coverage of the symbol and date with the least.",
        ),
        Measure(
            "Revisions",
            _sum("Quality", "Revision Count"),
            INTEGER,
            "Data quality",
            "Changes of candles after they were final.",
        ),
        Measure(
            "Rejected Trades",
            _sum("Quality", "Rejected Count"),
            INTEGER,
            "Data quality",
            "Trades that were refused, each with a reason in trades-rejected.",
        ),
        Measure(
            "Late Trades",
            _sum("Quality", "Late Count"),
            INTEGER,
            "Data quality",
            "Trades accepted after their candle was final.",
        ),
        Measure(
            "Duplicates",
            _sum("Quality", "Duplicate Count"),
            INTEGER,
            "Data quality",
            "Repeats of a trade that were left out.",
        ),
        Measure(
            "Out of Order",
            _sum("Quality", "Out Of Order Count"),
            INTEGER,
            "Data quality",
            "Trades older than the symbol's newest when they arrived.",
        ),
        Measure(
            "Archived Trades",
            _sum("Quality", "Trade Count"),
            INTEGER,
            "Data quality",
            "Trades in the archive, duplicates and rejected ones included.",
        ),
        Measure(
            "Candle Total",
            _sum("Quality", "Candle Count"),
            INTEGER,
            "Data quality",
            "One-minute candles.",
        ),
        Measure(
            "Load Lag",
            Aggregate("AVERAGE", ColumnRef("Quality", "Median Lag")),
            SECONDS,
            "Data quality",
            "Seconds from Kafka to the warehouse: median of a date's candles, mean of dates.",
        ),
        Measure(
            "Slowest Load",
            _max("Quality", "Longest Lag"),
            SECONDS,
            "Data quality",
            "Seconds from Kafka to the warehouse of the slowest candle.",
        ),
    ),
}
"""By name of the table that holds them."""


def _to(one_side: ColumnRef, table: str, column: str, complete: bool = True) -> Relationship:
    return Relationship(ColumnRef(table, column), one_side, complete)


MODEL = Model(
    tables=tuple(
        Table(name, view, columns, MEASURES.get(name, ()))
        for name, (view, columns) in VIEWS.items()
    ),
    relationships=(
        _to(SYMBOL, "Prices", "Symbol Key"),
        _to(SYMBOL, "Gauges", "Symbol Key", complete=False),  # rows of all symbols have none
        _to(SYMBOL, "Market", "Symbol Key"),
        _to(SYMBOL, "Candles", "Symbol Key"),
        _to(SYMBOL, "Quality", "Symbol Key"),
        _to(SESSION_DATE, "Candles", "Date Key"),
        _to(SESSION_DATE, "Quality", "Date Key"),
    ),
    roles=(
        Role(
            "Technology desk",
            "Symbols",
            "'Symbols'[Sector] = \"Technology\"",
            "Example of row-level security: members see symbols of one sector, in every table.",
        ),
    ),
)
