"""What a semantic model consists of: tables with columns and measures, relationships and roles."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from app.powerbi.expressions import ColumnRef, Expression

DataType = Literal["string", "int64", "double", "dateTime"]


@dataclass(frozen=True)
class Column:
    """A column of a gold view under the name that the report shows.

    Hidden columns are keys and what measures aggregate.
    """

    source: str
    name: str
    type: DataType
    format: str | None = None
    visible: bool = False
    key: bool = False
    sort_by: str | None = None
    """Column whose order this one's values are shown in."""


@dataclass(frozen=True)
class Measure:
    """A named expression, with how it is shown and where the field list holds it."""

    name: str
    expression: Expression
    format: str | None
    folder: str
    description: str


@dataclass(frozen=True)
class Table:
    """A gold view as a table of the model."""

    name: str
    view: str
    columns: tuple[Column, ...]
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Relationship:
    """Many rows of one table to one of another."""

    many_side: ColumnRef
    one_side: ColumnRef
    complete: bool
    """Whether every row finds its partner, so that the warehouse may use an inner join."""


@dataclass(frozen=True)
class Role:
    """An example of row-level security: what its members see of a table."""

    name: str
    table: str
    filter: str
    description: str


@dataclass(frozen=True)
class Model:
    """Tables, relationships and roles."""

    tables: tuple[Table, ...]
    relationships: tuple[Relationship, ...]
    roles: tuple[Role, ...] = field(default=())

    @cached_property
    def measures(self) -> dict[str, Expression]:
        """Every measure's expression by its name, which is unique in the model."""
        return {m.name: m.expression for table in self.tables for m in table.measures}

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def column(self, ref: ColumnRef) -> Column:
        return next(c for c in self.table(ref.table).columns if c.name == ref.column)

    def measure(self, name: str) -> tuple[Table, Measure]:
        """The table that holds a measure, and the measure."""
        return next((t, m) for t in self.tables for m in t.measures if m.name == name)
