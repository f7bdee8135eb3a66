"""A measure's DAX, the aggregates it needs, and its value are of one tree."""

from __future__ import annotations

import pytest

from app.powerbi.expressions import (
    Aggregate,
    ColumnRef,
    Comparison,
    Context,
    Divide,
    Expression,
    IfFiltered,
    IfRising,
    IfSame,
    IfSingle,
    MeasureRef,
    Percent,
    aggregates_of,
)

A = Aggregate("SUM", ColumnRef("T", "A"))
B = Aggregate("MAX", ColumnRef("T", "B"))
KEY = ColumnRef("S", "Key")


def value(expression: Expression, a: object, b: object, single: bool = True) -> object:
    context = Context({A: a, B: b}, frozenset({KEY} if single else ()), {"M": A})
    return expression.value(context)


@pytest.mark.parametrize(
    ("expression", "dax"),
    [
        (A, "SUM('T'[A])"),
        (Divide(A, MeasureRef("M")), "DIVIDE(SUM('T'[A]), [M])"),
        (Percent(B), "DIVIDE(MAX('T'[B]), 100)"),
        (IfSingle((KEY,), B), "IF(HASONEVALUE('S'[Key]), MAX('T'[B]))"),
        (IfSame(KEY, B), "IF(MIN('S'[Key]) = MAX('S'[Key]), MAX('T'[B]))"),
        (IfFiltered("S", A, B), "IF(ISFILTERED('S'), SUM('T'[A]), MAX('T'[B]))"),
        (IfRising(A, B, False, A), "IF(SUM('T'[A]) < MAX('T'[B]), SUM('T'[A]))"),
        (
            Aggregate("SUM", ColumnRef("T", "A"), Comparison(KEY, "<>", "x")),
            "CALCULATE(SUM('T'[A]), 'S'[Key] <> \"x\")",
        ),
    ],
)
def test_expression_is_reported_in_dax(expression: Expression, dax: str) -> None:
    assert expression.dax == dax


def test_division_by_nothing_is_blank() -> None:
    assert value(Divide(A, B), 6, 3) == 2
    assert value(Divide(A, B), 6, 0) is None
    assert value(Divide(A, B), None, 3) is None


def test_value_of_one_is_blank_where_several_are_mixed() -> None:
    assert value(IfSingle((KEY,), B), 1, 5) == 5
    assert value(IfSingle((KEY,), B), 1, 5, single=False) is None


def test_value_of_rows_that_are_alike_is_blank_where_they_differ() -> None:
    lowest, highest = Aggregate("MIN", KEY), Aggregate("MAX", KEY)
    expression = IfSame(KEY, B)

    assert set(aggregates_of(expression, {})) == {lowest, highest, B}
    for last, expected in (("x", 5), ("y", None)):
        context = Context({lowest: "x", highest: last, B: 5}, frozenset(), {})
        assert expression.value(context) == expected


def test_filtered_table_takes_the_first_expression() -> None:
    assert value(IfFiltered("S", A, B), 1, 2) == 1
    assert value(IfFiltered("S", A, B), 1, 2, single=False) == 2


def test_candle_is_either_rising_or_falling() -> None:
    for close, opened, rising in ((2, 1, True), (1, 1, True), (1, 2, False)):
        assert (value(IfRising(A, B, True, A), close, opened) is not None) == rising
        assert (value(IfRising(A, B, False, A), close, opened) is None) == rising


def test_aggregates_behind_other_measures_are_asked_for() -> None:
    assert set(aggregates_of(Divide(MeasureRef("M"), B), {"M": A})) == {A, B}
