"""What a report page consists of: visuals with their fields, place and formatting, and filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.powerbi.expressions import ColumnRef
from app.powerbi.pbir import JsonObject


@dataclass(frozen=True)
class Field:
    """A column or a measure that a visual is bound to."""

    table: str
    name: str
    kind: Literal["Column", "Measure"]

    @property
    def ref(self) -> ColumnRef:
        return ColumnRef(self.table, self.name)


@dataclass(frozen=True)
class Place:
    """A rectangle on a page, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Choice:
    """A filter that holds a column to one value."""

    column: ColumnRef
    value: str


@dataclass(frozen=True)
class Limit:
    """A filter that keeps a column at or below a number."""

    column: ColumnRef
    at_most: int


@dataclass(frozen=True)
class Visual:
    """A visual: its type, fields by role, place on the page and on a phone, and formatting."""

    key: str
    type: str
    title: str
    alt_text: str
    place: Place
    phone_height: int
    roles: Mapping[str, tuple[Field, ...]]
    objects: JsonObject = field(default_factory=dict)
    sort: tuple[Field, Literal["Ascending", "Descending"]] | None = None
    chosen: Choice | None = None
    """What a slicer has chosen when the report opens."""
    sync_group: str | None = None
    """Slicers of one group choose together on all pages."""
    ignores: tuple[str, ...] = ()
    """Keys of the visuals on its page that do not filter it."""

    @property
    def single_choice(self) -> bool:
        """Whether a slicer always has one value chosen."""
        return "selection" in self.objects

    def fields(self) -> tuple[Field, ...]:
        return tuple(field for fields in self.roles.values() for field in fields)


@dataclass(frozen=True)
class ReportPage:
    """A page; visuals are in the order of the tab key and of the phone layout."""

    key: str
    title: str
    visuals: tuple[Visual, ...]
    filters: tuple[Choice | Limit, ...] = ()
