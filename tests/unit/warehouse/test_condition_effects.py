"""What sale conditions allow by the audit's SQL is what they allow in the stream."""

from __future__ import annotations

from itertools import combinations_with_replacement
from types import SimpleNamespace
from typing import Any

import duckdb
import jinja2

from app.market.conditions import CONDITIONS, PriceClass, eligibility
from app.market.sessions import Session
from app.warehouse.transform import PROJECT

UNKNOWN = "999"
CODES = [*(condition.code for condition in CONDITIONS), UNKNOWN]
COMBINATIONS = [(), *(tuple(sorted(set(p))) for p in combinations_with_replacement(CODES, 2))]


def query(trades: str) -> str:
    """The macro `condition_effects` of the dbt project, rendered for DuckDB."""
    files = ("split_codes.sql", "condition_effects.sql")
    source = "".join((PROJECT / "macros" / name).read_text() for name in files)
    adapter = SimpleNamespace(dispatch=lambda name: getattr(macros, f"duckdb__{name}"))
    context = {"return": lambda value: value, "adapter": adapter, "ref": lambda name: name}
    macros: Any = jinja2.Environment().from_string(source, globals=context).module
    return str(macros.condition_effects(trades))


def test_pairs_of_conditions_allow_the_same_in_every_session() -> None:
    seed = PROJECT / "seeds" / "trade_conditions.csv"
    with duckdb.connect() as database:
        database.read_csv(str(seed)).create("trade_conditions")
        database.execute(
            "create table trades as select unnest($conditions) as conditions, session "
            "from (select unnest($sessions) as session)",
            {
                "conditions": [",".join(codes) for codes in COMBINATIONS],
                "sessions": [session.value for session in Session],
            },
        )
        found = {
            (conditions, session): effect
            for conditions, session, *effect in database.execute(query("trades")).fetchall()
        }

    assert len(found) == len(COMBINATIONS) * len(Session)
    for codes in COMBINATIONS:
        for session in Session:
            expected = eligibility(codes, session)
            high_low, last, volume, odd_lot = found[",".join(codes), session.value]
            allowed = PriceClass.HIGH_LOW if high_low else PriceClass.INELIGIBLE
            price_class = PriceClass.LAST if last else allowed
            assert (price_class, volume, odd_lot) == (
                expected.price_class,
                expected.counts,
                expected.odd_lot,
            ), (codes, session)
