"""Pictures of the report without Power BI: every visual at its place, with values of gold.

Values come from the same bindings and measures as the report. Deneb's specification is drawn by
Vega-Lite itself; the other visuals are drawings that show what Power BI will show, not how it
draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import vl_convert

from app.errors import TickhouseError
from app.outputs import write_atomically
from app.powerbi import deneb, svg, theme
from app.powerbi.formats import compact, formatted
from app.powerbi.gold import published_gold, rows_of
from app.powerbi.layout import Field, ReportPage, Visual
from app.powerbi.model import MODEL
from app.powerbi.pbir import JsonObject
from app.powerbi.queries import Choices, Row, VisualData, answer, chosen
from app.powerbi.report import HEIGHT, PAGES, WIDTH

_VEGA_LITE = "6.4"
_TITLE_HEIGHT = 30
_PAD = 12
_NOTE = "Drawn from the report's definition and gold, not by Power BI"
_NOTE_HEIGHT = 28


class PreviewError(TickhouseError):
    """The pictures cannot be drawn."""


def write_previews(folder: Path, gold: Path, symbol: str | None) -> list[Path]:
    """Draw every page of the report with the values of a published file; the paths of the PNGs.

    :param symbol: what the symbol slicers have chosen; the one with the most traded value if None.
    :raises PreviewError: gold has no candles, or none of `symbol`.
    """
    if folder.exists() and not folder.is_dir():
        raise PreviewError(f"--preview {folder} is no folder. Name a folder for the pictures.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with published_gold(gold) as connection:

        def run(sql: str) -> list[Row]:
            return rows_of(connection, sql)

        choices = chosen(_symbol(run, symbol))
        for page in PAGES:
            path = folder / f"powerbi-{page.key}.png"
            write_atomically(path, png(page_svg(page, choices, run)))
            paths.append(path)
    return paths


def png(drawing: str) -> bytes:
    return bytes(vl_convert.svg_to_png(drawing))


def page_svg(page: ReportPage, choices: Choices, run: Callable[[str], list[Row]]) -> str:
    """A page with all its visuals, as SVG."""
    parts = [svg.rectangle((0, 0, WIDTH, HEIGHT + _NOTE_HEIGHT), theme.PAGE)]
    for visual in page.visuals:
        parts += _visual(visual, choices, answer(page, visual, choices, run))
    parts.append(svg.text(16, HEIGHT + 14, f"{page.title} · {_NOTE}", 11, theme.SOFT))
    return svg.document(WIDTH, HEIGHT + _NOTE_HEIGHT, parts)


def _symbol(run: Callable[[str], list[Row]], symbol: str | None) -> str:
    by_value = run("select symbol from gold.gold_treechart order by traded_value desc, symbol")
    symbols = [str(row["symbol"]) for row in by_value]
    if not symbols:
        raise PreviewError("Gold has no candles yet: load some, then draw the report.")
    if symbol is not None and symbol not in symbols:
        raise PreviewError(f"Gold has no candles of {symbol}; it has {', '.join(symbols[:20])}.")
    return symbol or symbols[0]


def _visual(visual: Visual, choices: Choices, shown: VisualData) -> list[str]:
    place = visual.place
    top = _TITLE_HEIGHT if visual.title else _PAD
    inner = (
        place.x + _PAD,
        place.y + top,
        place.width - 2 * _PAD,
        place.height - top - _PAD,
    )
    frame = (place.x, place.y, place.width, place.height)
    parts = [svg.rectangle(frame, theme.PANEL, theme.LINE, radius=8)]
    if visual.title:
        title = svg.text(
            inner[0], place.y + 20, visual.title, 12, theme.INK, bold=True, width=inner[2]
        )
        parts.append(title)
    if visual.type == "slicer":
        parts += _slicer(visual, inner, _choice(visual, choices), shown.rows)
    else:
        parts += _DRAWINGS[visual.type](visual, inner, shown.rows)
    return parts


def _choice(visual: Visual, choices: Choices) -> str | None:
    """Return the value a slicer has chosen, None for all values."""
    (field,) = visual.fields()
    if not visual.single_choice:
        return None
    return choices.get(field.ref) or (visual.chosen.value if visual.chosen else None)


def _slicer(visual: Visual, box: svg.Box, choice: str | None, rows: list[Row]) -> list[str]:
    x, y, width, _ = box
    (field,) = visual.fields()
    values = [str(row[field.name]) for row in rows]
    if choice is None or len(values) > 6 or visual.key.endswith("symbol"):
        return [
            svg.rectangle((x, y + 8, width, 34), theme.PANEL, theme.LINE, radius=4),
            svg.text(x + 10, y + 30, choice or "All", 14, width=width - 40),
            svg.text(x + width - 12, y + 30, "▾", 14, theme.SOFT, "end"),
        ]
    parts = []
    tile = width / len(values)
    for number, value in enumerate(_by_model_order(field, values)):
        left = x + number * tile
        fill = theme.ACCENT if value == choice else theme.PANEL
        ink = theme.PANEL if value == choice else theme.INK
        parts.append(svg.rectangle((left + 2, y + 8, tile - 4, 34), fill, theme.LINE, radius=4))
        parts.append(svg.text(left + tile / 2, y + 30, value, 14, ink, "middle"))
    return parts


def _by_model_order(field: Field, values: list[str]) -> list[str]:
    """Intervals by their length, other values by themselves."""
    units = {"m": 1, "h": 60, "d": 1440}
    if field.name != "Interval":
        return sorted(values)
    return sorted(values, key=lambda value: int(value[:-1]) * units[value[-1]])


def _cards(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    x, y, width, height = box
    fields = visual.roles["Data"]
    tile = width / len(fields)
    row = rows[0] if rows else {}
    parts = []
    for number, field in enumerate(fields):
        left = x + number * tile
        value = row.get(field.name)
        if number:
            ends = [(left - 6, y + 12), (left - 6, y + height - 12)]
            parts.append(svg.line(ends, theme.LINE))
        words = formatted(value, pattern_of(field))
        size = 19 if svg.fits(words, 19, tile - 12) else 15
        parts.append(svg.text(left + 4, y + height / 2 + 2, words, size, theme.INK, bold=True))
        label = svg.text(left + 4, y + height / 2 + 24, field.name, 12, theme.SOFT, width=tile - 8)
        parts.append(label)
    return parts


def _kpi(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    x, y, width, height = box
    (indicator,), (goal,) = visual.roles["Indicator"], visual.roles["Goal"]
    values = [row[indicator.name] for row in rows if row[indicator.name] is not None]
    if not values:
        return [_nothing(box)]
    target = rows[-1][goal.name]
    status = theme.UP if target is None or values[-1] >= target else theme.DOWN
    low, high = min(values), max(values)
    points = [
        (
            x + width * number / max(len(values) - 1, 1),
            y + height - (height - 6) * (value - low) / ((high - low) or 1),
        )
        for number, value in enumerate(values)
    ]
    words = formatted(values[-1], pattern_of(indicator))
    compared = f"Goal: {formatted(target, pattern_of(goal))}"
    if target:
        compared += f" ({values[-1] / target - 1:+.2%})"
    return [
        svg.area(points, y + height, status),
        svg.line(points, status, 1),
        svg.text(x + width / 2, y + height / 2 + 4, words, 26, status, "middle", bold=True),
        svg.text(x + width / 2, y + height / 2 + 26, compared, 12, theme.INK, "middle"),
    ]


def _gauge(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    x, y, width, height = box
    row = rows[0] if rows else {}
    ((value,), (full,), (target,)) = (
        [row.get(field.name) for field in visual.roles[role]]
        for role in ("Y", "MaxValue", "TargetValue")
    )
    center = (x + width / 2, y + height - 16)
    radius = min(width / 2 - 22, height - 34)
    parts = [svg.arc(center, radius, 1, theme.TRACK, 16)]
    if full:
        parts.append(svg.arc(center, radius, (value or 0) / full, theme.ACCENT, 16))
    if full and target is not None:
        ends = [svg.on_arc(center, radius + side, target / full) for side in (-10, 10)]
        parts.append(svg.line(ends, theme.INK, 2))
        mark = svg.on_arc(center, radius + 18, target / full)
        parts.append(svg.text(*mark, compact(target), 10, theme.SOFT, "middle"))
    parts += [
        svg.text(center[0], center[1] - 4, compact(value), 20, theme.INK, "middle", bold=True),
        svg.text(center[0] - radius, center[1] + 14, "0", 10, theme.SOFT, "middle"),
        svg.text(center[0] + radius, center[1] + 14, compact(full), 10, theme.SOFT, "middle"),
    ]
    return parts


def _treemap(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    (group,), (size,) = visual.roles["Group"], visual.roles["Values"]
    sized = [row for row in rows if (row[size.name] or 0) > 0]
    if not sized:
        return [_nothing(box)]
    positions = svg.squarify([row[size.name] for row in sized], box)
    parts = []
    for row, tile in zip(sized, positions, strict=True):
        x, y, width, height = tile
        name = str(row[group.name])
        label = compact(row[size.name])
        parts.append(svg.rectangle(tile, _tile_color(row["Change %"]), theme.PANEL))
        if height > 20:
            parts.append(svg.text(x + 6, y + 16, name, 12, bold=True, width=width - 8))
        if height > 38 and svg.fits(label, 11, width - 8):
            parts.append(svg.text(x + 6, y + 32, label, 11))
    return parts


def _tile_color(change: float | None) -> str:
    """Between the stops of the report's gradient: -2 %, 0 and 2 %."""
    strength = max(-1.0, min(1.0, (change or 0.0) / 0.02))
    end = theme.TILE_UP if strength > 0 else theme.TILE_DOWN
    mixed = (
        round(int(a, 16) + abs(strength) * (int(b, 16) - int(a, 16)))
        for a, b in ((theme.TILE_FLAT[at : at + 2], end[at : at + 2]) for at in range(1, 7, 2))
    )
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _table(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    x, y, width, height = box
    fields = visual.roles["Values"]
    column = width / len(fields)
    step = 20
    lines = int((height - 20) / step)
    shown = rows if len(rows) <= lines else rows[: lines - 1]
    parts = []
    for number, field in enumerate(fields):
        left = field.kind == "Column"
        at = x + number * column + (0 if left else column - 8)
        anchor: svg.Anchor = "start" if left else "end"
        head = svg.text(at, y + 14, field.name, 11, theme.SOFT, anchor, True, column - 4)
        parts.append(head)
        for line, row in enumerate(shown):
            words = formatted(row[field.name], pattern_of(field))
            below = y + 14 + step * (line + 1)
            parts.append(svg.text(at, below, words, 11, theme.INK, anchor, width=column - 4))
    parts.append(svg.line([(x, y + 20), (x + width, y + 20)], theme.LINE))
    if len(shown) < len(rows):
        more = f"and {len(rows) - len(shown):,} more rows, to which Power BI scrolls"
        parts.append(svg.text(x, y + 14 + step * lines, more, 11, theme.SOFT))
    return parts


def _deneb(_: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    """The specification that the report holds, with its data."""
    return [_vega_lite(deneb.spec(), {"dataset": rows}, box, deneb.config())]


def _line_chart(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    """Draw series as lines unless their stroke is hidden, and error bars, as formatted."""
    (category,) = visual.roles["Category"]
    hidden, bars = _lines_and_bars(visual.objects)
    layers: list[JsonObject] = []
    for bar in bars:
        layers.append(
            {
                "transform": [{"filter": f"isValid(datum['{bar['series']}'])"}],
                "mark": {"type": "rule", "color": bar["color"], "strokeWidth": bar["width"]},
                "encoding": {
                    "y": {"field": bar["upper"], **_PRICE},
                    "y2": {"field": bar["lower"]},
                },
            }
        )
    for number, field in enumerate(visual.roles["Y"]):
        if field.name not in hidden:
            color = theme.theme()["dataColors"][number]
            layers.append(
                {
                    "mark": {"type": "line", "color": color, "strokeWidth": 1},
                    "encoding": {"y": {"field": field.name, **_PRICE}},
                }
            )
    x = {"field": category.name, "type": "ordinal", "axis": _time_axis()}
    spec = {"data": {"name": "dataset"}, "encoding": {"x": x}, "layer": layers}
    return [_vega_lite(spec, {"dataset": rows}, box, deneb.config())]


_PRICE: JsonObject = {"type": "quantitative", "scale": {"zero": False}, "axis": {"title": None}}


def _time_axis() -> JsonObject:
    axis: JsonObject = deneb.spec()["encoding"]["x"]["axis"]
    return axis


def _literal(value: JsonObject) -> str:
    return str(value["expr"]["Literal"]["Value"])


def _lines_and_bars(objects: JsonObject) -> tuple[set[str], list[dict[str, Any]]]:
    """Series whose line is hidden; error bars with their series, bounds, colour and width."""

    def series(part: JsonObject) -> str:
        return str(part["selector"]["metadata"]).partition(".")[2]

    hidden = {
        series(part)
        for part in objects["lineStyles"]
        if part["properties"].get("strokeShow", {}).get("expr", {})
        == {"Literal": {"Value": "false"}}
    }
    bars: dict[str, dict[str, Any]] = {}
    for part in objects["error"]:
        bar = bars.setdefault(series(part), {"series": series(part)})
        properties = part["properties"]
        if "errorRange" in properties:
            bounds = properties["errorRange"]["explicit"]
            bar["upper"] = bounds["upperBound"]["expr"]["Measure"]["Property"]
            bar["lower"] = bounds["lowerBound"]["expr"]["Measure"]["Property"]
        else:
            bar["color"] = properties["barColor"]["solid"]["color"]["expr"]["Literal"]["Value"][
                1:-1
            ]
            bar["width"] = float(properties["barWidth"]["expr"]["Literal"]["Value"][:-1])
    return hidden, list(bars.values())


def _columns(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    (category,) = visual.roles["Category"]
    names = [field.name for field in visual.roles["Y"]]
    colors = theme.theme()["dataColors"][: len(names)]
    spec = {
        "data": {"name": "dataset"},
        "transform": [{"fold": names, "as": ["measure", "value"]}],
        "mark": "bar",
        "encoding": {
            "x": {
                "field": category.name,
                "type": "ordinal",
                "axis": {
                    "title": None,
                    "formatType": "time",
                    "format": "%Y-%m-%d",
                    "labelAngle": 0,
                },
            },
            "xOffset": {"field": "measure", "sort": names},
            "y": {"field": "value", "type": "quantitative", "axis": {"title": None}},
            "color": {
                "field": "measure",
                "scale": {"domain": names, "range": colors},
                "legend": {"title": None, "orient": "top"},
            },
        },
    }
    return [_vega_lite(spec, {"dataset": rows}, box, deneb.config())]


def _bars(visual: Visual, box: svg.Box, rows: list[Row]) -> list[str]:
    (category,), (value,) = visual.roles["Category"], visual.roles["Y"]
    labelled = [row | {"label": formatted(row[value.name], pattern_of(value))} for row in rows[:12]]
    y = {"field": category.name, "sort": None, "axis": {"title": None}}
    x = {
        "field": value.name,
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"title": None, "format": "%", "tickCount": 5},
    }
    spec = {
        "data": {"name": "dataset"},
        "encoding": {"y": y, "x": x},
        "layer": [
            {"mark": {"type": "bar", "color": theme.ACCENT}},
            {
                "mark": {"type": "text", "align": "right", "dx": -4, "color": theme.PANEL},
                "encoding": {"text": {"field": "label"}},
            },
        ],
    }
    return [_vega_lite(spec, {"dataset": labelled}, box, deneb.config())]


def _vega_lite(
    spec: JsonObject, data: dict[str, list[Row]], box: svg.Box, config: JsonObject
) -> str:
    x, y, width, height = box
    if not any(data.values()):
        return _nothing(box)
    complete = spec | {
        "width": width,
        "height": height,
        "datasets": json.loads(json.dumps(data, default=_json_time)),
    }
    fonts = config | {"font": svg.FONTS}
    drawn = vl_convert.vegalite_to_svg(complete, vl_version=_VEGA_LITE, config=fonts)
    return svg.nested(drawn, x, y)


def _json_time(value: object) -> str:
    """Times have no zone, so Vega shows them as they stand; it would read a bare date as UTC."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00"
    raise TypeError(f"{value!r} is no value of gold.")


def _nothing(box: svg.Box) -> str:
    x, y, width, height = box
    return svg.text(x + width / 2, y + height / 2, "no data", 12, theme.SOFT, "middle")


def pattern_of(field: Field) -> str | None:
    """The format string of a bound field."""
    if field.kind == "Measure":
        return MODEL.measure(field.name)[1].format
    return MODEL.column(field.ref).format


_DRAWINGS: dict[str, Callable[[Visual, svg.Box, list[Row]], list[str]]] = {
    "cardVisual": _cards,
    "kpi": _kpi,
    "gauge": _gauge,
    "treemap": _treemap,
    "tableEx": _table,
    "lineChart": _line_chart,
    "clusteredColumnChart": _columns,
    "clusteredBarChart": _bars,
    deneb.VISUAL_TYPE: _deneb,
}
