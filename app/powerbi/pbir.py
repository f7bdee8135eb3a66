"""Pieces of PBIR, the JSON format of Power BI reports: literals, colours, fields, error bars.

Formatting properties are expressions: a text is a literal in single quotes, a number carries the
suffix D (decimal) or L (whole).
"""

from __future__ import annotations

import json
from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric/"
DEFINITION_SCHEMAS = SCHEMAS + "item/report/definition/"


def literal(value: str) -> JsonObject:
    """A literal as it stands: `true`, `0.5D`, `2L`."""
    return {"expr": {"Literal": {"Value": value}}}


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def text(value: str) -> JsonObject:
    """A literal text."""
    return literal(quoted(value))


def long_text(value: JsonObject) -> JsonObject:
    """A JSON value as a literal text, as Deneb keeps its specification."""
    return text(json.dumps(value, indent=2, ensure_ascii=False))


def color(value: str) -> JsonObject:
    return {"solid": {"color": text(value)}}


def properties(**values: JsonObject) -> list[JsonObject]:
    """A formatting object whose properties hold for the whole visual."""
    return [{"properties": values}]


def column_field(table: str, name: str) -> JsonObject:
    return _field("Column", table, name)


def measure_field(table: str, name: str) -> JsonObject:
    return _field("Measure", table, name)


def _field(kind: str, table: str, name: str) -> JsonObject:
    return {kind: {"Expression": {"SourceRef": {"Entity": table}}, "Property": name}}


def projection(kind: str, table: str, name: str, active: bool) -> JsonObject:
    """A field in a role of a visual; the first of a grouping role is the active one."""
    shown: JsonObject = {
        "field": _field(kind, table, name),
        "queryRef": f"{table}.{name}",
        "nativeQueryRef": name,
    }
    return shown | {"active": True} if active else shown


def equals_filter(table: str, column: str, value: str) -> JsonObject:
    """The filter `column = value`."""
    values = [[{"Literal": {"Value": quoted(value)}}]]
    return _filter(table, {"In": {"Expressions": [_filtered(column)], "Values": values}})


def at_most_filter(table: str, column: str, limit: int) -> JsonObject:
    """The filter `column <= limit`."""
    comparison = {
        "ComparisonKind": _LESS_THAN_OR_EQUAL,
        "Left": _filtered(column),
        "Right": {"Literal": {"Value": f"{limit}L"}},
    }
    return _filter(table, {"Comparison": comparison})


_LESS_THAN_OR_EQUAL = 4


def _filter(table: str, condition: JsonObject) -> JsonObject:
    """A filter is a query, in which the table has a short name."""
    return {
        "Version": 2,
        "From": [{"Name": "t", "Entity": table, "Type": 0}],
        "Where": [{"Condition": condition}],
    }


def _filtered(column: str) -> JsonObject:
    return {"Column": {"Expression": {"SourceRef": {"Source": "t"}}, "Property": column}}


def error_bars(
    table: str, series: str, upper: str, lower: str, bar_color: str, width: int
) -> list[JsonObject]:
    """Error bars of a line chart's series between two measures, as Power BI Desktop writes them."""
    between = {
        "kind": "ErrorRange",
        "explicit": {
            "isRelative": literal("false"),
            "upperBound": {"expr": measure_field(table, upper)},
            "lowerBound": {"expr": measure_field(table, lower)},
        },
    }
    name = f"{table}.{series}"
    return [
        {
            "properties": {"errorRange": between},
            "selector": {
                "data": [{"dataViewWildcard": {"matchingOption": 0}}],
                "metadata": name,
                "highlightMatching": 1,
            },
        },
        {
            "properties": {
                "enabled": literal("true"),
                "barMatchSeriesColor": literal("false"),
                "barColor": color(bar_color),
                "barWidth": literal(f"{width}D"),
                "barBorderSize": literal("0L"),
                "markerShow": literal("false"),
                "tooltipShow": literal("false"),
            },
            "selector": {"metadata": name},
        },
    ]


def gradient(
    by: JsonObject, low: tuple[str, float], middle: tuple[str, float], high: tuple[str, float]
) -> JsonObject:
    """A colour by a measure, between three (colour, value) stops."""

    def stop(at: tuple[str, float]) -> JsonObject:
        return {
            "color": {"Literal": {"Value": quoted(at[0])}},
            "value": {"Literal": {"Value": f"{at[1]}D"}},
        }

    strategy = {"strategy": {"Literal": {"Value": quoted("asZero")}}}
    rule = {
        "linearGradient3": {
            "min": stop(low),
            "mid": stop(middle),
            "max": stop(high),
            "nullColoringStrategy": strategy,
        }
    }
    return {"solid": {"color": {"expr": {"FillRule": {"Input": by, "FillRule": rule}}}}}
