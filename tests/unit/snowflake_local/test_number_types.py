"""The documented types of results of NUMBER, and what the checks of compiled SQL find."""

from __future__ import annotations

import pytest

from tests.snowflake_local.functions import unknown_functions
from tests.snowflake_local.number_types import INTEGER, Columns, Number, Query

TRADES: Columns = {
    "PRICE": Number(16, 12),
    "SIZE": Number(16, 12),
    "CENTS": Number(10, 2),
    "COUNTED": INTEGER,
    "SYMBOL": "TEXT",
    "VWAP": "FLOAT",
}


def query(expression: str) -> Query:
    return Query(f"select {expression} as result from db.raw.trades", {"RAW.TRADES": TRADES})


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("price + size", "NUMBER(29, 12)"),
        ("price - cents", "NUMBER(29, 12)"),
        ("cents * cents", "NUMBER(24, 4)"),
        ("60000 * counted", "NUMBER(38, 0)"),
        ("sum(price)", "NUMBER(38, 12)"),
        ("max(price)", "NUMBER(28, 12)"),
        ("max_by(price, counted)", "NUMBER(28, 12)"),
        ("lag(price) over (partition by symbol order by counted)", "NUMBER(28, 12)"),
        ("coalesce(cents, price)", "NUMBER(28, 12)"),
        ("case when counted > 1 then price end", "NUMBER(28, 12)"),
        ("cast(price as double) / size", "FLOAT"),
        ("avg(vwap)", "FLOAT"),
        ("price * vwap", "FLOAT"),
        ("count(*)", "NUMBER(38, 0)"),
        ("(select max(price) from raw.trades)", "NUMBER(28, 12)"),
    ],
)
def test_the_type_of_an_expression(expression: str, kind: str) -> None:
    asked = query(expression)

    assert str(asked.columns()["RESULT"]) == kind
    assert asked.losses == []


@pytest.mark.parametrize(
    ("expression", "loss"),
    [
        ("price * size", "give 24 decimals, 12 are kept"),
        ("sum(price * size)", "give 24 decimals, 12 are kept"),
        ("price / nullif(size, 0)", "a quotient of"),
        ("avg(price)", "a mean of NUMBER(28, 12)"),
        ("cast(price as number(28, 6))", "12 decimals become 6"),
    ],
)
def test_an_expression_that_loses_digits(expression: str, loss: str) -> None:
    asked = query(expression)
    asked.columns()

    assert len(asked.losses) == 1
    assert loss in asked.losses[0]


def test_types_pass_through_subqueries_unions_and_stars() -> None:
    asked = Query(
        """
        with source as (select * from db.raw.trades),
        both_sides as (select price, size from source union all select cents, counted from source)
        select price, size, price * size as product from both_sides
        """,
        {"RAW.TRADES": TRADES},
    )

    assert {name: str(kind) for name, kind in asked.columns().items()} == {
        "PRICE": "NUMBER(28, 12)",
        "SIZE": "NUMBER(38, 12)",
        "PRODUCT": "NUMBER(38, 12)",
    }
    assert len(asked.losses) == 1


def test_functions_of_duckdb_alone_are_unknown() -> None:
    sql = """
        select time_bucket(interval '5 minutes', t), date_diff('second', a, b), sum(n)::number(9)
        from trades where symbol in ('A') and (n > 0) qualify row_number() over (order by t) = 1
    """

    assert unknown_functions(sql) == {"time_bucket", "date_diff"}
