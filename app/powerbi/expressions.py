"""Measures as small expression trees, each with its DAX and its value.

DirectQuery sends the aggregates of an expression to the warehouse as SQL and computes the rest
itself. So an expression provides its DAX text, the aggregates it needs, and its value when those
are known: the same tree serves the semantic model, the queries and the preview.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Value: TypeAlias = object


@dataclass(frozen=True)
class ColumnRef:
    """A column of the semantic model."""

    table: str
    column: str

    @property
    def dax(self) -> str:
        return f"'{self.table}'[{self.column}]"


@dataclass(frozen=True)
class Comparison:
    """A column that has a value, or has not."""

    column: ColumnRef
    sign: Literal["=", "<>"]
    text: str

    @property
    def dax(self) -> str:
        return f'{self.column.dax} {self.sign} "{self.text}"'


@dataclass(frozen=True)
class Context:
    """What a measure is evaluated under: aggregates of a row, and columns that have one value."""

    aggregates: Mapping[Aggregate, Value]
    single: frozenset[ColumnRef]
    """Columns that a group or a slicer holds to one value."""
    measures: Mapping[str, Expression]


class Expression(Protocol):
    """An expression of a measure."""

    @property
    def dax(self) -> str: ...

    def parts(self) -> tuple[Expression, ...]:
        """The expressions directly inside this one."""
        ...

    def value(self, context: Context) -> Value: ...


@dataclass(frozen=True)
class Aggregate:
    """SUM, MIN, MAX or AVERAGE of a column, of all rows or of those that a condition selects."""

    function: Literal["SUM", "MIN", "MAX", "AVERAGE"]
    column: ColumnRef
    where: Comparison | None = None

    @property
    def dax(self) -> str:
        aggregate = f"{self.function}({self.column.dax})"
        if self.where is None:
            return aggregate
        return f"CALCULATE({aggregate}, {self.where.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return ()

    def value(self, context: Context) -> Value:
        return context.aggregates.get(self)


@dataclass(frozen=True)
class MeasureRef:
    """Another measure."""

    name: str

    @property
    def dax(self) -> str:
        return f"[{self.name}]"

    def parts(self) -> tuple[Expression, ...]:
        return ()

    def value(self, context: Context) -> Value:
        return context.measures[self.name].value(context)


@dataclass(frozen=True)
class Divide:
    """A quotient; blank where the divisor is 0 or blank."""

    dividend: Expression
    divisor: Expression

    @property
    def dax(self) -> str:
        return f"DIVIDE({self.dividend.dax}, {self.divisor.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return self.dividend, self.divisor

    def value(self, context: Context) -> Value:
        dividend, divisor = (
            number(self.dividend.value(context)),
            number(self.divisor.value(context)),
        )
        return None if dividend is None or not divisor else dividend / divisor


@dataclass(frozen=True)
class Percent:
    """A column in percent as a share, which is what percent formats show."""

    percent: Expression

    @property
    def dax(self) -> str:
        return f"DIVIDE({self.percent.dax}, 100)"

    def parts(self) -> tuple[Expression, ...]:
        return (self.percent,)

    def value(self, context: Context) -> Value:
        percent = number(self.percent.value(context))
        return None if percent is None else percent / 100


@dataclass(frozen=True)
class IfSingle:
    """The inner expression where each of the columns has one value, else blank."""

    columns: tuple[ColumnRef, ...]
    inner: Expression

    @property
    def dax(self) -> str:
        conditions = " && ".join(f"HASONEVALUE({column.dax})" for column in self.columns)
        return f"IF({conditions}, {self.inner.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return (self.inner,)

    def value(self, context: Context) -> Value:
        if context.single.issuperset(self.columns):
            return self.inner.value(context)
        return None


@dataclass(frozen=True)
class IfSame:
    """The inner expression where all rows have the same value of a column, else blank."""

    column: ColumnRef
    inner: Expression

    @property
    def dax(self) -> str:
        lowest, highest = self._ends()
        return f"IF({lowest.dax} = {highest.dax}, {self.inner.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return *self._ends(), self.inner

    def value(self, context: Context) -> Value:
        lowest, highest = (end.value(context) for end in self._ends())
        return self.inner.value(context) if lowest == highest else None

    def _ends(self) -> tuple[Aggregate, Aggregate]:
        return Aggregate("MIN", self.column), Aggregate("MAX", self.column)


@dataclass(frozen=True)
class IfFiltered:
    """One expression where a table is filtered, another where it is not."""

    table: str
    filtered: Expression
    unfiltered: Expression

    @property
    def dax(self) -> str:
        return f"IF(ISFILTERED('{self.table}'), {self.filtered.dax}, {self.unfiltered.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return self.filtered, self.unfiltered

    def value(self, context: Context) -> Value:
        filtered = any(column.table == self.table for column in context.single)
        return (self.filtered if filtered else self.unfiltered).value(context)


@dataclass(frozen=True)
class IfRising:
    """A value where `close` is at least `open` (or is below it), else blank."""

    close: Expression
    open: Expression
    rising: bool
    inner: Expression

    @property
    def dax(self) -> str:
        sign = ">=" if self.rising else "<"
        return f"IF({self.close.dax} {sign} {self.open.dax}, {self.inner.dax})"

    def parts(self) -> tuple[Expression, ...]:
        return self.close, self.open, self.inner

    def value(self, context: Context) -> Value:
        close, opened = number(self.close.value(context)), number(self.open.value(context))
        if close is None or opened is None or (close >= opened) != self.rising:
            return None
        return self.inner.value(context)


def number(value: Value) -> float | None:
    """A value of a query as a number."""
    return float(value) if isinstance(value, (int, float)) else None


def aggregates_of(
    expression: Expression, measures: Mapping[str, Expression]
) -> Iterator[Aggregate]:
    """Every aggregate that the warehouse must compute for `expression`."""
    if isinstance(expression, Aggregate):
        yield expression
    elif isinstance(expression, MeasureRef):
        yield from aggregates_of(measures[expression.name], measures)
    for part in expression.parts():
        yield from aggregates_of(part, measures)
