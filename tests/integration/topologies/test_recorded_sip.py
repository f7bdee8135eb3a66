"""Candles of recorded trades under the tape's price rule, against SQL written from the rule alone.

The trades arrive up to 30 s late; the SQL reads them as they were recorded.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest

from app.contracts import Candle
from app.feeds.replay.messages import messages
from app.feeds.replay.trade_file import read_trades
from tests.published import arriving_late
from topologies.backfill import Backfill
from topologies.core.candle import Rules
from topologies.core.window import newest

OPENS, CLOSES = 1_381_239_000_000, 1_381_262_400_000
"""2013-10-08, 09:30 and 16:00 in New York."""

CANDLES = """
with prints as (
    select
        symbol, t, seq, t - t % 60000 as minute,
        p::varchar::decimal(28, 12) as p, v::decimal(18, 0) as v,
        string_split(c, ',') as codes,
        case when t >= $opens and t < $closes then ['16', '20', '38', '39']
             else ['16', '20', '38', '39', '24'] end as passed_over
    from read_parquet($file)
    where not list_has_any(string_split(c, ','), ['16', '20', '38', '39'])
),

classed as (
    select
        *,
        case
            when list_has_any(list_filter(codes, lambda x: not list_contains(passed_over, x)),
                              $no_high_low) then 3
            when list_has_any(list_filter(codes, lambda x: not list_contains(passed_over, x)),
                              $no_last) then 2
            else 1
        end as class
    from prints
),

best as (
    select *, min(class) over (partition by symbol, minute) as best from classed
)

select
    symbol, minute, any_value(best) as class,
    count(*) as trades,
    count(*) filter (class = 1) as eligible,
    count(*) filter (list_contains(codes, '12')) as odd_lots,
    sum(v) as volume,
    sum(p * v::decimal(9, 0)) as notional,
    arg_min(p, (t, seq)) filter (class = best) as open,
    min(t) filter (class = best) as open_time,
    arg_max(p, (t, seq)) filter (class = best) as close,
    max(t) filter (class = best) as close_time,
    max(p) filter (class <= greatest(best, 2)) as high,
    min(p) filter (class <= greatest(best, 2)) as low
from best
group by all
"""


@pytest.fixture(scope="module")
def records(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Candle]:
    """Every record that the equities lead to when they arrive up to 30 s late."""
    late = tmp_path_factory.mktemp("late") / "trades.parquet"
    arriving_late(test_data / "us_equities_trades.parquet", late, 30_000, seed=30)
    rules = Rules("replay", "sip")
    backfill = Backfill(rules)
    sent = messages(read_trades(late), "replay", rules.grace_ms, rules.allowed_lateness_ms)
    made = list(backfill.records(sent))
    assert not backfill.rejections
    return made


def test_the_last_revisions_are_what_sql_makes_of_the_trades_as_recorded(test_data, records):
    table = json.loads((test_data / "trade_conditions.json").read_text())["conditions"]
    barred = {
        field: [str(row["finnhub"]) for row in table if row[field] not in ("Y", "?")]
        for field in ("updates_high_low", "updates_last")
    }
    found = duckdb.execute(
        CANDLES,
        {
            "file": str(test_data / "us_equities_trades.parquet"),
            "opens": OPENS,
            "closes": CLOSES,
            "no_high_low": barred["updates_high_low"],
            "no_last": barred["updates_last"],
        },
    ).fetchall()
    classes = {"last": 1, "high_low": 2, "ineligible": 3}
    ours = {
        (
            *(c.symbol, c.window_start, classes[c.price_source], c.trade_count),
            *(c.eligible_count, c.odd_lot_count, c.volume, c.notional),
            *(c.open, c.open_time, c.close, c.close_time, c.high, c.low),
        )
        for c in newest(records).values()
    }
    assert len(ours) > 2_000
    assert ours == set(found)


def test_every_record_keeps_what_candles_promise(records):
    revisions: dict[str, int] = {}
    for c in records:
        assert c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high
        assert c.window_start <= min(c.open_time, c.high_time, c.low_time)
        assert max(c.high_time, c.low_time, c.close_time) < c.window_end == c.window_start + 60_000
        assert c.open_time <= c.close_time
        assert 0 <= c.eligible_count <= c.trade_count
        assert 0 <= c.odd_lot_count <= c.trade_count
        assert 0 <= c.odd_lot_volume <= c.volume
        assert (c.price_source == "last") == (c.eligible_count > 0)
        assert c.vwap == float(Fraction(c.notional) / Fraction(c.volume))
        if c.eligible_count == c.trade_count:
            assert c.low <= c.notional / c.volume <= c.high
        assert c.late_count <= c.trade_count + c.zero_volume_count
        assert c.first_offset <= c.last_offset
        assert c.duplicate_count == 0
        assert c.session == _session(c.window_start)
        assert c.session_date == "2013-10-08"
        assert (c.feed, c.interval, c.price_rule) == ("replay", "1m", "sip")
        assert c.revision == revisions.get(c.candle_id, -1) + 1
        assert c.status == ("revised" if c.revision else "final")
        revisions[c.candle_id] = c.revision
    assert max(revisions.values()) > 0
    sources = {c.price_source for c in records}
    assert {"last", "ineligible"} <= sources
    assert sum(c.volume for c in newest(records).values()) > Decimal(10) ** 7


def _session(start: int) -> str:
    return "pre" if start < OPENS else "regular" if start < CLOSES else "post"
