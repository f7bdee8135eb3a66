"""The SQL that DirectQuery would send for a visual, and the visual's values from the answers.

Written from the bindings: a query for each table whose columns the visual's measures aggregate,
grouped by the visual's columns, restricted by the filters of its page and by what is chosen in its
slicers. Power BI words its SQL otherwise; what it reads, joins and groups is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.powerbi.expressions import Aggregate, ColumnRef, Context, Value, aggregates_of
from app.powerbi.layout import Choice, Limit, ReportPage, Visual
from app.powerbi.model import INTERVAL, MODEL, SYMBOL
from app.powerbi.semantic_model import Relationship
from app.warehouse.sql import text_literal

Row: TypeAlias = dict[str, Any]
Group: TypeAlias = tuple[Value, ...]
Run: TypeAlias = Callable[[str], list[Row]]
"""Executes SQL; its rows by column name."""

Choices: TypeAlias = Mapping[ColumnRef, str]
"""What is chosen in slicers."""


@dataclass(frozen=True)
class Query:
    """A SELECT of one table: aggregates by groups."""

    sql: str
    groups: tuple[ColumnRef, ...]
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True)
class VisualData:
    """The rows of a visual: values of its fields by their names."""

    rows: list[Row]
    measures: tuple[str, ...]
    """Measures of the rows: those of its roles and those its formatting uses."""


def queries(page: ReportPage, visual: Visual, choices: Choices) -> list[Query]:
    """What DirectQuery must ask for a visual of `page`."""
    held = held_values(page, visual, choices)
    groups = _groups(visual)
    if not measures_of(visual):
        return [_query(page, groups[0].table, groups, (), held)]
    wanted: dict[str, dict[Aggregate, None]] = {}
    for name in measures_of(visual):
        for aggregate in aggregates_of(MODEL.measures[name], MODEL.measures):
            wanted.setdefault(aggregate.column.table, {})[aggregate] = None
    return [_query(page, table, groups, tuple(each), held) for table, each in wanted.items()]


def answer(page: ReportPage, visual: Visual, choices: Choices, run: Run) -> VisualData:
    """The values that a visual shows, by its queries and its measures."""
    groups = _groups(visual)
    names = measures_of(visual)
    asked = [(query, _by_group(query, run(query.sql))) for query in queries(page, visual, choices)]
    single = frozenset(groups) | frozenset(held_values(page, visual, choices))
    rows = []
    for key in _keys(groups, asked):
        context = Context(_aggregates(key, asked), single, MODEL.measures)
        values = {name: MODEL.measures[name].value(context) for name in names}
        if not names or any(value is not None for value in values.values()):
            rows.append({column.column: value for column, value in key.items()} | values)
    return VisualData(_sorted(visual, rows), names)


def held_values(page: ReportPage, visual: Visual, choices: Choices) -> dict[ColumnRef, str]:
    """The columns that filters and slicers of the page hold to one value for this visual."""
    held = {each.column: each.value for each in page.filters if isinstance(each, Choice)}
    for slicer in page.visuals:
        if slicer.type != "slicer" or slicer is visual or slicer.key in visual.ignores:
            continue
        (shown,) = slicer.fields()
        if shown.ref in choices and slicer.single_choice:
            held[shown.ref] = choices[shown.ref]
        elif slicer.chosen:
            held[shown.ref] = slicer.chosen.value
    return held


def measures_of(visual: Visual) -> tuple[str, ...]:
    """Measures of a visual's roles, then those that only its formatting uses."""
    shown = [field.name for field in visual.fields() if field.kind == "Measure"]
    return tuple(dict.fromkeys([*shown, *_formatting_measures(visual.objects)]))


def _formatting_measures(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        measure = value.get("Measure")
        if isinstance(measure, dict):
            yield measure["Property"]
        for part in value.values():
            yield from _formatting_measures(part)
    elif isinstance(value, list):
        for part in value:
            yield from _formatting_measures(part)


def _groups(visual: Visual) -> tuple[ColumnRef, ...]:
    return tuple(field.ref for field in visual.fields() if field.kind == "Column")


def _query(
    page: ReportPage,
    table: str,
    groups: Sequence[ColumnRef],
    aggregates: tuple[Aggregate, ...],
    held: Mapping[ColumnRef, str],
) -> Query:
    """Columns that no relationship leads to are no groups and no filters of this table."""
    within = {table: None} | {r.one_side.table: r for r in _relationships(table)}
    groups = tuple(column for column in groups if column.table in within)
    filters = {column: value for column, value in held.items() if column.table in within}
    limits = [each for each in page.filters if isinstance(each, Limit)]
    limits = [each for each in limits if each.column.table in within]
    used = {column.table for column in (*groups, *filters, *(e.column for e in limits))} - {table}
    selected = [f"{_sql(column)} as g{number}" for number, column in enumerate(groups)]
    selected += [f"{_aggregate(each)} as a{number}" for number, each in enumerate(aggregates)]
    lines = [
        f"select {', '.join(selected)}" if aggregates else f"select distinct {', '.join(selected)}",
        f"from gold.{MODEL.table(table).view} as {table.lower()}",
    ]
    lines += [_join(each) for each in _relationships(table) if each.one_side.table in used]
    conditions = [f"{_sql(column)} = {text_literal(value)}" for column, value in filters.items()]
    conditions += [f"{_sql(each.column)} <= {each.at_most}" for each in limits]
    if conditions:
        lines.append(f"where {' and '.join(conditions)}")
    if groups and aggregates:
        lines.append(f"group by {', '.join(_sql(column) for column in groups)}")
    return Query("\n".join(lines), groups, aggregates)


def _relationships(table: str) -> list[Relationship]:
    return [each for each in MODEL.relationships if each.many_side.table == table]


def _join(relationship: Relationship) -> str:
    kind = "inner" if relationship.complete else "left"
    target = relationship.one_side.table
    return (
        f"{kind} join gold.{MODEL.table(target).view} as {target.lower()} "
        f"on {_sql(relationship.many_side)} = {_sql(relationship.one_side)}"
    )


def _sql(column: ColumnRef) -> str:
    return f"{column.table.lower()}.{MODEL.column(column).source}"


def _aggregate(aggregate: Aggregate) -> str:
    function = {"AVERAGE": "avg"}.get(aggregate.function, aggregate.function.lower())
    if aggregate.where is None:
        return f"{function}({_sql(aggregate.column)})"
    where = aggregate.where
    condition = f"{_sql(where.column)} {where.sign} {text_literal(where.text)}"
    return f"{function}(case when {condition} then {_sql(aggregate.column)} end)"


def _by_group(query: Query, rows: list[Row]) -> dict[Group, Row]:
    return {tuple(row[f"g{number}"] for number in range(len(query.groups))): row for row in rows}


def _keys(
    groups: tuple[ColumnRef, ...], asked: list[tuple[Query, dict[Group, Row]]]
) -> list[dict[ColumnRef, Value]]:
    """The groups of the answer: those of the queries that are grouped by all of its columns."""
    found: dict[Group, None] = {}
    for query, rows in asked:
        if query.groups == groups:
            found |= dict.fromkeys(rows)
    return [dict(zip(groups, key, strict=True)) for key in found]


def _aggregates(
    key: Mapping[ColumnRef, Value], asked: list[tuple[Query, dict[Group, Row]]]
) -> dict[Aggregate, Value]:
    """Return the aggregates of one group; a query with fewer groups has one row for several."""
    values: dict[Aggregate, Value] = {}
    for query, rows in asked:
        row = rows.get(tuple(key[column] for column in query.groups))
        if row:
            values |= {each: row[f"a{number}"] for number, each in enumerate(query.aggregates)}
    return values


def _sorted(visual: Visual, rows: list[Row]) -> list[Row]:
    rows = sorted(rows, key=lambda row: str(next(iter(row.values()), "")))
    if visual.sort is None:
        return rows
    field, direction = visual.sort
    known = [row for row in rows if row[field.name] is not None]
    known.sort(key=lambda row: row[field.name], reverse=direction == "Descending")
    return known + [row for row in rows if row[field.name] is None]


def chosen(symbol: str, interval: str | None = None) -> dict[ColumnRef, str]:
    """Slicers with a symbol chosen, and an interval."""
    return {SYMBOL: symbol} | ({INTERVAL: interval} if interval else {})
