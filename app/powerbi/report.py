"""The report: its pages, and the visuals of each: their fields, places and formatting."""

from __future__ import annotations

from app.powerbi import deneb, theme
from app.powerbi.expressions import ColumnRef
from app.powerbi.layout import Choice, Field, Limit, Place, ReportPage, Visual
from app.powerbi.model import CANDLE_RECENCY, CANDLE_TIME, INTERVAL, MODEL, SESSION_DATE, SYMBOL
from app.powerbi.pbir import (
    color,
    error_bars,
    gradient,
    literal,
    long_text,
    measure_field,
    properties,
    text,
)

WIDTH, HEIGHT = 1280, 720
PHONE_WIDTH = 324
REFRESH = "PT30S"
LIVE_CANDLES = 120
"""Candles of the native chart, whose bodies have a width in pixels: more would overlap."""


def column(ref: ColumnRef) -> Field:
    return Field(ref.table, ref.column, "Column")


def measure(name: str) -> Field:
    table, _ = MODEL.measure(name)
    return Field(table.name, name, "Measure")


def measures(*names: str) -> tuple[Field, ...]:
    return tuple(measure(name) for name in names)


def _symbol_slicer(page: str, single: bool) -> Visual:
    selection = {"strictSingleSelect": literal("true")} if single else {}
    return Visual(
        key=f"{page}-symbol",
        type="slicer",
        title="Symbol",
        alt_text="Choose the symbol that this page shows.",
        place=Place(16, 16, 200, 108),
        phone_height=80,
        roles={"Values": (column(SYMBOL),)},
        objects={
            "data": properties(mode=text("Dropdown")),
            **({"selection": properties(**selection)} if selection else {}),
            "header": properties(show=literal("false")),
        },
        sync_group="Symbol" if single else None,
    )


def _cards(key: str, alt_text: str, place: Place, names: tuple[str, ...]) -> Visual:
    return Visual(
        key=key,
        type="cardVisual",
        title="",
        alt_text=alt_text,
        place=place,
        phone_height=200,
        roles={"Data": measures(*names)},
        objects={
            "layout": properties(columnCount=literal(f"{len(names)}L")),
            "value": properties(fontSize=literal("15D"), fontColor=color(theme.INK)),
            "label": properties(fontSize=literal("9D"), fontColor=color(theme.SOFT)),
        },
    )


def _gauge(key: str, name: str, place: Place) -> Visual:
    return Visual(
        key=key,
        type="gauge",
        title=f"{name} against typical",
        alt_text=f"{name} of the symbol's newest session date, on a scale of twice the typical "
        f"{name.lower()} by this minute, with a mark at the typical one.",
        place=place,
        phone_height=180,
        roles={
            "Y": measures(name),
            "MaxValue": measures(f"{name} Scale"),
            "TargetValue": measures(f"Typical {name}"),
        },
        objects={"dataPoint": properties(fill=color(theme.ACCENT), target=color(theme.INK))},
    )


def _native_candlestick() -> Visual:
    """A line chart without lines: error bars draw wicks and bodies."""
    series = ("Trend", "Rising Close", "Falling Close")
    hidden = [
        {
            "properties": {"strokeShow": literal("false"), "showMarker": literal("false")},
            "selector": {"metadata": f"Candles.{name}"},
        }
        for name in series[1:]
    ]
    trend = {
        "properties": {
            "strokeColor": color(theme.ACCENT),
            "strokeWidth": literal("1L"),
            "showMarker": literal("false"),
        },
        "selector": {"metadata": "Candles.Trend"},
    }
    return Visual(
        key="live-candlestick",
        type="lineChart",
        title="The last 120 one-minute candles (UTC), line: mean of 20 closes",
        alt_text="Candlestick chart of the symbol's one-minute candles, with the mean of the last "
        "20 closes as a line.",
        place=Place(16, 136, 844, 568),
        phone_height=320,
        roles={
            "Category": (column(CANDLE_TIME),),
            "Y": measures(*series),
            "Tooltips": measures("Open", "High", "Low", "Close", "Bar Volume"),
        },
        objects={
            "error": [
                *error_bars("Candles", "Trend", "High", "Low", theme.SOFT, 1),
                *error_bars("Candles", "Rising Close", "Close", "Open", theme.UP, 4),
                *error_bars("Candles", "Falling Close", "Open", "Close", theme.DOWN, 4),
            ],
            "lineStyles": [*hidden, trend],
            "legend": properties(show=literal("false")),
            "categoryAxis": properties(
                axisType=text("Categorical"), showAxisTitle=literal("false")
            ),
            "valueAxis": properties(showAxisTitle=literal("false")),
        },
        sort=(column(CANDLE_TIME), "Ascending"),
    )


def _treemap() -> Visual:
    change = measure("Change %")
    return Visual(
        key="live-treemap",
        type="treemap",
        title="Symbols by traded value, colour: change",
        alt_text="Tree map of all symbols: area is traded value, colour is the change against the "
        "reference price, red below and green above zero.",
        place=Place(872, 430, 392, 274),
        phone_height=280,
        roles={
            "Group": (column(SYMBOL),),
            "Values": measures("Traded Value"),
            "Tooltips": measures(
                "Last Price", "Change %", "Volatility", "Relative Volatility", "Relative Volume"
            ),
        },
        objects={
            "dataPoint": [
                {
                    "properties": {
                        "fill": gradient(
                            measure_field(change.table, change.name),
                            (theme.TILE_DOWN, -0.02),
                            (theme.TILE_FLAT, 0.0),
                            (theme.TILE_UP, 0.02),
                        )
                    },
                    "selector": {"data": [{"dataViewWildcard": {"matchingOption": 1}}]},
                }
            ],
            "categoryLabels": properties(show=literal("true"), color=color(theme.INK)),
            "labels": properties(show=literal("true"), color=color(theme.INK)),
            "legend": properties(show=literal("false")),
        },
        sort=(measure("Traded Value"), "Descending"),
        ignores=("live-symbol",),
    )


def _live() -> ReportPage:
    return ReportPage(
        key="live",
        title="Live market",
        filters=(Choice(INTERVAL, "1m"), Limit(CANDLE_RECENCY, LIVE_CANDLES)),
        visuals=(
            _symbol_slicer("live", single=True),
            _cards(
                "live-cards",
                "Last price, change, VWAP, relative volume, volatility and coverage of the symbol, "
                "and which feed the data comes from.",
                Place(228, 16, 1036, 108),
                (
                    "Last Price",
                    "Change",
                    "Change %",
                    "VWAP",
                    "Relative Volume",
                    "Volatility",
                    "Coverage",
                    "Data Feed",
                ),
            ),
            _native_candlestick(),
            Visual(
                key="live-kpi",
                type="kpi",
                title="Close against the reference price",
                alt_text="Newest close of the symbol with its trend, compared with the previous "
                "close.",
                place=Place(872, 136, 392, 120),
                phone_height=160,
                roles={
                    "Indicator": measures("Close"),
                    "TrendLine": (column(CANDLE_TIME),),
                    "Goal": measures("Reference Price"),
                },
                objects={
                    "status": properties(goodColor=color(theme.UP), badColor=color(theme.DOWN))
                },
                sort=(column(CANDLE_TIME), "Ascending"),
            ),
            _gauge("live-volume", "Volume", Place(872, 268, 190, 150)),
            _gauge("live-sales", "Sales", Place(1074, 268, 190, 150)),
            _treemap(),
        ),
    )


def _candlestick() -> ReportPage:
    dataset = (
        column(CANDLE_TIME),
        *measures("Open", "High", "Low", "Close", "Bar Volume", "Trend"),
    )
    return ReportPage(
        key="candlestick",
        title="Candlestick",
        visuals=(
            _symbol_slicer("candlestick", single=True),
            Visual(
                key="candlestick-interval",
                type="slicer",
                title="Interval",
                alt_text="Choose the interval of the candles: 1, 5 or 15 minutes, hours or days.",
                place=Place(228, 16, 332, 108),
                phone_height=80,
                roles={"Values": (column(INTERVAL),)},
                objects={
                    "data": properties(mode=text("Basic")),
                    "general": properties(orientation=literal("1D")),
                    "selection": properties(strictSingleSelect=literal("true")),
                    "header": properties(show=literal("false")),
                },
                chosen=Choice(INTERVAL, "1m"),
            ),
            _cards(
                "candlestick-cards",
                "Last price, change, highest and lowest price of the day, and which feed the data "
                "comes from.",
                Place(572, 16, 692, 108),
                ("Last Price", "Change %", "Day High", "Day Low", "Data Feed"),
            ),
            Visual(
                key="candlestick-deneb",
                type=deneb.VISUAL_TYPE,
                title="Candles (UTC), line: mean of the last 20 closes, below: volume",
                alt_text="Candlestick chart of the symbol in the chosen interval, with the mean of "
                "the last 20 closes as a line and volume below.",
                place=Place(16, 136, 1248, 568),
                phone_height=360,
                roles={"dataset": dataset},
                objects={
                    "vega": properties(
                        provider=text("vegaLite"),
                        jsonSpec=long_text(deneb.spec()),
                        jsonConfig=long_text(deneb.config()),
                        version=text(deneb.VEGA_LITE_VERSION),
                        renderMode=text("canvas"),
                        enableTooltips=literal("true"),
                        enableContextMenu=literal("true"),
                        enableHighlight=literal("false"),
                        enableSelection=literal("false"),
                        logLevel=literal("3D"),
                    ),
                    "developer": properties(version=text(deneb.DENEB_VERSION)),
                },
                sort=(column(CANDLE_TIME), "Ascending"),
            ),
        ),
    )


def _quality() -> ReportPage:
    return ReportPage(
        key="quality",
        title="Data quality",
        visuals=(
            _symbol_slicer("quality", single=False),
            _cards(
                "quality-cards",
                "Coverage, revisions, rejected, late and duplicate trades, and how long loading "
                "took.",
                Place(228, 16, 1036, 108),
                (
                    "Coverage",
                    "Lowest Coverage",
                    "Revisions",
                    "Rejected Trades",
                    "Late Trades",
                    "Duplicates",
                    "Load Lag",
                    "Slowest Load",
                ),
            ),
            Visual(
                key="quality-dates",
                type="clusteredColumnChart",
                title="Revisions, late and rejected trades by session date",
                alt_text="Column chart of revisions, late and rejected trades by session date.",
                place=Place(16, 136, 618, 272),
                phone_height=260,
                roles={
                    "Category": (column(SESSION_DATE),),
                    "Y": measures("Revisions", "Late Trades", "Rejected Trades"),
                },
                objects={"categoryAxis": properties(showAxisTitle=literal("false"))},
                sort=(column(SESSION_DATE), "Ascending"),
            ),
            Visual(
                key="quality-coverage",
                type="clusteredBarChart",
                title="Coverage by symbol, lowest first",
                alt_text="Bar chart of coverage by symbol, the symbol with the least first.",
                place=Place(646, 136, 618, 272),
                phone_height=260,
                roles={
                    "Category": (column(SYMBOL),),
                    "Y": measures("Coverage"),
                    "Tooltips": measures("Lowest Coverage", "Load Lag"),
                },
                objects={
                    "labels": properties(show=literal("true")),
                    "valueAxis": properties(
                        start=literal("0D"), end=literal("1D"), showAxisTitle=literal("false")
                    ),
                    "categoryAxis": properties(showAxisTitle=literal("false")),
                },
                sort=(measure("Coverage"), "Ascending"),
            ),
            Visual(
                key="quality-table",
                type="tableEx",
                title="By symbol and session date",
                alt_text="Table of archived trades, candles, coverage, revisions, rejected, late, "
                "duplicate and out-of-order trades and load lag by symbol and session date.",
                place=Place(16, 420, 1248, 284),
                phone_height=320,
                roles={
                    "Values": (
                        column(SYMBOL),
                        column(SESSION_DATE),
                        *measures(
                            "Archived Trades",
                            "Candle Total",
                            "Coverage",
                            "Revisions",
                            "Rejected Trades",
                            "Late Trades",
                            "Duplicates",
                            "Out of Order",
                            "Load Lag",
                        ),
                    )
                },
                sort=(column(SESSION_DATE), "Descending"),
            ),
        ),
    )


PAGES: tuple[ReportPage, ...] = (_live(), _candlestick(), _quality())
