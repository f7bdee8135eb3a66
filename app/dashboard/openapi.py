"""The OpenAPI description of the page's JSON, made of the structs that the routes return."""

from __future__ import annotations

from typing import Any

import msgspec

from app.contracts import ROLLUP_TOPICS, Interval
from app.dashboard.gold import TABLES
from app.dashboard.live import ConnectionState, TopicStatus
from app.dashboard.rejections import ShownRejection
from app.dashboard.shown import ShownCandle
from app.dashboard.summary import Gauge, SymbolSummary
from app.feeds.replay.control import ReplayCommand, ReplayState
from app.health.monitor import Health

INTERVALS: tuple[Interval, ...] = ("1m", *ROLLUP_TOPICS)
_STRUCTS = (
    ConnectionState,
    Gauge,
    Health,
    ReplayCommand,
    ReplayState,
    ShownCandle,
    ShownRejection,
    SymbolSummary,
    TopicStatus,
)

Schema = dict[str, Any]


def openapi(version: str, max_candles: int, default_candles: int) -> Schema:
    """The OpenAPI 3.1 document.

    :param version: of Tickhouse.
    """
    refs, components = msgspec.json.schema_components(
        _STRUCTS, ref_template="#/components/schemas/{name}"
    )
    ref = dict(zip((struct.__name__ for struct in _STRUCTS), refs, strict=True))
    symbol = _parameter("symbol", {"type": "string"}, "one of /api/symbols", required=True)
    interval = _parameter("interval", {"enum": list(INTERVALS), "default": "1m"}, "of the candles")
    limit = _parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": max_candles, "default": default_candles},
        "the newest so many",
    )
    before = _parameter("before", {"type": "integer"}, "UNIX ms: only candles that start earlier")
    table = _parameter("table", {"enum": list(TABLES)}, "of gold", where="path", required=True)
    last_id = _parameter(
        "last_event_id",
        {"type": "string"},
        "for clients that cannot set the header Last-Event-ID: send what has changed since",
    )
    replay = {"anyOf": [ref["ReplayState"], {"type": "null"}]}
    gauges = _map(_map(ref["Gauge"]))
    summary = {
        "symbols": _list(ref["SymbolSummary"]),
        "gauges": gauges,
        "class_gauges": gauges,
        "has_gold": {"type": "boolean"},
    }
    paths = {
        "/api/symbols": _get("The symbols, sorted", {"symbols": _list({"type": "string"})}),
        "/api/candles": _get(
            "Candles, oldest first; those that Kafka no longer holds come from the warehouse",
            {
                "symbol": {"type": "string"},
                "interval": {"enum": list(INTERVALS)},
                "candles": _list(ref["ShownCandle"]),
            },
            [symbol, interval, limit, before],
        ),
        "/api/summary": _get(
            "Figures and gauges of each symbol, and gauges of all symbols of each class", summary
        ),
        "/api/sparklines": _get(
            "The last 60 closes of each symbol, oldest first",
            {"closes": _map(_list({"type": "number"}))},
        ),
        "/api/rejections": _get(
            "The newest rejections, newest first", {"rejections": _list(ref["ShownRejection"])}
        ),
        "/api/replay": {
            **_get("The replay that runs; null: none that can be steered", {"replay": replay}),
            "post": _post(
                "Pause or resume the replay, change its speed, or move it forward",
                ref["ReplayCommand"],
                {"replay": ref["ReplayState"]},
            ),
        },
        "/api/status": _get("Freshness, health and problems", _status(ref) | {"replay": replay}),
        "/api/gold/{table}": _get(
            "Rows of the last build; a candlestick needs a symbol. 503 before the first build",
            {"built_at": {"type": "integer"}, "rows": _list({"type": "object"})},
            [table, {**symbol, "required": False}, limit],
        ),
        "/events": {
            "get": {
                "summary": "Server-sent events: snapshot, candles, summary, status",
                "parameters": [symbol, interval, last_id],
                "responses": {
                    "200": {
                        "description": "each event's data is one line of JSON",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **_ERRORS,
                },
            }
        },
    }
    components |= {
        "Interval": {"enum": list(INTERVALS)},
        "Status": _object(_status(ref) | {"replay": replay}),
        "Summary": _object(summary),
        "FirstView": _object(
            {
                "symbols": _list({"type": "string"}),
                "status": {"$ref": "#/components/schemas/Status"},
                "symbol": {"type": ["string", "null"]},
                "interval": {"$ref": "#/components/schemas/Interval"},
                "summary": {"anyOf": [ref["SymbolSummary"], {"type": "null"}]},
                "candles": _list(ref["ShownCandle"]),
                "has_older": {"type": "boolean"},
                "event_id": {"type": "string"},
            }
        ),
        "Problem": _object({"error": {"type": "string"}}),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tickhouse live page",
            "version": version,
            "description": "Volume is the feed's own, not the consolidated volume of all venues.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _status(ref: dict[str, Schema]) -> dict[str, Schema]:
    text, number, maybe = {"type": "string"}, {"type": "integer"}, {"type": ["integer", "null"]}
    gold = {
        "state": {"enum": ["absent", "ready", "stuck"]},
        "detail": {"type": ["string", "null"]},
        "built_at": maybe,
        "as_of": maybe,
    }
    return {
        "version": text,
        "feed": {"enum": ["live", "simulated", "replay"]},
        "namespace": text,
        "now": number,
        "kafka": ref["ConnectionState"],
        "topics": _map(ref["TopicStatus"]),
        "last_final_end": maybe,
        "symbols": number,
        "dropped_count": number,
        "gold": _object(gold),
        "health": {"anyOf": [ref["Health"], {"type": "null"}]},
        "problems": _list(text),
    }


def _parameter(
    name: str, schema: Schema, description: str, *, where: str = "query", required: bool = False
) -> Schema:
    return {
        "name": name,
        "in": where,
        "required": required,
        "description": description,
        "schema": schema,
    }


def _get(
    summary: str, properties: dict[str, Schema], parameters: list[Schema] | None = None
) -> Schema:
    return {"get": _operation(summary, properties) | {"parameters": parameters or []}}


def _post(summary: str, body: Schema, properties: dict[str, Schema]) -> Schema:
    sent = {"required": True, "content": {"application/json": {"schema": body}}}
    return _operation(summary, properties) | {"requestBody": sent}


def _operation(summary: str, properties: dict[str, Schema]) -> Schema:
    content = {"application/json": {"schema": _object(properties)}}
    answers = {"200": {"description": summary, "content": content}, **_ERRORS}
    return {"summary": summary, "responses": answers}


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_ERRORS = {
    "default": {
        "description": "a sentence that says what is wrong",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
