"""The candlestick of the second page: a Vega-Lite specification for the Deneb visual.

Time is ordinal, so nights and weekends leave no gaps. Prices have the upper part of the plot and
volume the lower one, each with a scale of its own. Deneb names the data `dataset`, and its fields
as the model names them.
"""

from __future__ import annotations

from typing import Any

from app.powerbi import theme

VISUAL_TYPE = "deneb7E15AEF80B9E4D4F8E12924291ECE89A"
"""Deneb's id in Power BI's store of visuals."""

VEGA_LITE_VERSION = "6.4.1"
DENEB_VERSION = "1.9.0.0"

TIME_LABEL = (
    "round(datum.index * (length(domain('x')) - 1))"
    " % ceil(length(domain('x')) / max(1, floor(width / 100))) == 0"
    " ? timeFormat(toDate(datum.value), '%d %b %H:%M') : ''"
)
"""A label every 100 pixels. Vega could leave out what overlaps, but would measure every label."""

_PRICE_PANE = [{"expr": "height * 0.76"}, 0]
_VOLUME_PANE = [{"expr": "height"}, {"expr": "height * 0.82"}]


def spec() -> dict[str, Any]:
    """The specification; its data is the data set that Deneb is given."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"name": "dataset"},
        "transform": [
            {"filter": "isValid(datum['Close'])"},
            {
                "calculate": "datum['Close'] >= datum['Open'] ? 'rising' : 'falling'",
                "as": "direction",
            },
        ],
        "encoding": {
            "x": {
                "field": "Candle Time",
                "type": "ordinal",
                "axis": {
                    "title": None,
                    "labelExpr": TIME_LABEL,
                    "labelAngle": 0,
                    "labelPadding": 8,
                    "ticks": False,
                },
            },
            "tooltip": [
                {"field": "Candle Time", "type": "temporal", "format": "%Y-%m-%d %H:%M"},
                *(
                    {"field": name, "type": "quantitative", "format": ",.2f"}
                    for name in ("Open", "High", "Low", "Close", "Trend")
                ),
                {"field": "Bar Volume", "type": "quantitative", "format": ",.0f"},
            ],
        },
        "layer": [_prices(), _volume()],
        "resolve": {"scale": {"y": "independent"}},
    }


def config() -> dict[str, Any]:
    """The configuration beside the specification: size, font, lines."""
    return {
        "autosize": {"type": "fit", "contains": "padding"},
        "view": {"stroke": "transparent"},
        "font": theme.FONT,
        "axis": {
            "labelColor": theme.SOFT,
            "titleColor": theme.SOFT,
            "gridColor": "#e8edf1",
            "domainColor": theme.LINE,
            "labelFontSize": 11,
        },
    }


def _prices() -> dict[str, Any]:
    scale = {"zero": False, "range": _PRICE_PANE, "nice": True}
    axis = {"title": None, "format": ",.2f"}

    def y(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}

    return {
        "layer": [
            {
                "mark": {"type": "rule"},
                "encoding": {"y": y("Low"), "y2": {"field": "High"}, "color": _direction()},
            },
            {
                "mark": {"type": "bar", "width": {"band": 0.7}},
                "encoding": {"y": y("Open"), "y2": {"field": "Close"}, "color": _direction()},
            },
            {
                "mark": {"type": "line", "color": theme.ACCENT, "strokeWidth": 1.5},
                "encoding": {"y": y("Trend")},
            },
        ]
    }


def _volume() -> dict[str, Any]:
    return {
        "mark": {"type": "bar", "width": {"band": 0.7}, "color": theme.VOLUME},
        "encoding": {
            "y": {
                "field": "Bar Volume",
                "type": "quantitative",
                "scale": {"range": _VOLUME_PANE},
                "axis": {
                    "title": None,
                    "orient": "right",
                    "format": ".2~s",
                    "tickCount": 2,
                    "grid": False,
                },
            }
        },
    }


def _direction() -> dict[str, Any]:
    return {
        "field": "direction",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": ["rising", "falling"], "range": [theme.UP, theme.DOWN]},
    }
