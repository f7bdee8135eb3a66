"""The types that Snowflake gives to expressions of NUMBER, and where digits are lost.

Rules of https://docs.snowflake.com/en/sql-reference/operators-arithmetic (addition, multiplication,
division: leading digits and scale of the result) and, for aggregates,
https://docs.snowflake.com/en/sql-reference/functions/sum and .../avg. The precision is at most 38.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

MAX_PRECISION = 38


class Number(NamedTuple):
    """NUMBER(leading + scale, scale)."""

    leading: int
    scale: int

    def __str__(self) -> str:
        return f"NUMBER({self.leading + self.scale}, {self.scale})"


INTEGER = Number(MAX_PRECISION, 0)
Type = Number | str
"""A NUMBER, or the name of another type: FLOAT, TEXT, or OTHER."""
Columns = Mapping[str, Type]

_SAME = (
    *(exp.Alias, exp.Paren, exp.Neg, exp.Abs, exp.Window, exp.Min, exp.Max, exp.AnyValue),
    *(exp.ArgMax, exp.ArgMin, exp.FirstValue, exp.LastValue, exp.Lag, exp.Lead, exp.IgnoreNulls),
    *(exp.Filter, exp.Distinct, exp.WithinGroup),
)
"""Their type is that of their first argument."""
_CALCULATED = (exp.Add, exp.Sub, exp.Mul, exp.Div)
_INTEGERS = (exp.Count, exp.CountIf, exp.RowNumber, exp.DateDiff, exp.Length, exp.Sign, exp.Extract)
_FLOATS = (exp.Ln, exp.Exp, exp.Sqrt, exp.StddevSamp, exp.Stddev, exp.Corr, exp.Pow)


def number(kind: exp.DataType) -> Type:
    """The type of a column or cast."""
    name = kind.this
    if name == exp.DataType.Type.DECIMAL:
        given = [int(parameter.name) for parameter in kind.expressions]
        precision, scale = (given + [38, 0][len(given) :])[:2]
        return Number(precision - scale, scale)
    if name in exp.DataType.INTEGER_TYPES or name == exp.DataType.Type.INT128:
        return INTEGER
    if name in exp.DataType.REAL_TYPES:
        return "FLOAT"
    return "TEXT" if name in exp.DataType.TEXT_TYPES else "OTHER"


class Query:
    """A SELECT with the types of its columns.

    :param schema: the columns of tables by `schema.table`, all names in upper case.
    """

    def __init__(self, sql: str, schema: Mapping[str, Columns]) -> None:
        self._schema = schema
        nested: dict[str, dict[str, dict[str, str]]] = {}
        for table, columns in schema.items():
            place, _, name = table.partition(".")
            nested.setdefault(place, {})[name] = dict.fromkeys(columns, "TEXT")
        parsed = sqlglot.parse_one(sql, read="snowflake")
        for table in parsed.find_all(exp.Table):
            table.set("catalog", None)
        self._tree = qualify(
            parsed,
            schema=nested,
            dialect="snowflake",
            validate_qualify_columns=False,
            quote_identifiers=False,
        )
        self._types: dict[int, Type] = {}
        self.losses: list[str] = []
        """Expressions in which digits are lost, with their types."""

    def columns(self) -> dict[str, Type]:
        """The columns of the result; fills `losses` for the whole query."""
        root = build_scope(self._tree)
        assert root is not None
        for scope in root.traverse():
            for expression in _arithmetic(scope):
                self._type(expression, scope)
        return self._of_scope(root)

    def _of_scope(self, scope: Scope) -> dict[str, Type]:
        if scope.set_operation_scopes:
            branches = [list(self._of_scope(each).items()) for each in scope.set_operation_scopes]
            return {
                name: _common([branch[i][1] for branch in branches])
                for i, (name, _) in enumerate(branches[0])
            }
        return {
            each.alias_or_name.upper(): self._type(each, scope) for each in scope.expression.selects
        }

    def _type(self, expression: Any, scope: Scope) -> Type:
        known = self._types.get(id(expression))
        if known is None:
            known = self._types[id(expression)] = self._find(expression, scope)
        return known

    def _find(self, node: Any, scope: Scope) -> Type:
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Literal):
            return _literal(node)
        if isinstance(node, (exp.Cast, exp.TryCast)):
            return self._cast(node, self._type(node.this, scope), number(node.to))
        if isinstance(node, _SAME):
            inner = node.this if node.this is not None else node.expressions[0]
            return self._type(inner, scope)
        if isinstance(node, _CALCULATED):
            return self._calculated(node, scope)
        if isinstance(node, (exp.Sum, exp.Avg, exp.Median, exp.Round)):
            return self._aggregate(node, self._type(node.this, scope))
        if isinstance(node, exp.Nullif):
            return self._type(node.this, scope)
        if isinstance(node, (exp.Coalesce, exp.Greatest, exp.Least)):
            parts = [node.this, *node.expressions]
            return _common([self._type(part, scope) for part in parts if part])
        if isinstance(node, (exp.Case, exp.If)):
            return _common([self._type(part, scope) for part in _results(node)])
        if isinstance(node, exp.Subquery):
            for inner in scope.subquery_scopes:
                if inner.expression is node.this:
                    return next(iter(self._of_scope(inner).values()))
        if isinstance(node, _INTEGERS):
            return INTEGER
        return "FLOAT" if isinstance(node, _FLOATS) else "OTHER"

    def _column(self, column: exp.Column, scope: Scope) -> Type:
        source = scope.sources.get(column.table)
        if isinstance(source, Scope):
            return self._of_scope(source).get(column.name.upper(), "OTHER")
        if isinstance(source, exp.Table):
            table = f"{source.db}.{source.name}".upper()
            return self._schema.get(table, {}).get(column.name.upper(), "OTHER")
        return "OTHER"

    def _cast(self, node: Any, given: Type, wanted: Type) -> Type:
        if isinstance(given, Number) and isinstance(wanted, Number) and wanted.scale < given.scale:
            self._lose(node, f"{given.scale} decimals become {wanted.scale}")
        return wanted

    def _calculated(self, node: Any, scope: Scope) -> Type:
        left, right = self._type(node.left, scope), self._type(node.right, scope)
        if "FLOAT" in (left, right):
            return "FLOAT"
        if not (isinstance(left, Number) and isinstance(right, Number)):
            return "OTHER"
        if isinstance(node, exp.Mul):
            exact = left.scale + right.scale
            scale = min(exact, max(left.scale, right.scale, 12))
            return self._checked(node, left.leading + right.leading, scale, exact, (left, right))
        if isinstance(node, exp.Div):
            self._lose(node, f"a quotient of {left} and {right}; cast one of them to double")
            scale = max(left.scale, min(left.scale + 6, 12))
            return Number(min(left.leading + right.scale, MAX_PRECISION - scale), scale)
        scale = max(left.scale, right.scale)
        leading = max(left.leading, right.leading) + 1
        return self._checked(node, leading, scale, scale, (left, right))

    def _checked(
        self, node: Any, leading: int, scale: int, exact: int, given: tuple[Number, Number]
    ) -> Number:
        if scale < exact:
            self._lose(node, f"{given[0]} and {given[1]} give {exact} decimals, {scale} are kept")
        return Number(min(leading, MAX_PRECISION - scale), scale)

    def _aggregate(self, node: Any, kind: Type) -> Type:
        if not isinstance(kind, Number) or isinstance(node, exp.Round):
            return kind
        if isinstance(node, exp.Sum):
            return Number(MAX_PRECISION - kind.scale, kind.scale)
        self._lose(node, f"a mean of {kind}; cast it to double")
        scale = max(kind.scale, min(kind.scale + 6, 12))
        return Number(MAX_PRECISION - scale, scale)

    def _lose(self, node: Any, reason: str) -> None:
        self.losses.append(f"{node.sql(dialect='snowflake')[:200]}: {reason}")


def _arithmetic(scope: Scope) -> list[Any]:
    return [
        node
        for node in scope.walk()
        if isinstance(node, (*_CALCULATED, exp.Avg, exp.Median, exp.Cast))
    ]


def _literal(literal: exp.Literal) -> Type:
    if literal.is_string:
        return "TEXT"
    integer, _, decimals = literal.name.partition(".")
    return Number(len(integer.lstrip("0")) or 1, len(decimals))


def _results(node: Any) -> list[Any]:
    branches = node.args.get("ifs") or [node]
    results = [branch.args["true"] for branch in branches]
    other = node.args.get("default") or node.args.get("false")
    return [each for each in [*results, other] if each and not isinstance(each, exp.Null)]


def _common(kinds: Iterable[Type]) -> Type:
    """The type of a column or expression that takes values of several types."""
    found = [kind for kind in kinds if kind != "NULL"]
    numbers = [kind for kind in found if isinstance(kind, Number)]
    if "FLOAT" in found:
        return "FLOAT"
    if not numbers:
        return found[0] if found else "NULL"
    leading, scale = max(n.leading for n in numbers), max(n.scale for n in numbers)
    return Number(min(leading, MAX_PRECISION - scale), scale)
