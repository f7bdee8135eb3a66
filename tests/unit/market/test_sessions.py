"""Which session a moment belongs to."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from app.market.sessions import session_of, trading_day

NEW_YORK = ZoneInfo("America/New_York")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2024-07-02 03:59:59.999", "closed"),
        ("2024-07-02 04:00", "pre"),
        ("2024-07-02 09:29:59.999", "pre"),
        ("2024-07-02 09:30", "regular"),
        ("2024-07-02 15:59:59.999", "regular"),
        ("2024-07-02 16:00", "post"),
        ("2024-07-02 19:59:59.999", "post"),
        ("2024-07-02 20:00", "closed"),
        ("2024-07-03 13:00", "post"),  # half day
        ("2024-07-03 16:59", "post"),
        ("2024-07-03 17:00", "closed"),
        ("2024-07-04 12:00", "closed"),  # holiday
        ("2024-07-06 12:00", "closed"),  # Saturday
        ("2024-03-11 09:30", "regular"),  # the Monday after clocks went forward
        ("2024-11-04 09:30", "regular"),  # the Monday after clocks went back
        ("2024-11-04 09:29", "pre"),
        ("2023-11-24 12:59:59.999", "regular"),  # half day after Thanksgiving
        ("2023-11-24 13:00", "post"),
        ("2023-11-24 17:00", "closed"),
        ("2024-12-24 04:00", "pre"),  # half day before Christmas
        ("2024-12-24 13:00", "post"),
        ("2024-03-29 12:00", "closed"),  # Good Friday, a bank day
        ("2024-10-14 12:00", "regular"),  # Columbus Day, a bank holiday
        ("2021-06-18 12:00", "regular"),  # Juneteenth was no holiday yet
        ("2022-06-20 12:00", "closed"),  # Juneteenth, observed on the Monday
        ("2025-01-09 12:00", "closed"),  # a day of mourning
        ("2024-03-10 12:00", "closed"),  # clocks go forward on a Sunday
        ("2024-11-03 01:30", "closed"),  # clocks go back on a Sunday
    ],
)
def test_us_stocks_follow_new_yorks_clock(moment, session):
    found = session_of("AAPL", "live", at(moment))
    assert (found.session, found.session_date) == (session, moment[:10])


@pytest.mark.parametrize(
    ("day", "opens_utc"),
    [
        ("2024-03-08", "14:30"),  # the Friday before clocks went forward
        ("2024-03-11", "13:30"),
        ("2024-11-01", "13:30"),  # the Friday before clocks went back
        ("2024-11-04", "14:30"),
    ],
)
def test_the_open_stays_at_half_past_nine_when_clocks_change(day, opens_utc):
    opens = round(datetime.fromisoformat(f"{day}T{opens_utc}+00:00").timestamp() * 1000)
    assert session_of("AAPL", "live", opens - 1) == ("pre", day)
    assert session_of("AAPL", "live", opens) == ("regular", day)


@pytest.mark.parametrize(
    ("symbol", "feed"),
    [
        ("BINANCE:BTCUSDT", "live"),
        ("OANDA:EUR_USD", "live"),
        ("IC MARKETS:1", "live"),
        ("NEWVENUE:XYZ", "live"),
        ("GC201312", "replay"),
        ("AAPL", "simulated"),
    ],
)
def test_what_trades_around_the_clock_has_the_utc_day(symbol, feed):
    found = session_of(symbol, feed, at("2024-07-04 21:00"))
    assert (found.session, found.session_date) == ("continuous", "2024-07-05")


@pytest.mark.parametrize("symbol", ["BINANCE:BTCUSDT", "OANDA:EUR_USD"])
def test_the_utc_day_has_24_hours_when_new_yorks_clocks_change(symbol):
    midnight = round(datetime(2024, 3, 10, tzinfo=UTC).timestamp() * 1000)
    minutes = range(midnight, midnight + 24 * 3_600_000, 60_000)
    assert {session_of(symbol, "live", t) for t in minutes} == {("continuous", "2024-03-10")}


def test_a_day_without_trading_has_no_bounds():
    assert trading_day("2024-07-04") is None
    assert trading_day("1989-12-29") is None


def test_what_trades_around_the_clock_needs_no_calendar():
    asked = (
        "import sys; from app.market.sessions import Session, session_bounds, session_of;"
        "session_of('BINANCE:BTCUSDT', 'live', 1_700_000_000_000);"
        "session_of('AAPL', 'simulated', 1_700_000_000_000);"
        "session_bounds(Session.CONTINUOUS, '2023-11-14');"
        "print('exchange_calendars' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
